//! Access control for viewers: signed URLs and cookies, passwords, networks, countries, rate limits.

pub(crate) mod passwords;
pub mod restrict;
pub mod signed;
