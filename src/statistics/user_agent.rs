//! Kinds of user agents.

use http::HeaderValue;

/// A part of the field, and the kind that it belongs to. The first that fits counts: many agents also name others.
const KINDS: [(&str, &str); 32] = [
    ("bot/", "Bots and crawlers"),
    ("Bot/", "Bots and crawlers"),
    ("crawler", "Bots and crawlers"),
    ("spider", "Bots and crawlers"),
    ("facebookexternalhit", "Bots and crawlers"),
    ("HeadlessChrome", "Headless Chrome"),
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("AppleCoreMedia", "Apple media players"),
    ("CFNetwork", "Apple apps"),
    ("okhttp", "Android apps"),
    ("Dalvik", "Android apps"),
    ("ExoPlayer", "Android apps"),
    ("Amazon CloudFront", "CloudFront"),
    ("curl/", "curl"),
    ("Wget/", "Wget"),
    ("python", "Python"),
    ("Python", "Python"),
    ("aiohttp", "Python"),
    ("Go-http-client", "Go"),
    ("Java/", "Java"),
    ("node", "Node.js"),
    ("forebay-load", "forebay load"),
    ("forebay", "Forebay"),
];

/// The bytes of the field that are looked at.
const LONGEST: usize = 512;

/// The kind of a user agent.
pub(super) fn family(value: Option<&HeaderValue>) -> &'static str {
    let Some(value) = value else { return "none" };
    let bytes = value.as_bytes();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]);
    KINDS.iter().find(|(part, _)| text.contains(part)).map_or("other", |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart_although_they_name_each_other() {
        for (text, expected) in [
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36",
                "Chrome",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36 Edg/120.0",
                "Edge",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0) AppleWebKit/605.1 (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1",
                "Safari",
            ),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0", "Firefox"),
            (
                "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
                "Bots and crawlers",
            ),
            ("curl/8.5.0", "curl"),
            ("something", "other"),
        ] {
            assert_eq!(family(HeaderValue::from_str(text).ok().as_ref()), expected, "{text}");
        }
        assert_eq!(family(None), "none");
    }
}
