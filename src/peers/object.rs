//! An object that a peer may have.

use std::sync::Arc;

use http::HeaderValue;

use super::PeerRules;
use crate::{
    base::sha256,
    cache::key::{CacheKey, CanonicalPath},
};

/// An object that a peer may have.
#[derive(Clone, Debug)]
pub(crate) struct PeerObject {
    pub(super) distribution: Arc<str>,
    /// The host of the viewer's request.
    pub(super) host: Box<str>,
    /// The digest of its cache key.
    pub(super) key: String,
    /// The id of the viewer's request.
    pub(super) id: Option<HeaderValue>,
    /// The rules of the behavior that apply.
    pub(super) rules: Option<PeerRules>,
    /// The distribution and the path. All variants have the same owner.
    name: Box<[u8]>,
}

impl PeerObject {
    pub(crate) fn new(
        distribution: &Arc<str>,
        host: &str,
        path: &CanonicalPath<'_>,
        key: &CacheKey,
        id: Option<HeaderValue>,
        rules: Option<PeerRules>,
    ) -> Self {
        Self {
            distribution: Arc::clone(distribution),
            host: host.into(),
            key: key_digest(key),
            id,
            rules,
            name: Self::name_of(distribution, path),
        }
    }

    /// The name of an object, without its variants.
    pub(crate) fn name_of(distribution: &str, path: &CanonicalPath<'_>) -> Box<[u8]> {
        [distribution.as_bytes(), b"\0", path.as_bytes()].concat().into()
    }

    pub(super) const fn name(&self) -> &[u8] {
        &self.name
    }
}

/// The digest of a cache key, by which nodes find out that they understand a request alike.
pub(crate) fn key_digest(key: &CacheKey) -> String {
    format!("{:032x}", sha256::first_128(key.as_bytes()))
}
