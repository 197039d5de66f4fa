//! Entity tags and their two comparisons (RFC 9110 §8.8.3).

/// An entity tag as in a field value: opaque text in quotes, optionally marked weak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    weak: bool,
    opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// Parses one whole field value; `None` if it is not an entity tag.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (tag, rest) = Self::take(value.trim_ascii())?;
        rest.is_empty().then_some(tag)
    }

    /// Takes one entity tag from the front of `input`.
    fn take(input: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (weak, quoted) = match input.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, input),
        };
        let inner = quoted.strip_prefix(b"\"")?;
        let end = inner.iter().position(|&byte| byte == b'"')?;
        let opaque = &inner[..end];
        // RFC 9110 §8.8.3: etagc = %x21 / %x23-7E / obs-text
        opaque
            .iter()
            .all(|&byte| byte > 0x20 && byte != 0x7f)
            .then_some((Self { weak, opaque }, &inner[end + 1..]))
    }

    /// Whether the tag has no `W/` prefix.
    #[must_use]
    pub const fn is_strong(&self) -> bool {
        !self.weak
    }

    /// RFC 9110 §8.8.3.2: equal opaque texts, neither weak.
    #[must_use]
    pub fn strong_eq(&self, other: &EntityTag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// RFC 9110 §8.8.3.2: equal opaque texts, weak or not.
    #[must_use]
    pub fn weak_eq(&self, other: &EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }
}

/// Whether any tag of a comma-separated list satisfies `matches`; parsing stops at a malformed one.
pub fn any_in_list(list: &[u8], mut matches: impl FnMut(&EntityTag<'_>) -> bool) -> bool {
    let mut rest = list;
    loop {
        while let [b' ' | b'\t' | b',', tail @ ..] = rest {
            rest = tail;
        }
        match EntityTag::take(rest) {
            Some((tag, _)) if matches(&tag) => return true,
            Some((_, tail)) => rest = tail,
            None => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(text: &str) -> EntityTag<'_> {
        EntityTag::parse(text.as_bytes()).expect("an entity tag")
    }

    #[test]
    fn comparisons_follow_the_table_of_rfc_9110() {
        for (a, b, strong, weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            assert_eq!(tag(a).strong_eq(&tag(b)), strong, "{a} {b}");
            assert_eq!(tag(a).weak_eq(&tag(b)), weak, "{a} {b}");
        }
    }

    #[test]
    fn malformed_tags_are_refused() {
        for text in ["", "abc", "\"abc", "w/\"a\"", "\"a b\"", "\"a\" x", "\"a\u{7f}\""] {
            assert_eq!(EntityTag::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn lists_may_hold_commas_inside_quotes() {
        let wanted = tag("\"a,b\"");
        assert!(any_in_list(b"\"x\", W/\"a,b\"", |t| t.weak_eq(&wanted)));
        assert!(!any_in_list(b"\"x\", \"a\", b", |t| t.weak_eq(&wanted)));
        assert!(any_in_list(b",, \"a,b\" ,", |t| t.strong_eq(&wanted)));
    }
}
