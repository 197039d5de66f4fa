//! Variants: a response is stored under the key of its resource, or of one of its variants.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::purge_mark::PurgeMark;
use crate::cache::key::{CacheKey, Variation};

/// Variants kept of one resource.
const MAX_VARIANTS: usize = 64;

/// Where a response is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariantSlot {
    /// The key without what varies.
    pub resource: CacheKey,
    /// What tells the variants apart, if there are any.
    pub variation: Option<Variation>,
    /// The key of this response.
    pub key: CacheKey,
}

/// What stands under the key of a resource whose responses vary.
#[derive(Debug)]
pub struct Variants {
    /// The request fields that select a variant, as the newest response names them.
    pub variation: Variation,
    /// What was purged when the fetch of the first of them started.
    pub(super) mark: PurgeMark,
    keys: Mutex<VecDeque<CacheKey>>,
    /// Bytes of a key.
    key_length: usize,
}

impl Variants {
    pub(super) fn new(variation: Variation, first: CacheKey, mark: PurgeMark) -> Self {
        let key_length = first.as_bytes().len();
        Self { variation, mark, keys: Mutex::new(VecDeque::from([first])), key_length }
    }

    /// Bytes of as many keys as may be kept.
    pub(super) const fn size(&self) -> usize {
        MAX_VARIANTS * (self.key_length + size_of::<CacheKey>())
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.keys.lock().len()
    }

    /// Notes a variant; gives back the oldest where there are too many.
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
        // the one renewed last is not the oldest any more
        assert_eq!(variants.add(&key(0)), None);
        assert_eq!(variants.add(&key(MAX_VARIANTS)), Some(key(1)));
    }
}
