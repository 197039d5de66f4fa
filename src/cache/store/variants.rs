//! Variants: a response is stored under the key of its resource, or of one of its variants.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::purge_mark::PurgeMark;
use crate::cache::key::{CacheKey, Variation};

/// The number of variants kept for each resource.
const MAX_VARIANTS: usize = 64;

/// The keys under which a response is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariantSlot {
    /// The key of the resource, without the varying fields.
    pub resource: CacheKey,
    /// The fields that select the variant, if the response varies.
    pub variation: Option<Variation>,
    /// The key of this response.
    pub key: CacheKey,
}

/// The note stored under the key of a resource whose responses vary.
#[derive(Debug)]
pub struct Variants {
    /// The request fields that select a variant, according to the newest response.
    pub variation: Variation,
    /// The purge position when the first variant's fetch started.
    pub(super) mark: PurgeMark,
    keys: Mutex<VecDeque<CacheKey>>,
    /// Length of a variant's key in bytes.
    key_length: usize,
}

impl Variants {
    pub(super) fn new(variation: Variation, first: CacheKey, mark: PurgeMark) -> Self {
        let key_length = first.as_bytes().len();
        Self { variation, mark, keys: Mutex::new(VecDeque::from([first])), key_length }
    }

    /// Variants that an earlier process stored.
    pub(super) fn restored(variation: Variation, keys: Vec<CacheKey>, mark: PurgeMark) -> Self {
        let key_length = keys.first().map_or(0, |key| key.as_bytes().len());
        Self { variation, mark, keys: Mutex::new(keys.into()), key_length }
    }

    /// The keys of the variants, oldest first.
    pub(super) fn keys(&self) -> Vec<CacheKey> {
        self.keys.lock().iter().cloned().collect()
    }

    /// Whether a variant is known.
    pub(super) fn knows(&self, key: &CacheKey) -> bool {
        self.keys.lock().contains(key)
    }

    /// Bytes of the maximum number of keys.
    pub(super) const fn size(&self) -> usize {
        MAX_VARIANTS * (self.key_length + size_of::<CacheKey>())
    }

    /// The number of variants.
    #[must_use]
    pub fn count(&self) -> usize {
        self.keys.lock().len()
    }

    /// Records a variant; returns the oldest if there are too many.
    pub(super) fn add(&self, key: &CacheKey) -> Option<CacheKey> {
        let mut keys = self.keys.lock();
        keys.retain(|known| known != key);
        keys.push_back(key.clone());
        if keys.len() > MAX_VARIANTS { keys.pop_front() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};

    use super::*;
    use crate::cache::key::{
        CanonicalPath, ForwardSpec, HeaderSpec, KeySpec, PathForm, Projection,
    };

    #[test]
    fn the_number_of_variants_is_bounded() {
        let all = ForwardSpec {
            headers: HeaderSpec::Except { names: Vec::new(), added: Vec::new() },
            ..ForwardSpec::default()
        };
        let vary = HeaderMap::from_iter([(header::VARY, HeaderValue::from_static("foo"))]);
        let variation = Variation::read(&vary, &all, &KeySpec::default()).expect("variation");
        let key = |number: usize| {
            let path = format!("/{number}");
            CacheKey::new(
                "m",
                &CanonicalPath::resolve(&path, PathForm::Key).expect("path"),
                &Projection::default(),
            )
        };
        let variants = Variants::new(variation, key(0), PurgeMark::default());
        for number in 1..MAX_VARIANTS {
            assert_eq!(variants.add(&key(number)), None);
        }
        // The variant renewed last is no longer the oldest.
        assert_eq!(variants.add(&key(0)), None);
        assert_eq!(variants.add(&key(MAX_VARIANTS)), Some(key(1)));
    }
}
