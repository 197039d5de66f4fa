//! Certificates and keys from files, and TLS between the nodes of a cluster.

mod certificate_files;
mod error;
mod lifetime;
mod mutual;

pub use certificate_files::CertificateFiles;
pub use error::TlsError;
pub(crate) use lifetime::Lifetime;
pub(crate) use mutual::{MutualFiles, MutualTls};
