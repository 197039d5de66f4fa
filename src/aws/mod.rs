//! AWS: credentials, SigV4 signatures, XML.

mod credentials;
mod sign;
mod xml;

pub use credentials::{Credentials, FoundCredentials, Installed, KeysError, describe, find};
pub use sign::{Scope, SignError, sign_for_s3, sign_for_service};
pub use xml::{resolve, text_of};
