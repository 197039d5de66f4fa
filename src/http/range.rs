//! Range requests and partial content (RFC 9110 §14).

use std::ops::Range;

/// One range of a `Range: bytes=…` field, before the length is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// `first-last`, both inclusive.
    FromTo(u64, u64),
    /// `first-`: up to the end.
    From(u64),
    /// `-length`: the last `length` bytes.
    Last(u64),
}

/// The most ranges in one request. With more, the field is ignored: many ranges are a denial-of-service vector
/// (RFC 9110 §17.15).
const MAX_RANGES: usize = 10;

/// The ranges that a `Range` field requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeRequest {
    /// No range, one in another unit, a malformed one, or too many: send the whole representation.
    Whole,
    /// A single byte range.
    Single(ByteRange),
    /// Two to ten byte ranges.
    Several(Vec<ByteRange>),
}

/// A single range applied to a representation of known length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// These bytes; never empty.
    Bytes(Range<u64>),
    /// 416: the range is outside the representation.
    Unsatisfiable,
}

impl RangeRequest {
    /// Parses the value of a `Range` field.
    ///
    /// RFC 9110 §14.2: an invalid or unknown field is ignored.
    #[must_use]
    pub fn parse(value: Option<&[u8]>) -> Self {
        value.and_then(Self::understood).unwrap_or(Self::Whole)
    }

    fn understood(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?.trim();
        let (unit, set) = text.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        // Most requests have only one.
        if !set.contains(',') {
            return ByteRange::parse(set).map(Self::Single);
        }
        if set.split(',').count() > MAX_RANGES {
            return None;
        }
        set.split(',').map(ByteRange::parse).collect::<Option<_>>().map(Self::Several)
    }
}

impl ByteRange {
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.trim().split_once('-')?;
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Some(Self::FromTo(first, last)),
            (Some(first), None) if last.is_empty() => Some(Self::From(first)),
            (None, Some(length)) if first.is_empty() => Some(Self::Last(length)),
            _ => None,
        }
    }

    /// Applies the range to a representation of `length` bytes (RFC 9110 §14.1.2).
    #[must_use]
    pub fn select(self, length: u64) -> Selected {
        let bytes = match self {
            Self::FromTo(first, last) => first..last.saturating_add(1).min(length),
            Self::From(first) => first..length,
            Self::Last(suffix) => length.saturating_sub(suffix)..length,
        };
        if bytes.is_empty() { Selected::Unsatisfiable } else { Selected::Bytes(bytes) }
    }
}

/// Applies several ranges. `None` if they do not ascend, they overlap, or one is outside: then the whole
/// representation is the better response (Amazon CloudFront Developer Guide, "Range GETs").
#[must_use]
pub fn select_all(ranges: &[ByteRange], length: u64) -> Option<Vec<Range<u64>>> {
    let mut selected: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        let Selected::Bytes(bytes) = range.select(length) else { return None };
        if selected.last().is_some_and(|before| bytes.start < before.end) {
            return None;
        }
        selected.push(bytes);
    }
    Some(selected)
}

/// Parses digits only; a number that does not fit becomes the largest one.
fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().unwrap_or(u64::MAX))
}

/// The `Content-Range` of a 206 or 416 (RFC 9110 §14.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The range of bytes; `None` in a 416.
    pub bytes: Option<Range<u64>>,
    /// The length of the whole representation, if it is known.
    pub complete: Option<u64>,
}

impl ContentRange {
    /// Parses a field value; `None` if it is malformed or contradictory.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?.trim();
        let (range, complete) = text.strip_prefix("bytes ")?.trim_start().split_once('/')?;
        let complete = if complete == "*" { None } else { Some(number(complete)?) };
        if range == "*" {
            return Some(Self { bytes: None, complete });
        }
        let (first, last) = range.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        let end = last.checked_add(1)?;
        (first < end && complete.is_none_or(|complete| end <= complete))
            .then_some(Self { bytes: Some(first..end), complete })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn select(value: &str, length: u64) -> Option<Selected> {
        match RangeRequest::parse(Some(value.as_bytes())) {
            RangeRequest::Whole | RangeRequest::Several(_) => None,
            RangeRequest::Single(range) => Some(range.select(length)),
        }
    }

    #[test]
    fn single_ranges_select_what_the_rfc_says() {
        let bytes = |range| Some(Selected::Bytes(range));
        for (value, expected) in [
            ("bytes=0-0", bytes(0..1)),
            ("bytes=0-99", bytes(0..10)),
            ("bytes=9-", bytes(9..10)),
            ("bytes=-3", bytes(7..10)),
            ("bytes=-99", bytes(0..10)),
            ("Bytes = 2-3", bytes(2..4)),
            ("bytes=10-", Some(Selected::Unsatisfiable)),
            ("bytes=-0", Some(Selected::Unsatisfiable)),
            ("bytes=9999999999999999999999-", Some(Selected::Unsatisfiable)),
            ("bytes=0-18446744073709551615", bytes(0..10)),
            ("bytes=3-2", None),
            ("bytes=-", None),
            ("bytes=a-b", None),
            ("bytes=+1-2", None),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
            ("bytes 0-1", None),
        ] {
            assert_eq!(select(value, 10), expected, "{value}");
        }
    }

    #[test]
    fn several_ranges_ascend_or_count_for_nothing() {
        let select = |value: &str| match RangeRequest::parse(Some(value.as_bytes())) {
            RangeRequest::Several(ranges) => select_all(&ranges, 10),
            RangeRequest::Whole | RangeRequest::Single(_) => None,
        };
        for (value, expected) in [
            ("bytes=0-1,3-4", Some(vec![0..2, 3..5])),
            ("bytes=0-1, 2-", Some(vec![0..2, 2..10])),
            ("bytes=0-0,-1", Some(vec![0..1, 9..10])),
            ("bytes=0-0,5-99", Some(vec![0..1, 5..10])),
            ("bytes=3-4,0-1", None),
            ("bytes=0-3,3-4", None),
            ("bytes=0-1,10-11", None),
            ("bytes=0-1,x", None),
            ("bytes=0-1,,2-3", None),
            ("bytes=0-0,1-1,2-2,3-3,4-4,5-5,6-6,7-7,8-8,9-9,9-9", None),
        ] {
            assert_eq!(select(value), expected, "{value}");
        }
    }

    #[test]
    fn no_range_of_an_empty_representation_is_satisfiable() {
        for value in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            assert_eq!(select(value, 0), Some(Selected::Unsatisfiable), "{value}");
        }
    }

    #[test]
    fn content_range_must_not_contradict_itself() {
        let parse = |text: &str| ContentRange::parse(text.as_bytes());
        let full = ContentRange { bytes: Some(0..10), complete: Some(10) };
        assert_eq!(parse("bytes 0-9/10"), Some(full));
        assert_eq!(parse("bytes */20"), Some(ContentRange { bytes: None, complete: Some(20) }));
        assert_eq!(parse("bytes 0-9/*").map(|r| r.complete), Some(None));
        for bad in ["bytes 0-10/10", "bytes 5-4/10", "0-9/10", "bytes 0-9", "bytes -9/10", ""] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse("bytes 0-18446744073709551615/*"), None);
    }

    proptest! {
        #[test]
        fn selection_agrees_with_a_naive_slicer(
            length in 0_usize..50,
            first in proptest::option::of(0_usize..60),
            last in proptest::option::of(0_usize..60),
        ) {
            let show = |n: Option<usize>| n.map(|n| n.to_string()).unwrap_or_default();
            let value = format!("bytes={}-{}", show(first), show(last));
            let all: Vec<usize> = (0..length).collect();
            let naive: Option<Vec<usize>> = match (first, last) {
                (Some(f), Some(l)) if f <= l => Some(all.iter().copied().filter(|i| *i >= f && *i <= l).collect()),
                (Some(f), None) => Some(all.iter().copied().filter(|i| *i >= f).collect()),
                (None, Some(n)) => Some(all.iter().copied().rev().take(n).rev().collect()),
                _ => None,
            };
            let ours = select(&value, length as u64).map(|selected| match selected {
                Selected::Unsatisfiable => Vec::new(),
                Selected::Bytes(r) => all.iter().copied().filter(|i| r.contains(&(*i as u64))).collect(),
            });
            prop_assert_eq!(ours, naive);
        }

        #[test]
        fn any_bytes_parse(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = RangeRequest::parse(Some(&value));
            let _ = ContentRange::parse(&value);
        }
    }
}
