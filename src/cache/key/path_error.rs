//! Why a path is refused.

/// The reason a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The request target is not in origin form.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// `%` is not followed by two hexadecimal digits.
    #[error("the path has a percent sign that is not followed by two hexadecimal digits")]
    BadEscape,
    /// The path has NUL or another control character, escaped or not.
    #[error("the path has a control character")]
    Control,
    /// In its generous reading, the path has dot segments or belongs to another behavior.
    #[error("an origin could interpret the path as a different path")]
    Ambiguous,
    /// The decoded path is not UTF-8, so it names no S3 object.
    #[error("the path is not UTF-8")]
    NotUtf8,
}
