//! The reasons why a certificate was not issued.

use std::{io, path::PathBuf};

use instant_acme::{Problem, Subproblem};

/// The reason why a certificate was not issued.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The folder cannot be read or written.
    #[error("`{}` cannot be used: {source}", path.display())]
    Storage {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The key of the external account is not base64url.
    #[error("`{}` is not an HMAC key in base64url, as the authority shows it", .0.display())]
    ExternalKey(PathBuf),
    /// The authority refused something.
    #[error("the authority refused: {0}")]
    Refused(String),
    /// The authority did not see the proof.
    #[error("the authority could not check that this machine serves the host: {0}")]
    NotProven(String),
    /// The authority offers no challenge that this machine can answer.
    #[error("the authority offers neither HTTP-01 nor TLS-ALPN-01 for this host")]
    NoChallenge,
    /// The authority did not answer.
    #[error("cannot reach the authority: {0}")]
    Unreachable(String),
    /// The authority took too long.
    #[error("the authority did not issue the certificate in time")]
    Timeout,
    /// The certificate cannot be used.
    #[error("the issued certificate cannot be used: {0}")]
    Unusable(String),
}

impl AcmeError {
    /// The fix for it.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Storage { .. } => {
                "create the directory of `admin.state` and make it writable by the user that runs Forebay"
            }
            Self::ExternalKey(_) => "paste the HMAC key that the authority shows into the file",
            Self::Refused(_) => "the authority's text says what to correct",
            Self::NotProven(_) => {
                "make the host's DNS record point to this machine, and let the authority reach port 80 or 443 of it"
            }
            Self::NoChallenge => "use an authority that supports HTTP-01 or TLS-ALPN-01",
            Self::Unreachable(_) | Self::Timeout => {
                "check `listen.acme.directory` and the network; Forebay tries again by itself"
            }
            Self::Unusable(_) => "report this to the authority",
        }
    }
}

impl From<instant_acme::Error> for AcmeError {
    fn from(error: instant_acme::Error) -> Self {
        match error {
            instant_acme::Error::Api(problem) => Self::Refused(words(&problem)),
            instant_acme::Error::Timeout(_) => Self::Timeout,
            error => Self::Unreachable(error.to_string()),
        }
    }
}

/// A problem as one line of text. It comes from the network, so control characters are removed.
pub(super) fn words(problem: &Problem) -> String {
    let first = problem.detail.as_ref().or(problem.r#type.as_ref());
    let others = problem.subproblems.iter().filter_map(|sub: &Subproblem| sub.detail.as_ref());
    let parts: Vec<&str> = first.into_iter().chain(others).map(String::as_str).collect();
    parts.join("; ").replace(|character: char| character.is_control(), " ")
}
