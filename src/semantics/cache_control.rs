//! The `Cache-Control` field (RFC 9111 §5.2).

use std::time::Duration;

/// The largest delta-seconds value kept: 2^31, as RFC 9111 §1.2.2 asks for an overflow.
const MAX_DELTA: u64 = 1 << 31;

/// A directive with a delta-seconds argument, as it was received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delta {
    /// The directive is not there.
    #[default]
    Absent,
    /// Valid: this long.
    For(Duration),
    /// Present, but its argument is no number: RFC 9111 §4.2.1 encourages to treat it as stale.
    Invalid,
}

impl Delta {
    fn parse(argument: Option<&[u8]>) -> Self {
        let digits = argument.map(unquote).unwrap_or_default();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Self::Invalid;
        }
        let seconds = digits.iter().try_fold(0_u64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        });
        Self::For(Duration::from_secs(seconds.unwrap_or(MAX_DELTA).min(MAX_DELTA)))
    }

    /// The duration to reckon with: an invalid argument counts as zero.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each directive of the RFC")]
pub struct CacheControl {
    /// `max-age` (§5.2.2.1).
    pub max_age: Delta,
    /// `s-maxage` (§5.2.2.10).
    pub s_maxage: Delta,
    /// `no-store` (§5.2.2.5).
    pub no_store: bool,
    /// `no-cache` (§5.2.2.4); a list of field names is treated as the unqualified form.
    pub no_cache: bool,
    /// `private` (§5.2.2.7); a list of field names is treated as the unqualified form.
    pub private: bool,
    /// `public` (§5.2.2.9).
    pub public: bool,
    /// `must-revalidate` (§5.2.2.2).
    pub must_revalidate: bool,
}

impl CacheControl {
    /// Reads all field lines; of a directive that stands several times the first counts (§4.2.1).
    #[must_use]
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut parsed = Self::default();
        for line in lines {
            for (name, argument) in Directives(line) {
                parsed.set(name, argument);
            }
        }
        parsed
    }

    fn set(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let is = |directive: &str| name.eq_ignore_ascii_case(directive.as_bytes());
        if is("max-age") && self.max_age == Delta::Absent {
            self.max_age = Delta::parse(argument);
        } else if is("s-maxage") && self.s_maxage == Delta::Absent {
            self.s_maxage = Delta::parse(argument);
        } else if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache = true;
        } else if is("private") {
            self.private = true;
        } else if is("public") {
            self.public = true;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        }
    }
}

/// Splits a field line into directives; commas inside quoted strings do not split.
struct Directives<'a>(&'a [u8]);

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
        assert!(parsed.public && parsed.no_store && parsed.private && !parsed.no_cache);
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
