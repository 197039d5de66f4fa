//! Query strings.

/// The pairs of a query string, as written. Empty ones are kept.
pub fn pairs(query: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(query);
    std::iter::from_fn(move || {
        let text = rest?;
        // Signatures make query strings long, and the standard library's byte search is slower.
        let (pair, after) = match memchr::memchr(b'&', text.as_bytes()) {
            Some(end) => (&text[..end], Some(&text[end + 1..])),
            None => (text, None),
        };
        rest = after;
        Some(pair)
    })
}

/// The pairs that `is_kept` keeps, in their order and spelling; `None` if there are none.
pub fn select(query: &str, is_kept: impl Fn(&str) -> bool) -> Option<String> {
    let mut kept = pairs(query).filter(|pair| is_kept(pair));
    let mut text = kept.next()?.to_owned();
    for pair in kept {
        text.push('&');
        text.push_str(pair);
    }
    Some(text)
}

/// The name of a pair, and its value unless there is no `=`.
#[must_use]
pub fn name_and_value(pair: &str) -> (&str, Option<&str>) {
    match memchr::memchr(b'=', pair.as_bytes()) {
        Some(equals) => (&pair[..equals], Some(&pair[equals + 1..])),
        None => (pair, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_kept_as_they_are_written() {
        for (query, expected) in [
            ("", &[""][..]),
            ("a=1&b", &["a=1", "b"]),
            ("&a=&&é=ü=1&", &["", "a=", "", "é=ü=1", ""]),
        ] {
            assert_eq!(pairs(query).collect::<Vec<_>>(), expected, "{query}");
        }
        assert_eq!(name_and_value("é=ü=1"), ("é", Some("ü=1")));
        assert_eq!(name_and_value("a"), ("a", None));
    }
}
