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
    /// The key of the external account cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    ExternalKeyFile {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The key of the external account is not base64url.
    #[error("`{}` is not an HMAC key in base64url, as the authority shows it", .0.display())]
    ExternalKey(PathBuf),
    /// The authority refused something, or cannot be reached.
    #[error("{}", of_library(.0))]
    Library(#[source] Box<instant_acme::Error>),
    /// The authority did not see the proof.
    #[error("the authority could not check that this machine serves the host: {0}")]
    NotProven(String),
    /// The authority offers no challenge that this machine can answer.
    #[error("the authority offers neither HTTP-01 nor TLS-ALPN-01 for this host")]
    NoChallenge,
    /// The authority took too long.
    #[error("the authority did not issue the certificate in time")]
    Timeout,
    /// The certificate cannot be used.
    #[error("the certificate cannot be used: {0}")]
    Unusable(String),
    /// A fault in Forebay.
    #[error("the order ended with a fault in Forebay, which the log shows")]
    Panic,
}

impl AcmeError {
    /// The fix for it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Storage { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "make it readable and writable for the user that runs Forebay; run `forebay doctor` as that user"
            }
            Self::Storage { .. } => {
                "create the directory of `admin.state` and make it writable by the user that runs Forebay"
            }
            Self::ExternalKeyFile { .. } => "correct `listen.acme.external_account_key_file`",
            Self::ExternalKey(_) => "paste the HMAC key that the authority shows into the file",
            Self::Library(error) if matches!(**error, instant_acme::Error::Api(_)) => {
                "the authority's text says what to correct"
            }
            Self::Library(error) if matches!(**error, instant_acme::Error::Json(_)) => {
                "check that `listen.acme.directory` is the URL of the authority's directory"
            }
            Self::NotProven(_) => {
                "make the host's DNS record point to this machine, and let the authority reach port 80 or 443 of it; `forebay reload` tries again at once"
            }
            Self::NoChallenge => "use an authority that supports HTTP-01 or TLS-ALPN-01",
            Self::Library(_) | Self::Timeout => {
                "check `listen.acme.directory` and the network; Forebay tries again by itself"
            }
            Self::Unusable(_) => {
                "Forebay orders another one; if that repeats, report it to the authority"
            }
            Self::Panic => "report this as a bug",
        }
    }
}

impl From<instant_acme::Error> for AcmeError {
    fn from(error: instant_acme::Error) -> Self {
        match error {
            instant_acme::Error::Timeout(_) => Self::Timeout,
            error => Self::Library(Box::new(error)),
        }
    }
}

fn of_library(error: &instant_acme::Error) -> String {
    match error {
        instant_acme::Error::Api(problem) => format!("the authority refused: {}", words(problem)),
        instant_acme::Error::Json(_) => "the authority's answer is not one of ACME".to_owned(),
        error => format!("cannot reach the authority: {error}"),
    }
}

/// A problem as one line of text. It comes from the network, so control characters are removed.
pub(super) fn words(problem: &Problem) -> String {
    let first = problem.detail.as_ref().or(problem.r#type.as_ref());
    let others = problem.subproblems.iter().filter_map(|sub: &Subproblem| sub.detail.as_ref());
    let parts: Vec<&str> = first.into_iter().chain(others).map(String::as_str).collect();
    parts.join("; ").replace(|character: char| character.is_control(), " ")
}
