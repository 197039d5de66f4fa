//! Purges of a simulation.

use std::collections::{BTreeSet, HashMap};

use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::base::list_lines::list_lines;

/// Purges by path, with their times in seconds since 1970.
#[derive(Debug, Default)]
pub(crate) struct Purges {
    exact: HashMap<Box<str>, Vec<u32>>,
    prefixes: HashMap<Box<str>, Vec<u32>>,
    /// The lengths of prefixes.
    lengths: BTreeSet<usize>,
}

/// The reason why a list of purges cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PurgesError {
    /// A line that is not a time and a path.
    #[error("line {0}: expected a time and a path, such as `2026-11-25T01:02:03Z /images/*`")]
    Line(usize),
    /// JSON that is not the output of `aws cloudfront get-invalidation`.
    #[error("expected what `aws cloudfront get-invalidation` prints: {0}")]
    Json(String),
}

/// The output of `aws cloudfront get-invalidation`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    invalidation: Invalidation,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Invalidation {
    create_time: String,
    invalidation_batch: Batch,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch {
    paths: Paths,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Paths {
    items: Vec<String>,
}

impl Purges {
    /// Reads a list: lines with a time and a path, or what `aws cloudfront get-invalidation` printed, once or several times.
    ///
    /// # Errors
    /// For the first line or document that is something else.
    pub(crate) fn parse(text: &str) -> Result<Self, PurgesError> {
        let mut purges = Self::default();
        if text.trim_start().starts_with('{') {
            for document in serde_json::Deserializer::from_str(text).into_iter::<Document>() {
                let document = document.map_err(|error| PurgesError::Json(error.to_string()))?;
                let Invalidation { create_time, invalidation_batch } = document.invalidation;
                let second = second(&create_time)
                    .ok_or_else(|| PurgesError::Json(format!("`{create_time}` is not a time")))?;
                for path in invalidation_batch.paths.items {
                    purges.add(&path, second);
                }
            }
        } else {
            for (number, line) in list_lines(text) {
                let words = line.split_once(char::is_whitespace);
                let words = words.and_then(|(time, path)| Some((second(time)?, path.trim())));
                let purge = words.filter(|(_, path)| path.starts_with('/'));
                let (second, path) = purge.ok_or(PurgesError::Line(number))?;
                purges.add(path, second);
            }
        }
        let times = purges.exact.values_mut().chain(purges.prefixes.values_mut());
        times.for_each(|times| times.sort_unstable());
        Ok(purges)
    }

    fn add(&mut self, path: &str, second: u32) {
        // A query is ignored.
        let path = path.split('?').next().unwrap_or_default();
        let list = match path.strip_suffix('*') {
            Some(prefix) => {
                self.lengths.insert(prefix.len());
                self.prefixes.entry(prefix.into())
            }
            None => self.exact.entry(path.into()),
        };
        list.or_default().push(second);
    }

    /// The times at which a path was purged, in order.
    pub(super) fn of(&self, path: &str) -> Vec<u32> {
        let exact = self.exact.get(path).into_iter();
        let starts = self.lengths.iter().filter_map(|length| path.get(..*length));
        let prefixes = starts.filter_map(|start| self.prefixes.get(start));
        let mut times: Vec<u32> = exact.chain(prefixes).flatten().copied().collect();
        times.sort_unstable();
        times
    }
}

/// A time by RFC 3339, in seconds since 1970.
fn second(text: &str) -> Option<u32> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u32::try_from(time.unix_timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_documents_are_read() {
        let lines = "# release\n2026-11-25T01:02:05Z /images/*\n\n2026-11-25T01:02:03Z  /images/a.jpg?x=y\n2026-11-25T01:02:04Z /*\n";
        let purges = Purges::parse(lines).expect("purges");
        let first = second("2026-11-25T01:02:03Z").expect("a time");
        assert_eq!(purges.of("/images/a.jpg"), [first, first + 1, first + 2]);
        assert_eq!(purges.of("/images/b.jpg"), [first + 1, first + 2]);
        assert_eq!(purges.of("/image"), [first + 1]);
        let document = |time: &str| {
            format!(
                r#"{{"Location": "…", "Invalidation": {{"Id": "I1", "Status": "Completed", "CreateTime": "{time}", "InvalidationBatch": {{"Paths": {{"Quantity": 2, "Items": ["/a", "/b/*"]}}, "CallerReference": "1"}}}}}}"#
            )
        };
        let both =
            document("2026-11-25T01:02:03.123000+00:00") + "\n" + &document("2026-11-25T01:02:04Z");
        let purges = Purges::parse(&both).expect("purges");
        assert_eq!(purges.of("/a"), [first, first + 1]);
        assert_eq!((purges.of("/b/c").len(), purges.of("/c").len()), (2, 0));
        for (text, error) in [
            ("\n/a", PurgesError::Line(2)),
            ("2026-11-25T01:02:03Z", PurgesError::Line(1)),
            ("2026-11-25T01:02:03Z a", PurgesError::Line(1)),
            ("yesterday /a", PurgesError::Line(1)),
        ] {
            assert_eq!(Purges::parse(text).expect_err("an error"), error);
        }
        assert!(matches!(Purges::parse("{}"), Err(PurgesError::Json(_))));
        assert!(matches!(Purges::parse(&document("soon")), Err(PurgesError::Json(_))));
    }
}
