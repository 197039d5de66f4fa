//! Signs a bucket's requests, with the signing key of the day.
//!
//! aws-sigv4 derives the signing key for every signature, which costs about as much as the signature itself. Here it is
//! derived once for each day and each change of the credentials. Requests with a query, which are rare, go to
//! aws-sigv4.

use std::{fmt::Write, sync::Arc};

use arc_swap::ArcSwapOption;
use aws_credential_types::Credentials;
use aws_lc_rs::{digest, hmac};
use aws_sigv4::sign::v4::generate_signing_key;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::{Installed, SignError, sign_for_s3};
use crate::base::clock::Timestamp;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The SHA-256 of no content.
const NO_CONTENT: HeaderValue =
    HeaderValue::from_static("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");

const CONTENT_HASH: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Signs requests without content for one bucket.
pub struct S3Signer {
    region: String,
    /// Scheme and authority.
    server: String,
    key: ArcSwapOption<DayKey>,
}

/// The signing key of one day (AWS: "Create a signed AWS API request").
struct DayKey {
    generation: u64,
    /// Such as `20130524`.
    day: String,
    /// Such as `20130524/us-east-1/s3/aws4_request`.
    scope: String,
    access_key_id: String,
    token: Option<HeaderValue>,
    key: hmac::Key,
}

impl S3Signer {
    /// A signer for requests to `server`, which is a scheme and an authority.
    #[must_use]
    pub fn new(region: &str, server: String) -> Self {
        Self { region: region.to_owned(), server, key: ArcSwapOption::empty() }
    }

    /// Signs a request without content: adds the signature's header fields to `fields`, which have `Host`. `target` is
    /// in canonical spelling.
    ///
    /// # Errors
    /// If the request or the credentials have a character that cannot be signed.
    pub fn sign(
        &self,
        keys: &Installed,
        now: Timestamp,
        method: &Method,
        target: &str,
        fields: &mut HeaderMap,
    ) -> Result<(), SignError> {
        let signed = (!target.contains('?')).then(|| self.own(keys, now, method, target, fields));
        if signed.flatten().is_some() {
            return Ok(());
        }
        let url = format!("{}{target}", self.server);
        sign_for_s3(&keys.identity, &self.region, now.into(), (method.as_str(), &url, &[]), fields)
    }

    /// Signs with the key of the day; `None` if a value is unusual.
    fn own(
        &self,
        keys: &Installed,
        now: Timestamp,
        method: &Method,
        path: &str,
        fields: &mut HeaderMap,
    ) -> Option<()> {
        let date = now.amz_date();
        let key = self.key_of(keys, now, date.get(..8)?)?;
        let date = HeaderValue::from_maybe_shared(date).ok()?;
        let own =
            [(CONTENT_HASH, Some(NO_CONTENT)), (DATE, Some(date)), (TOKEN, key.token.clone())];
        let own: Vec<_> =
            own.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let is_signed =
            |name: &HeaderName| *name == header::HOST || name.as_str().starts_with("x-amz-");
        let given = fields.iter().filter(|(name, _)| is_signed(name));
        let mut signed = Vec::with_capacity(8);
        for (name, value) in given.chain(own.iter().map(|(name, value)| (name, value))) {
            signed.push((name.as_str(), plain(value)?));
        }
        signed.sort_unstable();
        // A repeated field would need its values joined.
        if signed.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return None;
        }
        let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let mut canonical = format!("{method}\n{path}\n\n");
        for (name, value) in &signed {
            let _ = writeln!(canonical, "{name}:{value}");
        }
        let _ = write!(canonical, "\n{names}\n{}", plain(&NO_CONTENT)?);
        let hash = digest::digest(&digest::SHA256, canonical.as_bytes());
        let date = plain(&own[1].1)?;
        let to_sign = format!("{ALGORITHM}\n{date}\n{}\n{}", key.scope, Hex(hash.as_ref()));
        let signature = hmac::sign(&key.key, to_sign.as_bytes());
        let value = format!(
            "{ALGORITHM} Credential={}/{}, SignedHeaders={names}, Signature={}",
            key.access_key_id,
            key.scope,
            Hex(signature.as_ref())
        );
        let authorization = HeaderValue::from_maybe_shared(value).ok()?;
        for (name, mut value) in own.into_iter().chain([(header::AUTHORIZATION, authorization)]) {
            value.set_sensitive(true);
            fields.insert(name, value);
        }
        Some(())
    }

    /// The key of the day, derived if the day or the credentials have changed.
    fn key_of(&self, keys: &Installed, now: Timestamp, day: &str) -> Option<Arc<DayKey>> {
        let known = self.key.load_full();
        let fits = |key: &Arc<DayKey>| key.generation == keys.generation && key.day == day;
        if let Some(known) = known.filter(fits) {
            return Some(known);
        }
        let credentials = keys.identity.data::<Credentials>()?;
        let secret = credentials.secret_access_key();
        let key = generate_signing_key(secret, now.into(), &self.region, "s3");
        let key = Arc::new(DayKey {
            generation: keys.generation,
            day: day.to_owned(),
            scope: format!("{day}/{}/s3/aws4_request", self.region),
            access_key_id: credentials.access_key_id().to_owned(),
            token: credentials.session_token().map(HeaderValue::from_str).transpose().ok()?,
            key: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()),
        });
        self.key.store(Some(Arc::clone(&key)));
        Some(key)
    }
}

/// The value as it is signed. `None` if signing would change it: white space at its ends or in a row.
fn plain(value: &HeaderValue) -> Option<&str> {
    let value = value.to_str().ok()?;
    (value.trim() == value && !value.contains("  ") && !value.contains('\t')).then_some(value)
}

/// Bytes in lower-case hexadecimal.
struct Hex<'a>(&'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for byte in self.0 {
            f.write_char(char::from(DIGITS[usize::from(byte >> 4)]))?;
            f.write_char(char::from(DIGITS[usize::from(byte & 15)]))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::key::CanonicalPath;

    fn installed(generation: u64, token: Option<&str>) -> Installed {
        let keys = Credentials::new("AKIDEXAMPLE", "se/cr+et", token.map(Into::into), None, "test");
        Installed { identity: keys.into(), generation }
    }

    /// Signs the same request with aws-sigv4.
    fn reference(keys: &Installed, now: Timestamp, target: &str, fields: &HeaderMap) -> HeaderMap {
        let mut fields = fields.clone();
        let url = format!("https://media.s3.amazonaws.com{target}");
        sign_for_s3(&keys.identity, "us-east-1", now.into(), ("GET", &url, &[]), &mut fields)
            .expect("signed");
        fields
    }

    proptest! {
        #[test]
        fn signatures_are_those_of_aws_sigv4(
            key in "[ -~é日]{1,40}", token in proptest::option::of("[A-Za-z0-9+/=]{1,40}"),
            value in proptest::option::of("[ -~\t]{0,12}"), repeated in any::<bool>(),
            query in any::<bool>(), seconds in 0_u64..4_000_000_000,
        ) {
            let signer = S3Signer::new("us-east-1", "https://media.s3.amazonaws.com".into());
            let mut target = String::new();
            CanonicalPath::of_key(&key).encode_for_bucket(&mut target);
            if query {
                target.push_str("?versionId=a%20b&x=");
            }
            let mut fields = HeaderMap::new();
            fields.insert("host", HeaderValue::from_static("media.s3.amazonaws.com"));
            fields.insert("range", HeaderValue::from_static("bytes=0-1"));
            for _ in 0..=usize::from(repeated) {
                fields.extend(value.as_ref().and_then(|value| {
                    Some((HeaderName::from_static("x-amz-expected-bucket-owner"), HeaderValue::from_str(value).ok()?))
                }));
            }
            let keys = installed(1, token.as_deref());
            let now = Timestamp::from_secs(seconds);
            let expected = reference(&keys, now, &target, &fields);
            // The second signature uses the key of the first.
            for _ in 0..2 {
                let mut fields = fields.clone();
                signer.sign(&keys, now, &Method::GET, &target, &mut fields).expect("signed");
                prop_assert_eq!(&fields, &expected);
                prop_assert!(fields[header::AUTHORIZATION].is_sensitive());
            }
        }
    }

    #[test]
    fn another_day_and_other_credentials_have_another_key() {
        let signer = S3Signer::new("us-east-1", "https://media.s3.amazonaws.com".into());
        let mut fields = HeaderMap::new();
        fields.insert("host", HeaderValue::from_static("media.s3.amazonaws.com"));
        let (old, new) = (installed(1, None), installed(2, Some("token")));
        for (keys, seconds) in [(&old, 86_399), (&old, 86_400), (&new, 86_400), (&old, 86_399)] {
            let now = Timestamp::from_secs(seconds);
            let mut with_signature = fields.clone();
            let outcome = signer.sign(keys, now, &Method::GET, "/a.jpg", &mut with_signature);
            outcome.expect("signed");
            assert_eq!(with_signature, reference(keys, now, "/a.jpg", &fields));
        }
    }
}
