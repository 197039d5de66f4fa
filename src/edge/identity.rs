//! What an answer says of who made it: `Via`, `X-Cache`, request ids.

use std::{fmt::Write, sync::LazyLock};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{self, InvalidHeaderValue},
};

use super::answer::value;
use crate::{instance, metrics::ResultType, semantics::cache_status::Report};

/// Forebay's name in `Cache-Status` (RFC 9211 §2).
const CACHE_NAME: &str = "Forebay";

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_AMZ_CF_ID: HeaderName = HeaderName::from_static("x-amz-cf-id");
const X_AMZ_CF_POP: HeaderName = HeaderName::from_static("x-amz-cf-pop");

/// The fields by which a distribution's answers tell where they come from.
#[derive(Clone, Debug)]
pub struct Identity {
    /// By result type.
    x_cache: [HeaderValue; ResultType::ALL.len()],
    /// For HTTP/1.0, 1.1, 2 and 3.
    via: [HeaderValue; 4],
    /// Whether the fields are CloudFront's.
    cloudfront: bool,
    /// Where this machine is, as `X-Amz-Cf-Pop` and `Server-Timing` tell it.
    pub(super) pop: HeaderValue,
}

impl Identity {
    /// An identity whose `X-Cache` says `Hit from {suffix}`, at the place `pop`; with the names of
    /// CloudFront's fields or with plain ones.
    ///
    /// # Errors
    /// When suffix or place cannot stand in a field.
    pub fn new(suffix: &str, pop: &str, cloudfront: bool) -> Result<Self, InvalidHeaderValue> {
        let mut x_cache = ResultType::ALL.map(|_| HeaderValue::from_static(""));
        for (value, result) in x_cache.iter_mut().zip(ResultType::ALL) {
            *value = HeaderValue::try_from(format!("{} from {suffix}", result.name()))?;
        }
        let name = if cloudfront {
            format!("{}.cloudfront.net (CloudFront)", instance::id())
        } else {
            instance::pseudonym().to_owned()
        };
        let mut via =
            ["1.0", "1.1", "2", "3"].map(|version| (version, HeaderValue::from_static("")));
        for (version, value) in &mut via {
            *value = HeaderValue::try_from(format!("{version} {name}"))?;
        }
        let (via, pop) = (via.map(|(_, value)| value), HeaderValue::try_from(pop)?);
        Ok(Self { x_cache, via, cloudfront, pop })
    }

    /// That of answers before a distribution was found.
    pub(super) fn of_none() -> &'static Self {
        static NONE: LazyLock<Identity> = LazyLock::new(|| {
            Identity::new("forebay", "", false).unwrap_or_else(|_| Identity {
                x_cache: ResultType::ALL.map(|_| HeaderValue::from_static("Error")),
                via: ["1.0", "1.1", "2", "3"].map(|_| HeaderValue::from_static("1.1 forebay")),
                cloudfront: false,
                pop: HeaderValue::from_static(""),
            })
        });
        &NONE
    }

    /// Whether answers look like CloudFront's.
    pub(super) const fn is_cloudfront(&self) -> bool {
        self.cloudfront
    }

    /// Writes all but the request's id.
    pub(super) fn write(
        &self,
        fields: &mut HeaderMap,
        result: ResultType,
        report: &Report,
        version: Version,
    ) {
        fields.insert(X_CACHE, self.x_cache[result as usize].clone());
        let version = match version {
            Version::HTTP_10 => 0,
            Version::HTTP_2 => 2,
            Version::HTTP_3 => 3,
            _ => 1,
        };
        fields.insert(header::VIA, self.via[version].clone());
        if self.cloudfront {
            fields.insert(X_AMZ_CF_POP, self.pop.clone());
        } else {
            let report = value(|text| report.write(CACHE_NAME, text));
            fields.extend(report.map(|report| (CACHE_STATUS, report)));
        }
    }

    /// Writes the request's id.
    pub(super) fn write_id(&self, fields: &mut HeaderMap, id: RequestId) {
        let name = if self.cloudfront { X_AMZ_CF_ID } else { X_REQUEST_ID };
        if let Some(id) = value(|text| text.write_str(id.text(self.cloudfront).as_str())) {
            fields.insert(name, id);
        }
    }
}

/// Whether a request has passed this process before: its `Via` names it.
pub(super) fn is_looping(fields: &HeaderMap) -> bool {
    let id = instance::id().as_bytes();
    let names_us = |line: &HeaderValue| line.as_bytes().windows(id.len()).any(|part| part == id);
    fields.get_all(header::VIA).iter().any(names_us)
}

/// Tells a request from all others.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestId(u128);

impl RequestId {
    pub(super) fn random() -> Self {
        Self(fastrand::u128(..))
    }

    /// 22 characters; or 56 that look like CloudFront's.
    pub(super) fn text(self, like_cloudfront: bool) -> IdText {
        const LONG: usize = 40;
        let mut bytes = [0; LONG];
        let short = self.0.to_be_bytes();
        bytes[..short.len()].copy_from_slice(&short);
        let seed = short.first_chunk().map_or(0, |half| u64::from_be_bytes(*half));
        let mut random = fastrand::Rng::with_seed(seed);
        let used = if like_cloudfront {
            random.fill(&mut bytes[short.len()..]);
            LONG
        } else {
            short.len()
        };
        let mut text = IdText { bytes: [b'='; 56], length: 0 };
        // The buffer has room for all of it.
        let written = URL_SAFE_NO_PAD.encode_slice(&bytes[..used], &mut text.bytes).unwrap_or(0);
        text.length = if like_cloudfront { text.bytes.len() } else { written };
        text
    }
}

/// An id as text.
pub(super) struct IdText {
    bytes: [u8; 56],
    length: usize,
}

impl IdText {
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_have_two_lengths() {
        let (one, two) = (RequestId::random(), RequestId::random());
        assert_eq!(one.text(false).as_str().len(), 22);
        let long = one.text(true);
        assert_eq!((long.as_str().len(), &long.as_str()[54..]), (56, "=="));
        assert!(long.as_str().starts_with(&one.text(false).as_str()[..20]));
        assert_ne!(long.as_str(), two.text(true).as_str());
        assert_eq!(long.as_str(), one.text(true).as_str());
    }

    #[test]
    fn a_request_that_was_here_before_is_known() {
        let via =
            |line: String| HeaderMap::from_iter([(header::VIA, line.parse().expect("value"))]);
        assert!(is_looping(&via(format!("1.1 a, 1.1 {}", instance::pseudonym()))));
        assert!(is_looping(&via(format!("2 {}.cloudfront.net (CloudFront)", instance::id()))));
        assert!(!is_looping(&via("1.1 forebay-0123456789abcdef".into())));
        assert!(!is_looping(&HeaderMap::new()));
    }
}
