//! The fields that connect the spans of different servers (W3C Trace Context).

use http::{HeaderMap, HeaderName, HeaderValue};

/// The names of the fields in one kind of request.
#[derive(Debug)]
pub(super) struct FieldNames {
    pub(super) parent: HeaderName,
    pub(super) state: HeaderName,
}

/// The names in requests of viewers, and in those to origins.
pub(super) const STANDARD: FieldNames = FieldNames {
    parent: HeaderName::from_static("traceparent"),
    state: HeaderName::from_static("tracestate"),
};

/// The names between nodes of a cluster. They differ from those that a viewer's request has, which the owner of an object
/// may have to send to the origin.
pub(super) const OF_PEERS: FieldNames = FieldNames {
    parent: HeaderName::from_static("forebay-peer-traceparent"),
    state: HeaderName::from_static("forebay-peer-tracestate"),
};

/// The flag of a trace that is recorded.
pub(super) const SAMPLED: u8 = 1;

/// The flag of a trace whose id is random (W3C Trace Context Level 2). It belongs to the id.
const RANDOM: u8 = 2;

/// The longest `tracestate` that is continued, in bytes. At least 512 are required (W3C Trace Context §3.3.1.5).
const LONGEST_STATE: usize = 512;

/// The span of another server that caused a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace: u128,
    pub(super) span: u64,
    pub(super) flags: u8,
    /// The fields of other tracing systems, which are passed on with a recorded trace.
    pub(super) state: Option<HeaderValue>,
}

impl Parent {
    /// Reads the parent of a request. `None` if there is none, more than one, or an invalid one.
    pub(super) fn of(fields: &HeaderMap, names: &FieldNames) -> Option<Self> {
        let mut lines = fields.get_all(&names.parent).iter();
        let line = lines.next().filter(|_| lines.next().is_none())?;
        let (trace, span, flags) = parse(line.as_bytes())?;
        let flags = flags & (SAMPLED | RANDOM);
        let state = if flags & SAMPLED == 0 { None } else { state(fields, names) };
        Some(Self { trace, span, flags, state })
    }

    pub(super) const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// The value of the parent's field in a request that `span` causes.
pub(super) fn parent(trace: u128, span: u64, flags: u8) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("00-{trace:032x}-{span:016x}-{flags:02x}")).ok()
}

/// The members of all lines of `tracestate`.
fn state(fields: &HeaderMap, names: &FieldNames) -> Option<HeaderValue> {
    let mut joined = Vec::new();
    for line in fields.get_all(&names.state) {
        if !joined.is_empty() {
            joined.push(b',');
        }
        joined.extend_from_slice(line.as_bytes());
        if joined.len() > LONGEST_STATE {
            return None;
        }
    }
    let is_usable = !joined.is_empty() && joined.is_ascii();
    is_usable.then(|| HeaderValue::from_bytes(&joined).ok()).flatten()
}

/// Trace, span and flags. A later version may append more parts (W3C Trace Context §3.2.4).
fn parse(text: &[u8]) -> Option<(u128, u64, u8)> {
    const LENGTH: usize = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-00".len();
    let (known, rest) = text.split_at_checked(LENGTH)?;
    let mut parts = known.split(|byte| *byte == b'-').map(number);
    let mut next = |length| parts.next()?.filter(|(_, digits)| *digits == length);
    let (version, trace, span, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
    let is_valid = version.0 != 0xff && trace.0 != 0 && span.0 != 0;
    let ends_well = rest.is_empty() || (version.0 != 0 && rest[0] == b'-');
    let (span, flags) = (u64::try_from(span.0).ok()?, u8::try_from(flags.0).ok()?);
    (is_valid && ends_well).then_some((trace.0, span, flags))
}

/// A number of lower-case hexadecimal digits, and how many they are.
fn number(digits: &[u8]) -> Option<(u128, usize)> {
    let are_digits = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let text = std::str::from_utf8(digits).ok().filter(|_| are_digits)?;
    Some((u128::from_str_radix(text, 16).ok()?, digits.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn read(lines: &[&str], states: &[&str]) -> Option<Parent> {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(STANDARD.parent, line.parse().expect("a value"));
        }
        for line in states {
            fields.append(STANDARD.state, line.parse().expect("a value"));
        }
        Parent::of(&fields, &STANDARD)
    }

    #[test]
    fn valid_parents_are_read() {
        let trace = u128::from_str_radix(TRACE, 16).expect("a number");
        let span = u64::from_str_radix(SPAN, 16).expect("a number");
        for (line, flags) in [
            (format!("00-{TRACE}-{SPAN}-01"), 1),
            (format!("00-{TRACE}-{SPAN}-00"), 0),
            // A random id, unknown flags, and a later version with more parts.
            (format!("00-{TRACE}-{SPAN}-03"), 3),
            (format!("00-{TRACE}-{SPAN}-fd"), 1),
            (format!("cc-{TRACE}-{SPAN}-01"), 1),
            (format!("cc-{TRACE}-{SPAN}-01-what-comes"), 1),
        ] {
            let read = read(&[&line], &[]);
            assert_eq!(read, Some(Parent { trace, span, flags, state: None }), "{line}");
        }
        assert_eq!(
            parent(trace, span, SAMPLED).as_ref().map(HeaderValue::as_bytes),
            Some(format!("00-{TRACE}-{SPAN}-01").as_bytes())
        );
    }

    #[test]
    fn invalid_parents_are_ignored() {
        for line in [
            String::new(),
            "00".to_owned(),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("cc-{TRACE}-{SPAN}-01.more"),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-0+"),
            format!("00-{}-{SPAN}a-01", &TRACE[1..]),
            format!("00_{TRACE}_{SPAN}_01"),
        ] {
            assert_eq!(read(&[&line], &[]), None, "{line}");
        }
        let line = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(read(&[&line, &line], &[]), None, "two parents");
    }

    #[test]
    fn the_state_of_other_systems_is_passed_on() {
        let line = format!("00-{TRACE}-{SPAN}-01");
        let state = |states: &[&str]| {
            let state = read(&[&line], states).expect("a parent").state;
            state.map(|state| state.to_str().expect("text").to_owned())
        };
        assert_eq!(state(&["congo=t61rcWkgMzE", "rojo=00f067"]).as_deref(), {
            Some("congo=t61rcWkgMzE,rojo=00f067")
        });
        assert_eq!(state(&[]), None);
        assert_eq!(state(&[&"x".repeat(LONGEST_STATE + 1)]), None);
    }
}
