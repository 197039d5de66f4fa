//! A response's fields, packed for storage.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Names that are stored as one byte: their place in this table.
const KNOWN: [HeaderName; 20] = [
    header::ACCEPT_RANGES,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_SECURITY_POLICY,
    header::CONTENT_TYPE,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::LINK,
    header::LOCATION,
    header::REFERRER_POLICY,
    header::SERVER,
    header::SET_COOKIE,
    header::STRICT_TRANSPORT_SECURITY,
    header::VARY,
    header::X_CONTENT_TYPE_OPTIONS,
];

/// Marks a name that is written out.
const SPELLED: u8 = u8::MAX;

/// All fields of a response in one piece of memory, in the order they are sent.
///
/// Reading a value shares that memory; a hit copies nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldBlock(Bytes);

impl FieldBlock {
    /// Packs `fields`. A value of 64 KiB or more cannot occur: heads are bounded far below.
    #[must_use]
    pub fn pack(fields: &HeaderMap) -> Self {
        let mut block = BytesMut::with_capacity(256);
        // `Age` is of a message, and reckoned anew for each answer.
        for (name, value) in fields.iter().filter(|(name, _)| *name != header::AGE) {
            let Ok(length) = u16::try_from(value.len()) else { continue };
            match KNOWN.iter().position(|known| known == name).map(u8::try_from) {
                Some(Ok(place)) => block.put_u8(place),
                _ => {
                    let Ok(name_length) = u8::try_from(name.as_str().len()) else { continue };
                    block.put_u8(SPELLED);
                    block.put_u8(name_length);
                    block.put_slice(name.as_str().as_bytes());
                }
            }
            block.put_u16(length);
            block.put_slice(value.as_bytes());
        }
        // A copy of the exact size: what is stored for long holds no spare capacity.
        Self(Bytes::copy_from_slice(&block))
    }

    /// All fields in order.
    #[must_use]
    pub const fn iter(&self) -> Iter<'_> {
        Iter { block: &self.0, at: 0 }
    }

    /// The first value of `name`.
    #[must_use]
    pub fn get(&self, name: &HeaderName) -> Option<HeaderValue> {
        self.iter().find(|(stored, _)| stored == name).map(|(_, value)| value)
    }

    /// Appends the fields to a map.
    pub fn append_to(&self, map: &mut HeaderMap) {
        for (name, value) in self {
            map.append(name, value);
        }
    }

    /// The fields as a map.
    #[must_use]
    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        self.append_to(&mut map);
        map
    }

    /// Size in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no fields.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a FieldBlock {
    type Item = (HeaderName, HeaderValue);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Iterator over the fields of a block.
#[derive(Debug)]
pub struct Iter<'a> {
    block: &'a Bytes,
    at: usize,
}

impl Iter<'_> {
    fn take(&mut self, length: usize) -> Option<Bytes> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.block.len())?;
        let taken = self.block.slice(self.at..end);
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.block.get(self.at)?;
        self.at += 1;
        Some(byte)
    }
}

impl Iterator for Iter<'_> {
    type Item = (HeaderName, HeaderValue);

    fn next(&mut self) -> Option<Self::Item> {
        let name = match self.byte()? {
            SPELLED => {
                let length = self.byte()?;
                HeaderName::from_bytes(&self.take(length.into())?).ok()?
            }
            place => KNOWN.get(usize::from(place))?.clone(),
        };
        let length = u16::from_be_bytes([self.byte()?, self.byte()?]);
        let value = HeaderValue::from_maybe_shared(self.take(length.into())?).ok()?;
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_gives_back_what_was_packed() {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("etag", "\"abc\""),
            ("x-own", "1"),
            ("x-own", "2"),
            ("content-type", "image/png"),
            ("x-empty", ""),
        ] {
            fields.append(name, value.parse().expect("value"));
        }
        let block = FieldBlock::pack(&fields);
        assert_eq!(block.to_map(), fields);
        assert_eq!(block.get(&header::ETAG).expect("etag"), "\"abc\"");
        assert_eq!(block.get(&header::VARY), None);
        assert!(FieldBlock::pack(&HeaderMap::new()).is_empty());
    }
}
