//! Files with one entry on each line.

/// A line that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub(crate) struct LineError {
    pub(crate) line: usize,
    pub(crate) reason: String,
}

/// The entries of a file, each with the number of its line. Empty lines and those that begin with `#` are none.
pub(crate) fn list_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}
