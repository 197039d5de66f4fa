//! Access control for viewers: signed URLs and cookies, networks, countries, rate limits.

pub mod restrict;
pub mod signed;
