//! A response's fields, packed for storage.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    base::{clock::Timestamp, text},
    cache::prefetch,
    http::date,
};

/// Names that are stored as one byte: their index in this table, which is part of the format on disk.
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

/// Marks a name that is stored as text.
const SPELLED: u8 = u8::MAX;

/// Marks a known name whose value is an IMF-fixdate, stored as four bytes: seconds since 1970.
const DATED: u8 = 0x40;

/// Marks a length of four bytes.
const LONG: u8 = 0x80;

/// All fields of a response in one allocation, in the order they are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldBlock(Box<[u8]>);

/// A stored field.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    /// The name's index in the table of known names, unless it is stored as text.
    known: Option<u8>,
    name: &'a [u8],
    value: PackedValue<'a>,
}

#[derive(Clone, Copy, Debug)]
enum PackedValue<'a> {
    Text(&'a [u8]),
    /// A date in seconds since 1970.
    Date(u32),
}

/// The value of a stored field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// The bytes as stored.
    Text(&'a [u8]),
    /// A date, stored as a number.
    Date([u8; date::LENGTH]),
}

impl AsRef<[u8]> for Value<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Text(text) => text,
            Self::Date(text) => text,
        }
    }
}

impl<'a> Packed<'a> {
    fn known_name(&self) -> Option<&'static HeaderName> {
        KNOWN.get(usize::from(self.known?))
    }

    /// The field's name, in lower case.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.known_name().map_or(self.name, |known| known.as_str().as_bytes())
    }

    /// The field's value.
    #[must_use]
    pub fn value(&self) -> Value<'a> {
        match self.value {
            PackedValue::Text(text) => Value::Text(text),
            PackedValue::Date(seconds) => {
                Value::Date(date::format(Timestamp::from_secs(seconds.into())))
            }
        }
    }
}

impl FieldBlock {
    /// Packs `fields`.
    #[must_use]
    pub fn pack(fields: &HeaderMap) -> Self {
        let mut block = BytesMut::with_capacity(256);
        // `Age` belongs to one message and is computed for each response.
        for (name, value) in fields.iter().filter(|(name, _)| *name != header::AGE) {
            let value = value.as_bytes();
            match (place(name), seconds(value)) {
                (Some(place), Some(seconds)) => {
                    block.put_u8(place | DATED);
                    block.put_u32(seconds);
                }
                (Some(place), None) => {
                    block.put_u8(place);
                    put_text(&mut block, value);
                }
                (None, _) => {
                    block.put_u8(SPELLED);
                    put_text(&mut block, name.as_str().as_bytes());
                    put_text(&mut block, value);
                }
            }
        }
        // A copy of the exact size, so that long-lived fields have no spare capacity.
        Self(block[..].into())
    }

    /// A block whose bytes [`Self::as_bytes`] gave earlier.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The bytes of the block.
    pub(super) const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// All fields in order, as stored.
    #[must_use]
    pub const fn packed(&self) -> PackedFields<'_> {
        PackedFields { rest: &self.0 }
    }

    /// The first value of `name`.
    #[must_use]
    pub fn value(&self, name: &HeaderName) -> Option<Value<'_>> {
        let known = place(name);
        let spelled = if known.is_none() { name.as_str().as_bytes() } else { &[] };
        let found = self.packed().find(|field| (field.known, field.name) == (known, spelled));
        found.map(|field| field.value())
    }

    /// The first value of `name`, as a header value.
    #[must_use]
    pub fn get(&self, name: &HeaderName) -> Option<HeaderValue> {
        HeaderValue::from_bytes(self.value(name)?.as_ref()).ok()
    }

    /// Appends the fields to a map, except those that `skips` names. Values share one copy of the block,
    /// and dates share a buffer of the thread, so threads do not contend for reference counts.
    pub fn append_to(&self, map: &mut HeaderMap, skips: impl Fn(&[u8]) -> bool) {
        let shared = |value: &[u8]| {
            let copy = |text: &mut BytesMut| {
                text.extend_from_slice(value);
                Ok(())
            };
            text::shared(value.len(), copy).ok()
        };
        let Some(copy) = shared(&self.0) else { return };
        for field in (PackedFields { rest: &copy }).filter(|field| !skips(field.name())) {
            let name = match field.known_name() {
                Some(known) => Ok(known.clone()),
                None => HeaderName::from_bytes(field.name),
            };
            let value = match field.value() {
                Value::Text(text) => Some(copy.slice_ref(text)),
                Value::Date(text) => shared(&text),
            };
            if let (Ok(name), Some(Ok(value))) = (name, value.map(HeaderValue::from_maybe_shared)) {
                map.append(name, value);
            }
        }
    }

    /// The fields as a map.
    #[must_use]
    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        self.append_to(&mut map, |_| false);
        map
    }

    /// Prefetches the fields, which will be read.
    pub(super) fn prefetch(&self) {
        prefetch::load(&self.0);
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

/// The code of a known name.
fn place(name: &HeaderName) -> Option<u8> {
    u8::try_from(KNOWN.iter().position(|known| known == name)?).ok()
}

/// The encoding of a value that is an IMF-fixdate.
fn seconds(value: &[u8]) -> Option<u32> {
    let time = (value.len() == date::LENGTH).then(|| date::parse(value))??;
    let seconds = u32::try_from(time.as_secs()).ok()?;
    // The encoding must be lossless, even for a wrong day of the week.
    (date::format(time) == value).then_some(seconds)
}

/// A text prefixed with its length, which takes one byte if it is below 128, else four.
fn put_text(block: &mut BytesMut, text: &[u8]) {
    match u8::try_from(text.len()) {
        Ok(short) if short & LONG == 0 => block.put_u8(short),
        _ => {
            // No head is two gigabytes long.
            let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
            block.put_u32(length | u32::from(LONG) << 24);
        }
    }
    block.put_slice(text);
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

    fn text(&mut self) -> Option<&'a [u8]> {
        let first = self.byte()?;
        let length = match first & !LONG {
            rest if first & LONG == 0 => rest.into(),
            rest => u32::from_be_bytes([rest, self.byte()?, self.byte()?, self.byte()?]),
        };
        self.take(usize::try_from(length).ok()?)
    }
}

impl<'a> Iterator for PackedFields<'a> {
    type Item = Packed<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (known, name, is_dated) = match self.byte()? {
            SPELLED => (None, self.text()?, false),
            place => (Some(place & !DATED), &[][..], place & DATED != 0),
        };
        let value = if is_dated {
            PackedValue::Date(u32::from_be_bytes(*self.take(4)?.first_chunk()?))
        } else {
            PackedValue::Text(self.text()?)
        };
        Some(Packed { known, name, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_gives_back_what_was_packed() {
        let mut fields = HeaderMap::new();
        let (long, longer) = ("x".repeat(127), "y".repeat(70_000));
        let long_name = "z".repeat(300);
        for (name, value) in [
            ("etag", "\"abc\""),
            ("link", &long),
            ("content-security-policy", &longer),
            (&long_name, "128"),
            ("x-own", "1"),
            ("x-own", "2"),
            ("content-type", "image/png"),
            ("x-empty", ""),
            ("date", "Fri, 27 Nov 2026 03:13:49 GMT"),
            ("last-modified", "Mon, 27 Nov 2026 03:13:49 GMT"),
            ("expires", "Sun, 06 Nov 2294 08:49:37 GMT"),
            ("x-date", "Fri, 27 Nov 2026 03:13:49 GMT"),
        ] {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("name");
            fields.append(name, value.parse().expect("value"));
        }
        let block = FieldBlock::pack(&fields);
        assert_eq!(block.to_map(), fields);
        assert_eq!(block.get(&header::ETAG).expect("etag"), "\"abc\"");
        assert_eq!(block.get(&header::VARY), None);
        let names: Vec<_> = block.packed().map(|field| field.name().to_vec()).collect();
        let mut expected = b"etaglinkcontent-security-policy".to_vec();
        expected.extend(long_name.as_bytes());
        expected.extend(b"x-ownx-owncontent-typex-emptydatelast-modifiedexpiresx-date");
        assert_eq!(names.concat(), expected);
        assert!(FieldBlock::pack(&HeaderMap::new()).is_empty());
    }

    #[test]
    fn a_date_takes_five_bytes() {
        let packed = |value: &'static str| {
            let fields = [(header::DATE, HeaderValue::from_static(value))].into_iter().collect();
            FieldBlock::pack(&fields).len()
        };
        assert_eq!(packed("Fri, 27 Nov 2026 03:13:49 GMT"), 5);
        assert_eq!(packed("Mon, 27 Nov 2026 03:13:49 GMT"), 31);
    }
}
