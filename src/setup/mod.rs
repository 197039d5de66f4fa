//! Setup around Forebay, as text: a first configuration, permissions to read buckets, Django settings, units and
//! containers that run it.

mod cluster_certificates;
mod iam;
mod site;
mod systemd;

pub(crate) use cluster_certificates::CertificatePair;
pub(crate) use iam::reading_policy;
pub(crate) use site::Site;
pub(crate) use systemd::{SERVICE, SYSUSERS};
