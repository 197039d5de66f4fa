//! CloudFront's signed URLs and signed cookies: which requests may fetch an object, and until when
//! (Amazon CloudFront Developer Guide, "Serve private content with signed URLs and signed cookies").
//!
//! Every verdict depends only on the request, the keys and the time.

mod diagnosis;
mod encoding;
mod new_key_pair;
mod parameters;
mod policy;
mod public_key;
mod resource;
mod signer;
mod verified;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

pub(crate) use diagnosis::Diagnosis;
pub use encoding::encode;
use http::HeaderMap;
pub(crate) use new_key_pair::{KeyKind, NewKeyPair};
pub(crate) use parameters::{COOKIE_NAMES, QUERY_NAMES, unsigned_query, unsigned_target};
use parameters::{Parameters, SignatureSource};
use policy::Policy;
use public_key::Hash;
pub use public_key::{KeyError, PublicKey};
use resource::Url;
pub(crate) use resource::covers;
pub(crate) use signer::{Signer, custom_policy};
use verified::{Evidence, remember};

use crate::base::clock::Timestamp;

/// A request for an object that requires a signature.
#[derive(Clone, Debug)]
pub struct SignedRequest<'a> {
    /// `http` or `https`, as the viewer sees it.
    pub scheme: &'a str,
    /// Host and port, as the viewer sent them.
    pub authority: &'a str,
    /// Path, as the viewer sent it.
    pub path: &'a str,
    /// The same path without its dot segments, if it has any.
    pub resolved: Option<String>,
    /// Query string, without `?`.
    pub query: Option<&'a str>,
    /// Header fields, which include the cookies.
    pub fields: &'a HeaderMap,
    /// The viewer's address, if known.
    pub client: Option<IpAddr>,
    /// The request's arrival time.
    pub now: Timestamp,
}

/// The reason for refusing a request. The viewer gets only a code; the log has the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// Neither the query string nor cookies carry any part of a signature.
    Unsigned,
    /// The query string has a signature parameter twice.
    Repeated,
    /// There is no `Key-Pair-Id`.
    NoKeyPairId,
    /// No trusted key group has a key with this id.
    UnknownKey,
    /// There is no `Signature`.
    NoSignature,
    /// Both or neither of `Expires` and `Policy` are present, or `Expires` is not a number.
    BadTerms,
    /// `Hash-Algorithm` is neither `SHA1` nor `SHA256`.
    UnknownHash,
    /// The key group does not accept SHA-1.
    Sha1,
    /// `Signature` is not valid in CloudFront's base64.
    BadSignature,
    /// `Policy` is not valid in CloudFront's base64, or not a policy.
    BadPolicy,
    /// The key did not make this signature for this request.
    WrongSignature,
    /// The policy is for other URLs.
    OtherResource,
    /// The path has dot segments, and no canned policy covers such a path.
    DotSegments,
    /// The policy has expired.
    Expired,
    /// The policy is not valid yet.
    TooEarly,
    /// The policy does not allow the viewer's address.
    OtherAddress,
}

impl SignatureError {
    /// The token for logs and metrics.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::Unsigned => "signed-unsigned",
            Self::Repeated => "signed-repeated",
            Self::NoKeyPairId => "signed-no-key-pair-id",
            Self::UnknownKey => "signed-unknown-key",
            Self::NoSignature => "signed-no-signature",
            Self::BadTerms => "signed-bad-terms",
            Self::UnknownHash => "signed-unknown-hash",
            Self::Sha1 => "signed-sha1",
            Self::BadSignature => "signed-bad-signature",
            Self::BadPolicy => "signed-bad-policy",
            Self::WrongSignature => "signed-wrong-signature",
            Self::OtherResource => "signed-other-resource",
            Self::DotSegments => "signed-dot-segments",
            Self::Expired => "signed-expired",
            Self::TooEarly => "signed-too-early",
            Self::OtherAddress => "signed-other-address",
        }
    }

    /// CloudFront's code and message for the viewer.
    #[must_use]
    pub const fn code(self) -> (&'static str, &'static str) {
        match self {
            Self::Unsigned | Self::NoKeyPairId => {
                ("MissingKey", "Missing Key-Pair-Id query parameter or cookie value")
            }
            Self::UnknownKey => ("InvalidKey", "Unknown Key"),
            Self::BadPolicy => ("MalformedPolicy", "Malformed Policy"),
            Self::BadSignature => ("MalformedSignature", "Could not unencode Signature"),
            _ => ("AccessDenied", "Access denied"),
        }
    }
}

/// The canned policy that signers use for `url` if a signed URL has only `Expires`.
#[must_use]
pub fn canned_policy(url: &str, expires: u64) -> String {
    canned(&format!("\"{url}\""), &expires.to_string())
}

/// Builds a canned policy. `resource` is already a JSON string.
fn canned(resource: &str, expires: &str) -> String {
    format!(
        r#"{{"Statement":[{{"Resource":{resource},"Condition":{{"DateLessThan":{{"AWS:EpochTime":{expires}}}}}}}]}}"#
    )
}

/// A trusted key, and whether it accepts SHA-1.
#[derive(Clone, Debug)]
struct Trusted {
    key: Arc<PublicKey>,
    sha1: bool,
}

/// The keys from a behavior's trusted key groups, by Key-Pair-Id.
#[derive(Clone, Debug, Default)]
pub struct TrustedKeys {
    keys: BTreeMap<String, Trusted>,
    /// The unique number of this set of keys.
    serial: u64,
}

impl TrustedKeys {
    /// Trusts another key. It accepts SHA-1 only if every call for it sets `sha1`.
    pub fn trust(&mut self, key_pair_id: &str, key: Arc<PublicKey>, sha1: bool) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // A new serial invalidates the signatures that were remembered for the old set.
        self.serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let trusted = self.keys.entry(key_pair_id.to_owned()).or_insert(Trusted { key, sha1 });
        trusted.sha1 &= sha1;
    }

    /// Trusts every key that `other` trusts.
    pub fn trust_all(&mut self, other: &Self) {
        for (id, Trusted { key, sha1 }) in &other.keys {
            self.trust(id, Arc::clone(key), *sha1);
        }
    }

    /// Checks a request's signature and policy. A policy is parsed only after its signature
    /// verifies.
    ///
    /// # Errors
    /// The reason for refusing the request.
    pub fn verify(&self, claim: &SignedRequest<'_>) -> Result<(), SignatureError> {
        let parameters = Parameters::read(claim.query, claim.fields)?;
        let signer = self.signer(&parameters)?;
        signed_url(claim, parameters.place, |url| match (parameters.expires, parameters.policy) {
            (Some(_), None) if claim.resolved.is_some() => Err(SignatureError::DotSegments),
            (Some(expires), None) => signer.verify_canned(expires, url, claim.now),
            (None, Some(policy)) => signer.verify_custom(policy, url, parameters.place, claim),
            _ => Err(SignatureError::BadTerms),
        })
    }

    fn signer<'a>(&'a self, parameters: &Parameters<'a>) -> Result<ClaimedKey<'a>, SignatureError> {
        let id = parameters.key_pair_id.ok_or(SignatureError::NoKeyPairId)?;
        let Trusted { key, sha1 } = self.keys.get(id).ok_or(SignatureError::UnknownKey)?;
        let hash = match parameters.hash_algorithm {
            None | Some("SHA1") if *sha1 => Hash::Sha1,
            None | Some("SHA1") => return Err(SignatureError::Sha1),
            Some("SHA256") => Hash::Sha256,
            Some(_) => return Err(SignatureError::UnknownHash),
        };
        let signature = parameters.signature.ok_or(SignatureError::NoSignature)?;
        Ok(ClaimedKey { keys: self.serial, id, key, hash, signature })
    }
}

/// Calls `f` with the URL that a request's signature must cover: without the default port, and without the signature
/// itself if that is in the query string.
fn signed_url<T>(
    request: &SignedRequest<'_>,
    source: SignatureSource,
    f: impl FnOnce(&Url<'_>) -> T,
) -> T {
    let query = match source {
        SignatureSource::Query => request.query.and_then(unsigned_query),
        SignatureSource::Cookies => request.query.map(str::to_owned),
    };
    let SignedRequest { scheme, authority, path, .. } = *request;
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    let authority = authority.strip_suffix(default_port).unwrap_or(authority);
    f(&Url { scheme, authority, path, query: query.as_deref() })
}

/// The key that a request names, and the request's signature.
struct ClaimedKey<'a> {
    /// The serial of the key set.
    keys: u64,
    id: &'a str,
    key: &'a PublicKey,
    hash: Hash,
    /// The request's signature, in base64.
    signature: &'a str,
}

impl ClaimedKey<'_> {
    /// All inputs to the verification of the text that `parts` form.
    fn evidence<'p>(&'p self, parts: impl IntoIterator<Item = &'p str>) -> Evidence {
        let parts = [self.id].into_iter().chain(parts);
        Evidence::new(self.signature, self.keys, self.hash as u8, parts)
    }

    fn signature(&self) -> Result<Vec<u8>, SignatureError> {
        encoding::decode(self.signature).ok_or(SignatureError::BadSignature)
    }

    /// Verifies a canned policy. It is not sent, so it is rebuilt word for word from the URL and the time.
    fn verify_canned(
        &self,
        expires: &str,
        url: &Url<'_>,
        now: Timestamp,
    ) -> Result<(), SignatureError> {
        if !expires.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SignatureError::BadTerms);
        }
        let seconds: u64 = expires.parse().map_err(|_| SignatureError::BadTerms)?;
        let Url { scheme, authority, path, query } = *url;
        let parts = ["canned", expires, scheme, authority, path].into_iter().chain(query);
        remember(self.evidence(parts), || {
            let signature = self.signature()?;
            let verifies = |resource: &str| {
                let message = canned(resource, expires);
                self.key.verifies(self.hash, message.as_bytes(), &signature)
            };
            // Signers differ: some write the URL unescaped, some as JSON, some as ASCII-only JSON.
            let text = url.to_string();
            let (plain, json) = (format!("\"{text}\""), ascii_json(&text));
            let is_signed = verifies(&plain) || (json != plain && verifies(&json));
            if is_signed { Ok(None) } else { Err(SignatureError::WrongSignature) }
        })?;
        if now >= Timestamp::from_secs(seconds) { Err(SignatureError::Expired) } else { Ok(()) }
    }

    fn verify_custom(
        &self,
        policy: &str,
        url: &Url<'_>,
        place: SignatureSource,
        claim: &SignedRequest<'_>,
    ) -> Result<(), SignatureError> {
        let policy = remember(self.evidence(["custom", policy]), || {
            let signature = self.signature()?;
            let json = encoding::decode(policy).ok_or(SignatureError::BadPolicy)?;
            if !self.key.verifies(self.hash, &json, &signature) {
                return Err(SignatureError::WrongSignature);
            }
            Policy::parse(&json).ok_or(SignatureError::BadPolicy).map(Some)
        })?;
        let policy = policy.ok_or(SignatureError::BadPolicy)?;
        let covers = |url: &Url<'_>| {
            policy.resource.as_ref().is_none_or(|resource| match place {
                SignatureSource::Query => url.matches_by_parts(resource),
                SignatureSource::Cookies => url.matches_anywhere(resource),
            })
        };
        // The origin gets the path without dot segments, so the policy must cover that too.
        let resolved = claim.resolved.as_deref().map(|path| Url { path, ..*url });
        let covered = covers(url) && resolved.as_ref().is_none_or(covers);
        match () {
            () if !covered => Err(SignatureError::OtherResource),
            () if claim.now >= policy.expires => Err(SignatureError::Expired),
            () if policy.after.is_some_and(|after| claim.now <= after) => {
                Err(SignatureError::TooEarly)
            }
            () if !policy.allows(claim.client) => Err(SignatureError::OtherAddress),
            () => Ok(()),
        }
    }
}

/// Encodes a JSON string in ASCII, like Python.
fn ascii_json(text: &str) -> String {
    use std::fmt::Write as _;

    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            ' '..='~' => json.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(json, "\\u{unit:04x}");
                }
            }
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests;
