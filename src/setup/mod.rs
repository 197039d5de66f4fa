//! What must be set up around Forebay, as text: a first configuration, rights to read buckets, Django's
//! settings, units and containers that run it.

mod iam;
mod site;

pub(crate) use iam::reading_policy;
pub(crate) use site::{SYSTEMD_UNIT, Site};
