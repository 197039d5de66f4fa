//! Ranges and conditional requests among the others.

use http::{HeaderMap, HeaderValue, header};

use super::{answer::Known, request_kind::RequestKind};

/// The percentages of range and conditional requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mix {
    /// Range requests.
    pub ranges: f64,
    /// Length of a range in bytes.
    pub range_length: u64,
    /// Conditional requests, which return content only if it has changed.
    pub conditions: f64,
}

impl Mix {
    /// Randomly makes a request a range or conditional one, if enough is known about its target.
    pub(super) fn apply(&self, known: Option<&Known>, fields: &mut HeaderMap) -> RequestKind {
        if self.ranges + self.conditions <= 0.0 {
            return RequestKind::All;
        }
        let (Some(known), chance) = (known, fastrand::f64() * 100.0) else {
            return RequestKind::All;
        };
        if chance < self.ranges {
            if let Some(range) = known.length.and_then(|length| self.range(length)) {
                fields.insert(header::RANGE, range);
                return RequestKind::Range;
            }
        } else if chance < self.ranges + self.conditions
            && let Some(etag) = &known.etag
        {
            fields.insert(header::IF_NONE_MATCH, etag.clone());
            return RequestKind::IfChanged;
        }
        RequestKind::All
    }

    /// A random range within the content.
    fn range(&self, length: u64) -> Option<HeaderValue> {
        let last = length.checked_sub(1)?;
        let first = fastrand::u64(..=length.saturating_sub(self.range_length).min(last));
        let last = first.saturating_add(self.range_length.max(1) - 1).min(last);
        HeaderValue::try_from(format!("bytes={first}-{last}")).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_particular_as_are_wanted() {
        let mix = Mix { ranges: 20.0, range_length: 100, conditions: 30.0 };
        let known = Known { length: Some(1000), etag: Some(HeaderValue::from_static("\"e\"")) };
        let (mut ranges, mut conditions) = (0_u32, 0_u32);
        for _ in 0..10_000 {
            let mut fields = HeaderMap::new();
            let asked = mix.apply(Some(&known), &mut fields);
            assert_eq!(fields.is_empty(), asked == RequestKind::All);
            ranges += u32::from(fields.contains_key(header::RANGE));
            conditions += u32::from(fields.contains_key(header::IF_NONE_MATCH));
        }
        assert!(ranges.abs_diff(2_000) < 200 && conditions.abs_diff(3_000) < 250);
        let mut fields = HeaderMap::new();
        assert_eq!(mix.apply(None, &mut fields), RequestKind::All);
        assert!(fields.is_empty(), "nothing is known");
    }

    #[test]
    fn ranges_lie_within_the_content() {
        let mix = Mix { range_length: 100, ..Mix::default() };
        for length in [1, 50, 100, 101, 5000] {
            for _ in 0..100 {
                let range = mix.range(length).expect("a range");
                let (first, last) =
                    range.to_str().expect("text")[6..].split_once('-').expect("two");
                let (first, last): (u64, u64) =
                    (first.parse().expect("n"), last.parse().expect("n"));
                assert!(
                    first <= last && last < length && last - first < 100,
                    "{first}-{last}/{length}"
                );
                assert_eq!(last - first + 1, length.min(100));
            }
        }
        assert_eq!(mix.range(0), None);
    }
}
