//! This process among others.

use std::sync::LazyLock;

/// Sixteen hexadecimal digits, others with each start: what this process knows itself by.
#[must_use]
pub fn id() -> &'static str {
    static ID: LazyLock<String> = LazyLock::new(|| format!("{:016x}", fastrand::u64(..)));
    &ID
}

/// This process in `Via` (RFC 9110 §7.6.3). A request that names it has been here before.
#[must_use]
pub fn pseudonym() -> &'static str {
    static NAME: LazyLock<String> = LazyLock::new(|| format!("forebay-{}", id()));
    &NAME
}
