//! Who may change something: callers who sign as AWS's clients do, bearers of a token, and, where
//! neither is configured, whoever is on this machine.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use aws_credential_types::Credentials;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use http::{HeaderMap, HeaderValue, header, request::Parts};
use time::{PrimitiveDateTime, format_description::BorrowedFormatItem, macros::format_description};

use crate::base::clock::Timestamp;

/// How far the clocks of caller and edge may be apart (AWS: "Troubleshoot Signature Version 4").
const SKEW: Duration = Duration::from_secs(15 * 60);

/// Characters that a secret must have, at least: a shorter one can be guessed.
const SHORTEST: usize = 16;

/// The service that CloudFront's clients sign for. Any region is accepted: CloudFront has none, so clients sign for the
/// one that their environment names.
const SERVICE: &str = "cloudfront";

const AMZ_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");

/// Where secrets are read from: not from the configuration, which is copied about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// A file that holds nothing else.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
}

/// Those who may change something, as they are configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallerOptions {
    /// Access key ids with their secret access keys.
    pub credentials: Vec<(String, Secret)>,
    /// Names with their tokens.
    pub tokens: Vec<(String, Secret)>,
}

impl CallerOptions {
    /// Whether nobody is configured.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.credentials.is_empty() && self.tokens.is_empty()
    }
}

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("the secret of `{of}` cannot be read from {from}: {reason}")]
pub struct SecretError {
    /// Whose it is.
    of: String,
    /// Where it should be.
    from: String,
    reason: String,
}

/// Those who may change something.
#[derive(Default)]
pub(crate) struct Callers {
    credentials: Vec<Credentials>,
    tokens: Vec<(String, String)>,
}

/// Who calls, as the audit log names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Somebody on this machine.
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

/// Why a caller is refused, in AWS's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    #[error("the request is not signed, and bears no token")]
    Missing,
    #[error("the Authorization field is not of AWS Signature Version 4")]
    Incomplete,
    #[error("no [[admin.credential]] has this access key id")]
    UnknownKey,
    #[error("the request is signed for another service than cloudfront")]
    OtherService,
    #[error("the request's time is more than 15 minutes from the edge's")]
    Skewed,
    #[error("the signature is not that of this request by this key")]
    WrongSignature,
    #[error("no [[admin.token]] is this token")]
    UnknownToken,
    #[error(
        "changes are taken over loopback only, until the configuration has an [[admin.credential]] or [[admin.token]]"
    )]
    Remote,
    #[error("changes are not taken from web pages")]
    WebPage,
}

impl Denied {
    /// The code that AWS's clients know.
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
    /// When one cannot be had.
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

    /// Whether the head of a request may come from a caller: all that can be judged before its content is read.
    pub(super) fn may_call(&self, request: &Parts, client: IpAddr) -> bool {
        self.claimed(request, client).is_ok()
    }

    /// Who sent a request with this content, if they may change something.
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

    /// Who a request is from, by its head alone.
    fn claimed<'a>(&'a self, request: &'a Parts, client: IpAddr) -> Result<Claimed<'a>, Denied> {
        if request.headers.contains_key(header::ORIGIN) {
            return Err(Denied::WebPage);
        }
        if self.credentials.is_empty() && self.tokens.is_empty() {
            let is_local = client.is_loopback();
            return is_local.then_some(Claimed::Known(Caller::Local)).ok_or(Denied::Remote);
        }
        let field = request.headers.get(header::AUTHORIZATION).ok_or(Denied::Missing)?;
        let field = field.to_str().map_err(|_| Denied::Incomplete)?;
        if let Some(token) = field.strip_prefix("Bearer ") {
            let same = |known: &str| verify_slices_are_equal(known.as_bytes(), token.as_bytes());
            let known = self.tokens.iter().find(|(_, known)| same(known).is_ok());
            let (name, _) = known.ok_or(Denied::UnknownToken)?;
            return Ok(Claimed::Known(Caller::Token(name.clone())));
        }
        let field = AuthorizationField::parse(field).ok_or(Denied::Incomplete)?;
        let known = self.credentials.iter().find(|known| known.access_key_id() == field.key);
        Ok(Claimed::Signed(field, known.ok_or(Denied::UnknownKey)?))
    }
}

/// A caller by the head of a request.
enum Claimed<'a> {
    /// Identified by the head.
    Known(Caller),
    /// Signed in the name of these credentials; the signature covers the content, too.
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

/// What an `Authorization` field says (AWS: "Create a signed AWS API request").
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

    /// Signs the request as its caller should have, and compares.
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
        // Without these a signature would be good for other hosts and times.
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

/// The value of a field that stands once.
fn one<'a>(fields: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = fields.get_all(name).iter();
    let value: &HeaderValue = values.next()?;
    values.next().is_none().then(|| value.to_str().ok())?
}
