//! Names and passwords that viewers must give.

use std::{path::PathBuf, sync::Arc};

use http::HeaderValue;

use super::{RuleAnswer, RuleInput};
use crate::access::passwords::{Credentials, Login, Users};

/// Names and passwords that viewers must give (RFC 7617).
#[derive(Clone, Debug)]
pub(crate) struct BasicAuth {
    /// The value of `WWW-Authenticate`.
    pub(crate) challenge: HeaderValue,
    /// The file with the users, if they are not in the configuration.
    pub(crate) file: Option<PathBuf>,
    /// Empty until the file is read.
    pub(crate) users: Arc<Users>,
}

impl BasicAuth {
    /// The challenge for a realm; `None` if the realm has characters that a header field cannot have.
    pub(crate) fn challenge(realm: &str) -> Option<HeaderValue> {
        let realm = realm.replace('\\', r"\\").replace('"', "\\\"");
        HeaderValue::try_from(format!("Basic realm=\"{realm}\", charset=\"UTF-8\"")).ok()
    }

    /// The answer to a request, unless its password is known to be right.
    pub(super) fn check(&self, input: &RuleInput<'_>) -> Option<RuleAnswer> {
        let challenge = self.challenge.clone();
        let Some(credentials) = Credentials::of(&input.request.headers) else {
            return Some(RuleAnswer::Unauthorized { challenge, login: None });
        };
        if self.users.know(&credentials) {
            return None;
        }
        let login = Some(Login { users: Arc::clone(&self.users), credentials });
        Some(RuleAnswer::Unauthorized { challenge, login })
    }
}
