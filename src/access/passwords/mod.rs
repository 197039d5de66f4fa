//! User names and passwords of viewers (RFC 7617), stored as bcrypt hashes.

mod credentials;
mod login;
mod password_hash;
mod password_verifier;
mod users;

pub(crate) use credentials::Credentials;
pub(crate) use login::Login;
pub(crate) use password_hash::PasswordHash;
pub(crate) use password_verifier::{PasswordVerifier, Verdict};
pub(crate) use users::Users;
