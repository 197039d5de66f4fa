//! The files by which systemd runs Forebay, for any site.

/// The unit.
pub(crate) const SERVICE: &str = include_str!("../../config/forebay.service");

/// The user that it runs as.
pub(crate) const SYSUSERS: &str = include_str!("../../config/forebay.sysusers");
