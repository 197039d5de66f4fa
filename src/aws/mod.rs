//! AWS: credentials, SigV4 signatures, XML.

mod credentials;
mod sign;
mod xml;

pub use credentials::Credentials;
#[cfg(feature = "demo")]
pub(crate) use credentials::KeysError;
pub(crate) use credentials::{FoundCredentials, Installed, describe, find};
pub use sign::sign_for_s3;
pub(crate) use sign::{Scope, SignError, sign_for_service};
pub(crate) use xml::{resolve, text_of};
