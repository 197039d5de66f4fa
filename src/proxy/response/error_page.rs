//! Synthetic error pages, in the format that the viewer accepts.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// A format of error pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Text,
    Html,
    Json,
    Xml,
}

/// Media types that a viewer may accept, and the format of the error page.
const LANGUAGES: [(&str, Language); 6] = [
    ("text/html", Language::Html),
    ("application/xhtml+xml", Language::Html),
    ("application/json", Language::Json),
    ("application/xml", Language::Xml),
    ("text/xml", Language::Xml),
    ("text/plain", Language::Text),
];

/// Renders an error page. Returns its media type and its content.
pub(crate) fn render(status: StatusCode, request: &HeaderMap, id: &str) -> (HeaderValue, Bytes) {
    let (code, reason) = (status.as_str(), status.canonical_reason().unwrap_or("Error"));
    let why = explanation(status);
    // None of these texts contains a character that needs escaping in any format.
    let (media_type, page) = match language(request) {
        Language::Text => {
            ("text/plain; charset=utf-8", format!("{code} {reason}\n{why}\nRequest ID: {id}\n"))
        }
        Language::Html => ("text/html; charset=utf-8", html(code, reason, why, id)),
        Language::Json => (
            "application/json",
            format!(
                "{{\"status\":{code},\"error\":\"{reason}\",\"message\":\"{why}\",\"request_id\":\"{id}\"}}\n"
            ),
        ),
        Language::Xml => (
            "application/xml",
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{why}</Message><RequestId>{id}</RequestId></Error>\n",
                reason.replace([' ', '-', '\''], "")
            ),
        ),
    };
    (HeaderValue::from_static(media_type), page.into())
}

fn html(code: &str, reason: &str, why: &str, id: &str) -> String {
    const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto;\
        padding:0 1.5rem;color:#1c2733;background:#fff}h1{font-size:1.6rem;margin:0}\
        small{color:#5b6b7b}@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#11161c}\
        small{color:#9aa7b4}}";
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{code} {reason}</title>\
         <style>{STYLE}</style>\n<h1>{code} {reason}</h1>\n<p>{why}</p>\n\
         <p><small>Request ID: <code>{id}</code></small></p>\n</html>\n"
    )
}

/// The format that `Accept` prefers (RFC 9110 §12.5.1); plain text if it names none.
fn language(request: &HeaderMap) -> Language {
    let lines = request.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let mut best = (0.0, Language::Text);
    for member in lines.flat_map(|line| line.split(',')) {
        let mut parts = member.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        let weight = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
        let known = LANGUAGES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        if let Some((_, language)) = known.filter(|_| weight > best.0) {
            best = (weight, *language);
        }
    }
    best.1
}

const fn explanation(status: StatusCode) -> &'static str {
    match status.as_u16() {
        301 | 307 => "This object is served over HTTPS.",
        400 => "The request is malformed.",
        403 => "Access to this object is not allowed.",
        404 => "There is no such object.",
        405 => "This method is not allowed here.",
        412 => "A precondition of the request failed.",
        414 => "The URL is too long.",
        416 => "The requested range is outside the object.",
        421 => "This server does not serve this host name.",
        429 => "Too many requests. Please try again later.",
        431 | 494 => "The header fields of the request are too large.",
        502 => "The origin cannot be reached, or it sent an invalid response.",
        503 => "The origin is overloaded or unavailable. Please try again later.",
        504 => "The origin did not respond in time.",
        508 => "The request is in a loop: it has already passed through this server.",
        _ => "The request could not be served.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_viewer_is_told_in_its_language() {
        for (accept, media_type, holds) in [
            ("", "text/plain", "404 Not Found\nThere is no such object.\nRequest ID: id-1\n"),
            ("*/*", "text/plain", "404 Not Found"),
            ("image/avif,image/webp,*/*;q=0.8", "text/plain", "404"),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                "text/html",
                "<h1>404 Not Found</h1>",
            ),
            ("application/json", "application/json", "\"request_id\":\"id-1\"}"),
            ("text/html;q=0.5, application/json", "application/json", "{\"status\":404,"),
            ("application/xml", "application/xml", "<Error><Code>NotFound</Code>"),
            ("text/html;q=0", "text/plain", "404"),
        ] {
            let request =
                HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            let (content_type, page) = render(StatusCode::NOT_FOUND, &request, "id-1");
            assert!(
                content_type.to_str().expect("text").starts_with(media_type),
                "{accept}: {content_type:?}"
            );
            let page = String::from_utf8_lossy(&page).into_owned();
            assert!(page.contains(holds) && page.contains("id-1"), "{accept}: {page}");
            assert!(page.len() < 1000, "{}", page.len());
        }
    }
}
