//! The `Cache-Control` field (RFC 9111 §5.2).

use std::time::Duration;

use http::HeaderName;

use super::field_table::FieldTrait;

/// The largest delta-seconds value kept: 2^31, which RFC 9111 §1.2.2 specifies for overflow.
const MAX_DELTA: u64 = 1 << 31;

/// A directive with a delta-seconds argument, as it was received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delta {
    /// The directive is absent.
    #[default]
    Absent,
    /// Valid: this long.
    For(Duration),
    /// Present, but its argument is not a number: RFC 9111 §4.2.1 recommends treating it as stale.
    Invalid,
}

impl Delta {
    /// Parses an argument (RFC 9111 §1.2.2): digits, optionally quoted.
    #[must_use]
    pub fn parse(argument: Option<&[u8]>) -> Self {
        let digits = argument.map(unquote).unwrap_or_default();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Self::Invalid;
        }
        let seconds = digits.iter().try_fold(0_u64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        });
        Self::For(Duration::from_secs(seconds.unwrap_or(MAX_DELTA).min(MAX_DELTA)))
    }

    /// The effective duration: an invalid argument counts as zero.
    #[must_use]
    pub const fn lifetime(self) -> Option<Duration> {
        match self {
            Self::Absent => None,
            Self::For(duration) => Some(duration),
            Self::Invalid => Some(Duration::ZERO),
        }
    }
}

/// The response directives that a shared cache acts upon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each directive of the RFC")]
pub struct CacheControl {
    /// `max-age` (§5.2.2.1).
    pub max_age: Delta,
    /// `s-maxage` (§5.2.2.10).
    pub s_maxage: Delta,
    /// `no-store` (§5.2.2.5).
    pub no_store: bool,
    /// `no-cache` without field names (§5.2.2.4).
    pub no_cache: bool,
    /// `private` without field names (§5.2.2.7).
    pub private: bool,
    /// The fields that `no-cache` and `private` name: only these are withheld from other viewers.
    pub withheld: Vec<HeaderName>,
    /// `public` (§5.2.2.9).
    pub public: bool,
    /// `must-revalidate` (§5.2.2.2).
    pub must_revalidate: bool,
    /// `proxy-revalidate` (§5.2.2.8).
    pub proxy_revalidate: bool,
    /// `must-understand` (§5.2.2.3).
    pub must_understand: bool,
    /// `stale-while-revalidate` (RFC 5861 §3).
    pub stale_while_revalidate: Delta,
    /// `stale-if-error` (RFC 5861 §4).
    pub stale_if_error: Delta,
}

impl CacheControl {
    /// Parses all field lines. If a directive is repeated, the first one counts (§4.2.1).
    #[must_use]
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut parsed = Self::default();
        for line in lines {
            for (name, argument) in Directives::of(line) {
                parsed.set(name, argument);
            }
        }
        parsed
    }

    fn set(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let name = name.to_ascii_lowercase();
        if let Some(delta) = self.delta(&name) {
            if *delta == Delta::Absent {
                *delta = Delta::parse(argument);
            }
        } else if let Some(flag) = self.flag(&name) {
            match argument.map(unquote).filter(|_| matches!(&*name, b"no-cache" | b"private")) {
                Some(names) => self.withhold(names),
                None => *flag = true,
            }
        }
    }

    fn delta(&mut self, name: &[u8]) -> Option<&mut Delta> {
        Some(match name {
            b"max-age" => &mut self.max_age,
            b"s-maxage" => &mut self.s_maxage,
            b"stale-while-revalidate" => &mut self.stale_while_revalidate,
            b"stale-if-error" => &mut self.stale_if_error,
            _ => return None,
        })
    }

    fn flag(&mut self, name: &[u8]) -> Option<&mut bool> {
        Some(match name {
            b"no-store" => &mut self.no_store,
            b"no-cache" => &mut self.no_cache,
            b"private" => &mut self.private,
            b"public" => &mut self.public,
            b"must-revalidate" => &mut self.must_revalidate,
            b"proxy-revalidate" => &mut self.proxy_revalidate,
            b"must-understand" => &mut self.must_understand,
            _ => return None,
        })
    }

    /// Withholds the named fields. If the list is malformed, or names a field that a stored response
    /// needs, the whole response is private: the conservative reading.
    fn withhold(&mut self, names: &[u8]) {
        let names: Vec<_> = names.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).collect();
        let parsed: Result<Vec<_>, _> =
            names.iter().map(|name| HeaderName::from_bytes(name)).collect();
        match parsed {
            Ok(parsed)
                if !parsed
                    .iter()
                    .any(|name| FieldTrait::NeverWithheld.applies_to(name.as_str())) =>
            {
                self.withheld.extend(parsed);
            }
            _ => self.private = true,
        }
    }

    /// Parses a targeted field (RFC 9213 §2.2). `None` if it is empty or no RFC 9651 dictionary: it is then ignored,
    /// and the next one counts.
    #[must_use]
    pub fn parse_targeted<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let text = lines.into_iter().collect::<Vec<_>>().join(&b", "[..]);
        let dictionary = sfv::Parser::new(&text).parse::<sfv::Dictionary>().ok()?;
        let mut parsed = Self::default();
        for (name, member) in &dictionary {
            let sfv::ListEntry::Item(item) = member else { continue };
            let (name, value) = (name.as_str().as_bytes(), &item.bare_item);
            if let Some(delta) = parsed.delta(name) {
                // RFC 9213 §2.2: a value whose type does not fit the directive is ignored.
                let seconds = value.as_integer().and_then(|n| u64::try_from(i64::from(n)).ok());
                if let Some(seconds) = seconds {
                    *delta = Delta::For(Duration::from_secs(seconds.min(MAX_DELTA)));
                }
            } else if let Some(flag) = parsed.flag(name) {
                *flag |= value.as_boolean() == Some(true) || value.as_string().is_some();
            }
        }
        (!dictionary.is_empty()).then_some(parsed)
    }
}

/// Splits a field line into directives; commas inside quoted strings do not split.
#[derive(Clone, Debug)]
pub struct Directives<'a>(&'a [u8]);

impl<'a> Directives<'a> {
    /// The directives of one line: names as written, and arguments.
    #[must_use]
    pub const fn of(line: &'a [u8]) -> Self {
        Self(line)
    }
}

impl<'a> Iterator for Directives<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            let (directive, rest) = split_unquoted_comma(self.0);
            self.0 = rest;
            let directive = directive.trim_ascii();
            if !directive.is_empty() {
                let mut halves = directive.splitn(2, |&byte| byte == b'=');
                let name = halves.next().unwrap_or_default().trim_ascii();
                return Some((name, halves.next().map(<[u8]>::trim_ascii)));
            }
        }
        None
    }
}

fn split_unquoted_comma(line: &[u8]) -> (&[u8], &[u8]) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in line.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return (&line[..at], &line[at + 1..]),
            _ => {}
        }
    }
    (line, &[])
}

fn unquote(argument: &[u8]) -> &[u8] {
    argument.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(argument)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(line: &str) -> CacheControl {
        CacheControl::parse([line.as_bytes()])
    }

    fn seconds(n: u64) -> Delta {
        Delta::For(Duration::from_secs(n))
    }

    #[test]
    fn arguments_are_numbers_or_invalid() {
        for (line, expected) in [
            ("max-age=60", seconds(60)),
            ("MAX-AGE=60", seconds(60)),
            ("max-age=\"60\"", seconds(60)),
            ("max-age=99999999999999999999999", seconds(MAX_DELTA)),
            ("max-age=007", seconds(7)),
            ("max-age", Delta::Invalid),
            ("max-age=", Delta::Invalid),
            ("max-age=-1", Delta::Invalid),
            ("max-age=1.5", Delta::Invalid),
            ("max-age='60'", Delta::Invalid),
            ("max-age=60, max-age=10", seconds(60)),
            ("x=\"max-age=1, y\", max-age=2", seconds(2)),
            ("max-agee=60", Delta::Absent),
        ] {
            assert_eq!(parse(line).max_age, expected, "{line}");
        }
    }

    #[test]
    fn flags_are_found_on_any_line_in_any_case() {
        let parsed =
            CacheControl::parse([&b"Public, no-STORE"[..], b" private=\"set-cookie, x\" "]);
        assert!(parsed.public && parsed.no_store && !parsed.private && !parsed.no_cache);
        assert_eq!(parsed.withheld, ["set-cookie", "x"]);
        assert!(parse("private=\"a b\"").private);
        assert!(parse("no-cache=\"x, Vary\"").private);
        assert!(parse("private").private);
    }

    #[test]
    fn a_targeted_field_is_a_dictionary_or_nothing() {
        let parse = |line: &str| CacheControl::parse_targeted([line.as_bytes()]);
        let lifetime = |line: &str| parse(line).map(|parsed| parsed.max_age);
        for (line, expected) in [
            ("max-age=60", Some(seconds(60))),
            ("max-age=60, no-store", Some(seconds(60))),
            ("max-age=60;x=1", Some(seconds(60))),
            // a value of the wrong type: the directive is ignored, the field is not
            ("max-age=\"60\"", Some(Delta::Absent)),
            ("max-age=-1", Some(Delta::Absent)),
            ("max-age=1.5", Some(Delta::Absent)),
            ("max-age", Some(Delta::Absent)),
            // the last of several counts (RFC 9651 §4.2.2)
            ("max-age=1, max-age=2", Some(seconds(2))),
            ("", None),
            ("max-age=60,", None),
            ("max-age = 60", None),
            ("Max-Age=60", None),
            ("max-age=60 no-store", None),
        ] {
            assert_eq!(lifetime(line), expected, "{line}");
        }
        assert!(parse("no-store, private").is_some_and(|p| p.no_store && p.private));
        assert!(parse("no-store=?0").is_some_and(|p| !p.no_store));
    }

    proptest! {
        #[test]
        fn any_bytes_parse(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = CacheControl::parse([line.as_slice()]);
        }

        #[test]
        fn a_written_directive_is_read_back(n in 0_u64..MAX_DELTA, before in "[a-z]{1,5}", quoted: bool) {
            prop_assume!(!["private", "public"].contains(&before.as_str()));
            let argument = if quoted { format!("\"{n}\"") } else { n.to_string() };
            let parsed = parse(&format!("{before}=\"a, b\" ,, s-maxage={argument}, no-cache"));
            prop_assert_eq!(parsed.s_maxage, seconds(n));
            prop_assert!(parsed.no_cache);
        }
    }
}
