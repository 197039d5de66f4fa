//! Which records a reader of the log wants.

use super::Record;
use crate::base::metrics::ResultType;

/// Which records a reader of the log wants. What is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// The distribution's ID.
    pub(crate) distribution: Option<String>,
    /// Statuses, from the first to the last.
    pub(crate) statuses: Option<(u16, u16)>,
    /// The result type.
    pub(crate) result: Option<ResultType>,
    /// How the path begins.
    pub(crate) path: Option<String>,
}

impl Filter {
    /// The statuses of a text such as `404`, `5xx` or `4xx-5xx`.
    pub(crate) fn statuses(text: &str) -> Option<(u16, u16)> {
        let one = |text: &str| match text.strip_suffix("xx") {
            Some(class) => {
                let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
                Some((class * 100, class * 100 + 99))
            }
            None => {
                let status = text.parse().ok().filter(|status| (100..=599).contains(status))?;
                Some((status, status))
            }
        };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (one(first)?, one(last)?),
            None => (one(text)?, one(text)?),
        };
        (first.0 <= last.1).then_some((first.0, last.1))
    }

    pub(super) fn accepts(&self, record: &Record<'_>) -> bool {
        let Self { distribution, statuses, result, path } = self;
        distribution.as_deref().is_none_or(|id| record.distribution == Some(id))
            && statuses.is_none_or(|(first, last)| (first..=last).contains(&record.status))
            && result.is_none_or(|result| record.result == result)
            && path.as_deref().is_none_or(|path| record.uri.path().starts_with(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_single_ones_classes_or_ranges() {
        for (text, expected) in [
            ("404", Some((404, 404))),
            ("5xx", Some((500, 599))),
            ("4xx-5xx", Some((400, 599))),
            ("400-404", Some((400, 404))),
            ("5xx-4xx", None),
            ("6xx", None),
            ("0", None),
            ("xx", None),
            ("", None),
        ] {
            assert_eq!(Filter::statuses(text), expected, "{text}");
        }
    }
}
