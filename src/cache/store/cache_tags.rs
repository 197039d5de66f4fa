//! Cache tags.

use serde::{Deserialize, Serialize};

use crate::base::sha256;

/// A cache tag, as a digest of its name.
///
/// Tags are compared without regard to case (Amazon CloudFront Developer Guide, "Invalidate by cache
/// tag").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tag(u64);

impl Tag {
    /// Whether a text can be a tag's name: up to 256 visible characters of ASCII but the comma.
    #[must_use]
    pub fn is_name(text: &str) -> bool {
        let visible = |byte: u8| byte.is_ascii_graphic() && byte != b',';
        (1..=256).contains(&text.len()) && text.bytes().all(visible)
    }

    /// The digest.
    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    /// The tag with a digest that [`Self::number`] gave earlier.
    pub(crate) const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The tag of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(sha256::first_64(name.to_ascii_lowercase()))
    }
}

/// The cache tags of a response. One pointer: most have none.
#[derive(Clone, Debug, Default)]
#[expect(clippy::box_collection, reason = "there is one in every stored response")]
pub struct CacheTags(Option<Box<Vec<Tag>>>);

impl FromIterator<Tag> for CacheTags {
    fn from_iter<T: IntoIterator<Item = Tag>>(tags: T) -> Self {
        let tags: Vec<Tag> = tags.into_iter().collect();
        Self((!tags.is_empty()).then(|| Box::new(tags)))
    }
}

impl std::ops::Deref for CacheTags {
    type Target = [Tag];

    fn deref(&self) -> &[Tag] {
        self.0.as_ref().map_or(&[], |tags| tags)
    }
}
