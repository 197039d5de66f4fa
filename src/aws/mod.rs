//! AWS: credentials, SigV4 signatures, XML.

mod credential_source;
mod credentials;
mod s3_signer;
mod sign;
mod xml;

#[cfg(feature = "demo")]
pub(crate) use credentials::KeysError;
pub use credentials::{Credentials, Installed};
pub(crate) use credentials::{FoundCredentials, describe, find, missing_advice};
pub use s3_signer::S3Signer;
pub(crate) use sign::{Scope, SignError, sign_for_s3, sign_for_service};
pub(crate) use xml::{resolve, text_of, texts_of};
