//! Certificates and keys, the proofs that authorities look for, and TLS between the nodes of a cluster.

mod certificate_files;
mod challenges;
mod error;
mod issued_certificates;
mod lifetime;
mod mutual;

pub use certificate_files::CertificateFiles;
pub(crate) use certificate_files::covers;
pub use challenges::Challenges;
pub(crate) use challenges::{Challenge, PendingChallenge};
pub use error::TlsError;
pub use issued_certificates::IssuedCertificates;
pub(crate) use lifetime::Lifetime;
pub(crate) use mutual::{MutualFiles, MutualTls};
