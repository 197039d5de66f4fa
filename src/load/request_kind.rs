//! The kind of a request.

/// The kind of a request: for a whole object, for a range, or for an object if it has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestKind {
    All,
    Range,
    IfChanged,
}
