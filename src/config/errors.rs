//! Errors: how long they are cached, and the pages that replace them.

use http::StatusCode;

use super::section::Section;
use crate::{
    cache::{
        key::{CanonicalPath, PathForm},
        policy::ErrorTtl,
    },
    proxy::{ErrorPage, REPLACEABLE},
};

/// Status codes that are cached as errors. Each can have its own minimum TTL.
const CACHED_ERRORS: [&str; 12] =
    ["400", "403", "404", "405", "412", "414", "415", "500", "501", "502", "503", "504"];

/// `error_caching_min_ttl`: one duration for all codes, or a table by code with `default`.
pub(super) fn error_ttl(section: &Section<'_>) -> ErrorTtl {
    const KEY: &str = "error_caching_min_ttl";
    let mut errors = ErrorTtl::default();
    if section.is_table(KEY) {
        let Some(table) = section.table(KEY) else { return errors };
        errors.default = table.duration("default").map_or(errors.default, |ttl| ttl.value);
        for code in CACHED_ERRORS {
            if let Some(ttl) = table.duration(code) {
                errors.by_status.extend(code.parse().ok().map(|code: u16| (code, ttl.value)));
            }
        }
        table.unknown();
    } else if let Some(ttl) = section.duration(KEY) {
        errors.default = ttl.value;
    }
    errors
}

/// `[[distribution.custom_error_response]]`. Its TTLs are added to `errors`.
pub(super) fn error_pages(section: &Section<'_>, errors: &mut ErrorTtl) -> Vec<ErrorPage> {
    let mut pages: Vec<ErrorPage> = Vec::new();
    for table in section.tables("custom_error_response") {
        let error = status(&table, "error_code", &REPLACEABLE);
        if !table.has("error_code") {
            let help = "for example: `error_code = 404`".to_owned();
            table.fault(table.span(), "`error_code` is missing", "in this table", help);
        }
        let response_code = status(&table, "response_code", &[&[200], &REPLACEABLE[..]].concat());
        let path = page_path(&table);
        let ttl = table.duration("error_caching_min_ttl");
        let has_path = table.has("response_page_path");
        if !has_path && ttl.is_none() {
            let help = "add `response_page_path = \"/errors/404.html\"`".to_owned();
            table.fault(
                table.span(),
                "this custom error response has no effect",
                "neither `response_page_path` nor `error_caching_min_ttl`",
                help,
            );
        }
        if !has_path && response_code.is_some() {
            let message = "`response_code` needs a `response_page_path`";
            let help = "add `response_page_path`, or leave `response_code` out".to_owned();
            table.fault(table.span(), message, "in this table", help);
        }
        table.unknown();
        let Some(error) = error else { continue };
        if ttl.is_some() && !CACHED_ERRORS.contains(&error.as_str()) {
            let message = format!("a {} is never cached", error.as_str());
            table.fault(table.span(), message, "remove `error_caching_min_ttl` here", None);
        }
        errors.by_status.extend(ttl.map(|ttl| (error.as_u16(), ttl.value)));
        if pages.iter().any(|page| page.error == error) {
            let message = format!("{} already has a page", error.as_u16());
            table.fault(table.span(), message, "each code can have one page", None);
        }
        let response_code = response_code.unwrap_or(error);
        pages.extend(path.map(|path| ErrorPage { error, path, response_code }));
    }
    pages
}

fn page_path(table: &Section<'_>) -> Option<String> {
    let path = table.string("response_page_path")?;
    if CanonicalPath::resolve(path.value, PathForm::Uri).is_ok_and(|canonical| !canonical.is_root())
        && path.value.parse::<http::Uri>().is_ok()
    {
        return Some(path.value.to_owned());
    }
    let message = format!("`{}` is not a valid page path", path.value);
    let help =
        "use a path such as \"/errors/404.html\"; percent-encode special characters".to_owned();
    table.fault(path.span, message, "not a path", help);
    None
}

/// A status code from `known`.
pub(super) fn status(
    section: &Section<'_>,
    key: &'static str,
    known: &[u16],
) -> Option<StatusCode> {
    let code = section.number(key, 100..600)?;
    let code = u16::try_from(code).ok().filter(|code| known.contains(code));
    if code.is_none() {
        let message = format!("`{key}` must be a status code that CloudFront accepts here");
        section.fault(section.span(), message, "in this table", expected(known));
    }
    StatusCode::from_u16(code?).ok()
}

/// A list of status codes from `known`.
pub(super) fn statuses(section: &Section<'_>, key: &'static str, known: &[u16]) -> Vec<StatusCode> {
    let mut statuses = Vec::new();
    for number in section.numbers(key) {
        let code = u16::try_from(number.value).ok().filter(|code| known.contains(code));
        match code.and_then(|code| StatusCode::from_u16(code).ok()) {
            Some(status) => statuses.push(status),
            None => {
                let message = format!("{} cannot trigger failover", number.value);
                section.fault(number.span, message, "not supported by CloudFront", expected(known));
            }
        }
    }
    statuses
}

fn expected(known: &[u16]) -> String {
    let codes: Vec<String> = known.iter().map(ToString::to_string).collect();
    format!("use one of: {}", codes.join(", "))
}
