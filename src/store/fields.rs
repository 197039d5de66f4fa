//! A response's fields, packed for storage.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::text;

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldBlock(Box<[u8]>);

/// A field as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    /// Its place in the table of known names, unless it is spelled.
    known: Option<u8>,
    name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

impl Packed<'_> {
    /// Its name, in lower case.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        match self.known.and_then(|place| KNOWN.get(usize::from(place))) {
            Some(known) => known.as_str().as_bytes(),
            None => self.name,
        }
    }
}

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
        Self(block[..].into())
    }

    /// All fields in order, as they are stored.
    #[must_use]
    pub const fn packed(&self) -> PackedFields<'_> {
        PackedFields { rest: &self.0 }
    }

    /// The first value of `name`, as it is stored.
    #[must_use]
    pub fn value(&self, name: &HeaderName) -> Option<&[u8]> {
        let known = KNOWN.iter().position(|known| known == name);
        let known = known.and_then(|place| u8::try_from(place).ok());
        let spelled = if known.is_none() { name.as_str().as_bytes() } else { &[] };
        let found = self.packed().find(|field| (field.known, field.name) == (known, spelled));
        found.map(|field| field.value)
    }

    /// The first value of `name`.
    #[must_use]
    pub fn get(&self, name: &HeaderName) -> Option<HeaderValue> {
        HeaderValue::from_bytes(self.value(name)?).ok()
    }

    /// Appends the fields to a map. They share one copy of the block: memory that other threads count
    /// references to would slow them down.
    pub fn append_to(&self, map: &mut HeaderMap) {
        let copy = |text: &mut BytesMut| {
            text.extend_from_slice(&self.0);
            Ok(())
        };
        let Ok(copy) = text::shared(self.0.len(), copy) else { return };
        for Packed { known, name, value } in (PackedFields { rest: &copy }) {
            let name = match known.and_then(|place| KNOWN.get(usize::from(place))) {
                Some(known) => Ok(known.clone()),
                None => HeaderName::from_bytes(name),
            };
            let value = HeaderValue::from_maybe_shared(copy.slice_ref(value));
            if let (Ok(name), Ok(value)) = (name, value) {
                map.append(name, value);
            }
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

/// Iterator over the fields of a block.
#[derive(Clone, Debug)]
pub struct PackedFields<'a> {
    rest: &'a [u8],
}

impl<'a> PackedFields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        self.rest.split_off(..length)
    }

    fn byte(&mut self) -> Option<u8> {
        self.rest.split_off_first().copied()
    }
}

impl<'a> Iterator for PackedFields<'a> {
    type Item = Packed<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (known, name) = match self.byte()? {
            SPELLED => {
                let length = self.byte()?;
                (None, self.take(length.into())?)
            }
            place => (Some(place), &[][..]),
        };
        let length = u16::from_be_bytes([self.byte()?, self.byte()?]);
        Some(Packed { known, name, value: self.take(length.into())? })
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
        let names: Vec<_> = block.packed().map(|field| field.name().to_vec()).collect();
        assert_eq!(names.concat(), b"etagx-ownx-owncontent-typex-empty");
        assert!(FieldBlock::pack(&HeaderMap::new()).is_empty());
    }
}
