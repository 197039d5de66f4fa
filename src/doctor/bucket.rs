//! Origins: whether they are reachable, and whether Forebay, and only Forebay, can read the buckets.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use percent_encoding::percent_decode_str;

use super::{Checks, keys};
use crate::{
    aws::{FoundCredentials, describe, text_of},
    base::clock::{Clock, Timestamp},
    cache::key::CanonicalPath,
    http::date,
    origin::{Options, Protocol},
    outbound::{Address, Error, Service, WholeAnswer},
};

/// S3 rejects signatures that are further in the past or future than this.
const SKEW_LIMIT: Duration = Duration::from_secs(900);

/// Timeout for looking up the region.
const PATIENCE: Duration = Duration::from_secs(5);

/// Clock skew above this is reported.
const SKEW: Duration = Duration::from_secs(60);

/// The AWS region of a bucket, which AWS returns even without credentials.
pub(crate) async fn bucket_region(bucket: &str) -> Option<String> {
    let address = Address::bucket(bucket, "us-east-1", None, Some(true)).ok()?;
    let target = address.base_path.clone();
    let service = Service::at(address, "s3", "us-east-1", None).ok()?;
    let call = service.call(None, (Method::HEAD, &target), HeaderMap::new(), Bytes::new());
    let answer = tokio::time::timeout(PATIENCE, call).await.ok()?.ok()?;
    Some(answer.fields.get("x-amz-bucket-region")?.to_str().ok()?.to_owned())
}

/// Whether a store can only be reached with the bucket in the path: the host name with the bucket's name does not
/// resolve, but the one without it does.
pub(crate) async fn needs_path_style(bucket: &str, endpoint: &str) -> bool {
    let address = |style| Address::bucket(bucket, "us-east-1", Some(endpoint), style).ok();
    let (Some(usual), Some(in_path)) = (address(None), address(Some(true))) else { return false };
    let resolves = |address: Address| async move {
        let found = tokio::net::lookup_host((address.host.as_str(), address.port));
        matches!(tokio::time::timeout(PATIENCE, found).await, Ok(Ok(_)))
    };
    usual.host != in_path.host && !resolves(usual).await && resolves(in_path).await
}

/// An origin being checked.
struct OriginCheck<'a> {
    options: &'a Options,
    service: Service,
    found: Option<&'a FoundCredentials>,
    checks: Checks,
}

/// Checks one origin.
pub(super) async fn examine(
    name: &str,
    options: &Options,
    found: Option<&FoundCredentials>,
    sample: Option<&str>,
    clock: &Clock,
) -> Checks {
    let mut checks = Checks::of(format!("origin {name}"));
    let (service, region) = match &options.protocol {
        Protocol::S3 { region, .. } => ("s3", region.as_str()),
        Protocol::Plain => ("http", ""),
    };
    let address = options.address.clone();
    let service = match Service::at(address, service, region, options.ca_file.as_deref()) {
        Ok(service) => service,
        Err(error) => {
            checks.bad(error.to_string(), "correct `ca_file`");
            return checks;
        }
    };
    let found = found.filter(|_| options.protocol.is_signed());
    let mut check = OriginCheck { options, service, found, checks };
    match &options.protocol {
        Protocol::Plain => check.plain(clock).await,
        Protocol::S3 { .. } if options.protocol.is_signed() && found.is_none() => {
            let text = "not checked, because there are no credentials";
            check.checks.advise(text, "provide credentials first");
        }
        Protocol::S3 { .. } => check.bucket(sample, clock).await,
    }
    check.checks
}

impl OriginCheck<'_> {
    async fn plain(&mut self, clock: &Clock) {
        let asked = clock.now();
        let answer = self.request(Method::HEAD, "/", false).await;
        if let Some(answer) = self.reached(answer) {
            self.clock(&answer, asked, clock.now());
        }
    }

    async fn bucket(&mut self, sample: Option<&str>, clock: &Clock) {
        let list = self.list_target();
        let asked = clock.now();
        let answer = self.request(Method::GET, &list, true).await;
        let Some(listed) = self.reached(answer) else { return };
        self.clock(&listed, asked, clock.now());
        if !self.region(&listed) {
            return;
        }
        let is_denied = matches!(
            Error::of_answer(&listed),
            Some(Error::S3 { ref code, .. }) if code == "AccessDenied"
        );
        let found = match Error::of_answer(&listed) {
            None => {
                self.checks
                    .good("the bucket can be listed (s3:ListBucket), so a missing object is a 404");
                self.first_path(&listed)
            }
            Some(_) if is_denied => {
                if self.options.protocol.is_signed() {
                    self.checks.advise(
                        "the bucket cannot be listed (s3:ListBucket): a missing object is a 403, like a forbidden one",
                        "allow s3:ListBucket on the bucket if missing objects should be 404",
                    );
                }
                None
            }
            Some(error) => return self.checks.bad(error.to_string(), self.options.advice(&error)),
        };
        match sample.map(|key| self.path_of(key)).or(found) {
            Some(path) => self.object(&path).await,
            // Nothing that S3 answered shows that this is the right bucket.
            None if is_denied => self.checks.bad(
                "nothing in this bucket could be read, so it may be the wrong one",
                "check the name of the bucket, allow s3:ListBucket, or name an object with --sample KEY",
            ),
            None => self.checks.advise(
                "the bucket has no object here, so it is unknown whether objects can be read (s3:GetObject)",
                "upload an object, or name one with --sample KEY",
            ),
        }
        if self.options.protocol.is_signed() {
            self.strangers(&list, "list the bucket").await;
        }
    }

    /// Checks whether an object can be read: its head, and its first byte.
    async fn object(&mut self, path: &str) {
        let base = &self.options.address.base_path;
        let name = path.strip_prefix(base.as_str()).unwrap_or(path);
        let name = percent_decode_str(name).decode_utf8_lossy().into_owned();
        for method in [Method::GET, Method::HEAD] {
            let answer = match self.request(method.clone(), path, true).await {
                Ok(answer) => answer,
                Err(error) => {
                    return self.checks.bad(describe(&error), self.options.advice(&error));
                }
            };
            match Error::of_answer(&answer) {
                None => self.checks.good(format!("{name} can be read with {method}")),
                // An empty object has no first byte.
                Some(_) if answer.status == StatusCode::RANGE_NOT_SATISFIABLE => {
                    self.checks.good(format!("{name} can be read with {method}; it is empty"));
                }
                Some(error) => return self.refused(&name, &answer, &error),
            }
        }
        if self.options.protocol.is_signed() {
            self.strangers(path, "read this object").await;
        }
    }

    fn refused(&mut self, name: &str, answer: &WholeAnswer, error: &Error) {
        let message = text_of(&answer.content, "Message").unwrap_or_default();
        let fix = match answer.status {
            _ if message.contains("kms:") => {
                "allow kms:Decrypt on the key that encrypts the bucket".to_owned()
            }
            StatusCode::NOT_FOUND => "name an existing object with --sample KEY".to_owned(),
            StatusCode::FORBIDDEN => {
                "allow s3:GetObject on the bucket's objects; with SSE-KMS also kms:Decrypt on its key"
                    .to_owned()
            }
            StatusCode::BAD_REQUEST => {
                "check whether it is encrypted with a customer-provided key (SSE-C); Forebay cannot serve such objects".to_owned()
            }
            _ => error.advice(),
        };
        self.checks.bad(format!("{name}: {error}"), fix);
    }

    /// Checks that requests without credentials are refused.
    async fn strangers(&mut self, target: &str, action: &str) {
        let Ok(answer) = self.request(Method::GET, target, false).await else { return };
        if answer.status.is_success() {
            self.checks.bad(
                format!("anyone can {action} without a signature"),
                "block public access, and remove public grants from the bucket's policy and ACLs",
            );
        } else if matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            self.checks.good(format!("nobody can {action} without a signature"));
        } else {
            self.checks.advise(
                format!(
                    "it is unknown whether anyone can {action} without a signature: {}",
                    answer.status
                ),
                "request it with curl",
            );
        }
    }

    /// Sends a request as the edge would, or without credentials.
    async fn request(
        &self,
        method: Method,
        target: &str,
        signed: bool,
    ) -> Result<WholeAnswer, Error> {
        let mut fields = HeaderMap::new();
        if let Protocol::S3 { expected_bucket_owner, request_payer, .. } = &self.options.protocol {
            let owner = expected_bucket_owner.as_ref();
            let owner = owner.and_then(|owner| HeaderValue::from_str(owner).ok());
            fields.extend(
                owner.map(|o| (http::HeaderName::from_static("x-amz-expected-bucket-owner"), o)),
            );
            if *request_payer {
                fields.insert("x-amz-request-payer", HeaderValue::from_static("requester"));
            }
            if method == Method::GET && !target.contains('?') {
                fields.insert(header::RANGE, HeaderValue::from_static("bytes=0-0"));
            }
        }
        let keys = keys(self.found).filter(|_| signed);
        self.service.call(keys, (method, target), fields, Bytes::new()).await
    }

    fn reached(&mut self, answer: Result<WholeAnswer, Error>) -> Option<WholeAnswer> {
        let authority = &self.options.address.authority;
        match answer {
            Ok(answer) => {
                let timing = answer.timing;
                let text = format!(
                    "{authority} responds (DNS {} ms, connect {} ms, first byte {} ms)",
                    timing.dns.as_millis(),
                    timing.connect.as_millis(),
                    timing.first_byte.as_millis()
                );
                let limit = self.options.response_timeout;
                if timing.first_byte > limit {
                    let late =
                        format!("{text}, later than `response_timeout`, {} s", limit.as_secs());
                    self.checks
                        .bad(late, "find out why the origin is slow, or raise `response_timeout`");
                } else {
                    self.checks.good(text);
                }
                Some(answer)
            }
            Err(error) => {
                let fix = self.options.advice(&error);
                self.checks.bad(format!("{authority}: {}", describe(&error)), fix);
                None
            }
        }
    }

    /// Compares this machine's clock with the origin's, which is between `asked` and `answered` if they agree.
    fn clock(&mut self, answer: &WholeAnswer, asked: Timestamp, answered: Timestamp) {
        let sent = answer.fields.get(header::DATE).map(HeaderValue::as_bytes);
        let Some(theirs) = sent.and_then(date::parse) else { return };
        // A cache before the origin answers with the date of what it has stored.
        let age = answer.fields.get(header::AGE).and_then(|age| age.to_str().ok()?.parse().ok());
        let theirs = theirs + Duration::from_secs(age.unwrap_or(0));
        // `Date` has whole seconds.
        let asked = Timestamp::from_secs(asked.as_secs());
        let off = asked.since(theirs).max(theirs.since(answered));
        let text = format!("this machine's clock and the origin's differ by {} s", off.as_secs());
        let fix = "synchronize this machine's clock (chrony, systemd-timesyncd)";
        match off {
            off if off > SKEW_LIMIT && self.options.protocol.is_signed() => {
                self.checks.bad(text, fix);
            }
            off if off > SKEW => self.checks.advise(text, fix),
            _ => self.checks.good(text),
        }
    }

    /// Whether the bucket is in the configured region.
    fn region(&mut self, answer: &WholeAnswer) -> bool {
        let Protocol::S3 { region, .. } = &self.options.protocol else { return true };
        let named =
            answer.fields.get("x-amz-bucket-region").and_then(|region| region.to_str().ok());
        match named {
            Some(theirs) if theirs != region => {
                let fix = format!("set `region = \"{theirs}\"`");
                self.checks.bad(format!("the bucket is in {theirs}, not in {region}"), fix);
                false
            }
            Some(_) => {
                self.checks.good(format!("the bucket is in {region}"));
                true
            }
            None => true,
        }
    }

    /// The target that lists one object below the origin path, or none.
    fn list_target(&self) -> String {
        let base = match self.options.address.base_path.as_str() {
            "" => "/",
            base => base,
        };
        let prefix = self.options.origin_path.trim_start_matches('/').replace('/', "%2F");
        let prefix = if prefix.is_empty() { prefix } else { format!("&prefix={prefix}%2F") };
        format!("{base}?list-type=2&max-keys=1{prefix}")
    }

    fn first_path(&self, listed: &WholeAnswer) -> Option<String> {
        text_of(&listed.content, "Key").map(|key| self.path_of_whole(&key))
    }

    /// The request path for a key below the origin path.
    fn path_of(&self, key: &str) -> String {
        let base = percent_decode_str(&self.options.origin_path).decode_utf8_lossy();
        let base = base.trim_start_matches('/');
        let key = key.trim_start_matches('/');
        self.path_of_whole(&if base.is_empty() { key.to_owned() } else { format!("{base}/{key}") })
    }

    fn path_of_whole(&self, key: &str) -> String {
        let mut path = self.options.address.base_path.clone();
        CanonicalPath::of_key(key).encode_for_bucket(&mut path);
        path
    }
}
