//! A password that is not verified yet.

use std::sync::Arc;

use super::{Credentials, Users};

/// A user name and a password that are not verified yet.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) users: Arc<Users>,
    pub(crate) credentials: Credentials,
}
