//! Authentication for admin requests that change something or read what viewers do: AWS-signed requests or bearer tokens.
//! If neither is configured, only callers on this machine are allowed.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use aws_credential_types::Credentials;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use http::{HeaderMap, HeaderValue, header, request::Parts};
use time::{PrimitiveDateTime, format_description::BorrowedFormatItem, macros::format_description};

use super::web_page::{has_literal_host, is_foreign};
use crate::base::clock::Timestamp;

/// Maximum clock skew between caller and edge (AWS: "Troubleshoot Signature Version 4").
const SKEW: Duration = Duration::from_secs(15 * 60);

/// Minimum length of a secret in characters. A shorter one can be guessed.
const SHORTEST: usize = 16;

/// The service that CloudFront's clients sign for. Any region is accepted: CloudFront has none, so clients use the
/// one from their environment.
const SERVICE: &str = "cloudfront";

const AMZ_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");

/// The source of a secret. Secrets are never in the configuration itself, because that gets copied around.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// A file that contains only the secret.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
}

/// The configured callers that may change something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallerOptions {
    /// Access key ids and their secret access keys.
    pub credentials: Vec<(String, Secret)>,
    /// Token names and their tokens.
    pub tokens: Vec<(String, Secret)>,
}

impl CallerOptions {
    /// Whether no callers are configured.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.credentials.is_empty() && self.tokens.is_empty()
    }
}

/// A secret could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the secret of `{of}`, from {from}, cannot be used: {reason}")]
pub struct SecretError {
    /// The key id or token name that the secret belongs to.
    of: String,
    /// The file or variable that should contain it.
    from: String,
    reason: String,
}

impl SecretError {
    /// Advice to the operator.
    pub(crate) const ADVICE: &str = "put a secret of 16 characters or more there (`openssl rand -hex 16` makes one), or remove the `[[admin.credential]]` or `[[admin.token]]`";
}

/// The callers that may change something, with their secrets loaded.
#[derive(Default)]
pub(crate) struct Callers {
    credentials: Vec<Credentials>,
    tokens: Vec<(String, String)>,
}

/// An authenticated caller, as the audit log names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A caller on this machine.
    Local,
    /// An access key id.
    Key(String),
    /// A token's name.
    Token(String),
}

impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Key(id) => write!(f, "key:{id}"),
            Self::Token(name) => write!(f, "token:{name}"),
        }
    }
}

/// The reason for refusing a caller, in AWS's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    #[error(
        "the request has no signature and no token: sign it with an [[admin.credential]], or send an [[admin.token]] as `Authorization: Bearer …`"
    )]
    Missing,
    #[error("the Authorization header is not a complete AWS Signature Version 4")]
    Incomplete,
    #[error("no [[admin.credential]] has this access key id")]
    UnknownKey,
    #[error("the request must be signed for the service cloudfront")]
    OtherService,
    #[error(
        "the request's time differs from Forebay's clock by more than 15 minutes: check both clocks"
    )]
    Skewed,
    #[error("the signature does not match the request: check the secret access key")]
    WrongSignature,
    #[error("no [[admin.token]] matches this token")]
    UnknownToken,
    #[error(
        "only this machine may do this, until the configuration has an [[admin.credential]] or [[admin.token]]"
    )]
    Remote,
    #[error("web pages other than the dashboard may not do this")]
    WebPage,
}

impl Denied {
    /// The error code that AWS clients recognise.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationToken",
            Self::Incomplete => "IncompleteSignature",
            Self::UnknownKey => "InvalidClientTokenId",
            Self::Skewed => "RequestExpired",
            Self::OtherService | Self::WrongSignature => "SignatureDoesNotMatch",
            Self::UnknownToken | Self::Remote | Self::WebPage => "AccessDenied",
        }
    }
}

impl Callers {
    /// Reads the secrets.
    ///
    /// # Errors
    /// If a secret cannot be read.
    pub(crate) fn load(options: &CallerOptions) -> Result<Self, SecretError> {
        let mut callers = Self::default();
        for (id, secret) in &options.credentials {
            let secret = read(id, secret)?;
            callers.credentials.push(Credentials::new(id, secret, None, None, "admin"));
        }
        for (name, secret) in &options.tokens {
            callers.tokens.push((name.clone(), read(name, secret)?));
        }
        Ok(callers)
    }

    /// Whether no callers are configured, so that everybody on this machine is one.
    pub(super) const fn are_local(&self) -> bool {
        self.credentials.is_empty() && self.tokens.is_empty()
    }

    /// The names of the tokens, and the tokens.
    pub(super) fn tokens(&self) -> &[(String, String)] {
        &self.tokens
    }

    /// The name of a token.
    pub(super) fn token_name(&self, token: &str) -> Option<&str> {
        let same = |known: &str| verify_slices_are_equal(known.as_bytes(), token.as_bytes());
        let known = self.tokens.iter().find(|(_, known)| same(known).is_ok());
        known.map(|(name, _)| name.as_str())
    }

    /// Whether the request head is acceptable. Only the head can be checked before the content is read.
    pub(super) fn may_call(&self, request: &Parts, client: IpAddr) -> bool {
        self.claimed(request, client).is_ok()
    }

    /// Authenticates a request with this content and returns its caller.
    pub(super) fn identify(
        &self,
        request: &Parts,
        content: &[u8],
        client: IpAddr,
        now: Timestamp,
    ) -> Result<Caller, Denied> {
        match self.claimed(request, client)? {
            Claimed::Known(caller) => Ok(caller),
            Claimed::Signed(field, credentials) => {
                field.verify(credentials, request, content, now)?;
                Ok(Caller::Key(field.key.to_owned()))
            }
        }
    }

    /// Reads the caller from the request head alone.
    fn claimed<'a>(&'a self, request: &'a Parts, client: IpAddr) -> Result<Claimed<'a>, Denied> {
        if is_foreign(request) {
            return Err(Denied::WebPage);
        }
        if self.are_local() {
            if request.headers.contains_key(header::ORIGIN) && !has_literal_host(request) {
                return Err(Denied::WebPage);
            }
            let is_local = client.is_loopback();
            return is_local.then_some(Claimed::Known(Caller::Local)).ok_or(Denied::Remote);
        }
        let field = request.headers.get(header::AUTHORIZATION).ok_or(Denied::Missing)?;
        let field = field.to_str().map_err(|_| Denied::Incomplete)?;
        // RFC 9110 §11.1: case does not matter in the name of a scheme.
        if let Some((scheme, token)) = field.split_once(' ')
            && scheme.eq_ignore_ascii_case("bearer")
        {
            let name = self.token_name(token).ok_or(Denied::UnknownToken)?;
            return Ok(Claimed::Known(Caller::Token(name.to_owned())));
        }
        let field = AuthorizationField::parse(field).ok_or(Denied::Incomplete)?;
        let known = self.credentials.iter().find(|known| known.access_key_id() == field.key);
        Ok(Claimed::Signed(field, known.ok_or(Denied::UnknownKey)?))
    }
}

/// The caller that a request head claims.
enum Claimed<'a> {
    /// Authenticated by the head alone.
    Known(Caller),
    /// Signed with these credentials. The signature also covers the content.
    Signed(AuthorizationField<'a>, &'a Credentials),
}

fn read(of: &str, secret: &Secret) -> Result<String, SecretError> {
    let (from, text) = match secret {
        Secret::File(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
            (format!("`{}`", path.display()), text)
        }
        Secret::Variable(name) => {
            let text = std::env::var(name).map_err(|_| "it is not set".to_owned());
            (format!("the environment variable {name}"), text)
        }
    };
    let refuse = |reason| SecretError { of: of.to_owned(), from: from.clone(), reason };
    let text = text.map_err(refuse)?.trim().to_owned();
    match text.len() {
        0 => Err(refuse("it is empty".into())),
        1..SHORTEST => Err(refuse(format!("it has fewer than {SHORTEST} characters"))),
        _ => Ok(text),
    }
}

/// The parsed `Authorization` header field (AWS: "Create a signed AWS API request").
struct AuthorizationField<'a> {
    key: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> AuthorizationField<'a> {
    fn parse(field: &'a str) -> Option<Self> {
        let parts = field.strip_prefix("AWS4-HMAC-SHA256")?.trim_start();
        let mut found = [None; 3];
        for part in parts.split(',').map(str::trim) {
            let (name, value) = part.split_once('=')?;
            let place =
                ["Credential", "SignedHeaders", "Signature"].iter().position(|n| *n == name);
            found[place?] = Some(value);
        }
        let [credential, signed, signature] = found;
        let mut scope = credential?.rsplitn(5, '/');
        let (terminator, service, region, date, key) =
            (scope.next()?, scope.next()?, scope.next()?, scope.next()?, scope.next()?);
        let signed = signed?.split(';').collect();
        let signature = signature?;
        (terminator == "aws4_request").then_some(Self {
            key,
            date,
            region,
            service,
            signed,
            signature,
        })
    }

    /// Computes the expected signature and compares it with the one received.
    fn verify(
        &self,
        credentials: &Credentials,
        request: &Parts,
        content: &[u8],
        now: Timestamp,
    ) -> Result<(), Denied> {
        if self.service != SERVICE {
            return Err(Denied::OtherService);
        }
        let text = one(&request.headers, "x-amz-date").ok_or(Denied::Incomplete)?;
        let at = PrimitiveDateTime::parse(text, AMZ_DATE).map_err(|_| Denied::Incomplete)?;
        let at = std::time::SystemTime::from(at.assume_utc());
        let stamp = Timestamp::from(at);
        if stamp.since(now).max(now.since(stamp)) > SKEW || !text.starts_with(self.date) {
            return Err(Denied::Skewed);
        }
        // Unless these are signed, the signature would also be valid for other hosts and times.
        if !["host", "x-amz-date"].iter().all(|name| self.signed.contains(name)) {
            return Err(Denied::Incomplete);
        }
        let expected = self.sign(credentials, request, content, at).ok_or(Denied::Incomplete)?;
        verify_slices_are_equal(expected.as_bytes(), self.signature.as_bytes())
            .map_err(|_| Denied::WrongSignature)
    }

    fn sign(
        &self,
        credentials: &Credentials,
        request: &Parts,
        content: &[u8],
        at: std::time::SystemTime,
    ) -> Option<String> {
        let identity = credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(SERVICE)
            .time(at)
            .settings(SigningSettings::default())
            .build()
            .ok()?;
        let host = one(&request.headers, "host")?;
        let target = request.uri.path_and_query()?.as_str();
        let url = format!("http://{host}{target}");
        let fields = self.signed.iter().filter(|name| **name != "x-amz-date");
        let fields: Option<Vec<(&str, &str)>> =
            fields.map(|name| Some((*name, one(&request.headers, name)?))).collect();
        let signable = SignableRequest::new(
            request.method.as_str(),
            url,
            fields?.into_iter(),
            SignableBody::Bytes(content),
        );
        Some(sign(signable.ok()?, &params.into()).ok()?.signature().to_owned())
    }
}

/// The value of a header field that occurs exactly once.
fn one<'a>(fields: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = fields.get_all(name).iter();
    let value: &HeaderValue = values.next()?;
    values.next().is_none().then(|| value.to_str().ok())?
}
