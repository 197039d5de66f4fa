//! Compression of stored content.
//!
//! It is deterministic: another machine, or the same one after a restart, produces the same bytes.

use std::io::{self, Write};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{
    cache_control::Directives,
    coding::Coding,
    entity_tag::EntityTag,
    field_table::FieldTrait,
    fields::{names, remove_all},
};

/// Lengths in bytes that are compressed
/// (Amazon CloudFront Developer Guide, "Serve compressed files").
const LENGTHS: std::ops::RangeInclusive<u64> = 1_000..=10_000_000;

/// Media types that are compressed (as above).
const MEDIA_TYPES: [&str; 48] = [
    "application/dash+xml",
    "application/eot",
    "application/font",
    "application/font-sfnt",
    "application/javascript",
    "application/json",
    "application/opentype",
    "application/otf",
    "application/pdf",
    "application/pkcs7-mime",
    "application/protobuf",
    "application/rss+xml",
    "application/truetype",
    "application/ttf",
    "application/vnd.apple.mpegurl",
    "application/vnd.mapbox-vector-tile",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-font-opentype",
    "application/x-font-truetype",
    "application/x-font-ttf",
    "application/x-httpd-cgi",
    "application/x-javascript",
    "application/x-mpegurl",
    "application/x-opentype",
    "application/x-otf",
    "application/x-perl",
    "application/x-ttf",
    "application/xhtml+xml",
    "application/xml",
    "font/eot",
    "font/opentype",
    "font/otf",
    "font/ttf",
    "image/svg+xml",
    "text/css",
    "text/csv",
    "text/html",
    "text/javascript",
    "text/js",
    "text/plain",
    "text/richtext",
    "text/tab-separated-values",
    "text/x-component",
    "text/x-java-source",
    "text/x-script",
    "text/xml",
    "vnd.apple.mpegurl",
];

/// Quality of Brotli, 0 to 11: above this, each percent of size costs twice the time.
const BROTLI_QUALITY: u32 = 5;

/// The Brotli window, as a power of two: the largest that every decoder accepts.
const BROTLI_WINDOW: u32 = 22;

/// Level of Zstandard, 1 to 22.
const ZSTD_LEVEL: i32 = 9;

/// Level of gzip, 1 to 9.
const GZIP_LEVEL: u32 = 6;

/// Whether a response is eligible for compression
/// (Amazon CloudFront Developer Guide, "Serve compressed files").
#[must_use]
pub fn is_worth_it(status: StatusCode, fields: &HeaderMap, length: u64) -> bool {
    matches!(status, StatusCode::OK | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND)
        && LENGTHS.contains(&length)
        && !fields.contains_key(header::CONTENT_ENCODING)
        && fields.get(header::CONTENT_TYPE).is_some_and(is_compressible)
        // RFC 9110 §7.7: `no-transform` forbids compression.
        && !forbids_to_transform(fields)
}

fn forbids_to_transform(fields: &HeaderMap) -> bool {
    let lines = fields.get_all(header::CACHE_CONTROL).iter();
    let mut directives = lines.flat_map(|line| Directives::of(line.as_bytes()));
    directives.any(|(name, _)| name.eq_ignore_ascii_case(b"no-transform"))
}

fn is_compressible(media_type: &HeaderValue) -> bool {
    let name = media_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    MEDIA_TYPES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Updates a representation's fields for its compressed form.
pub fn describe(fields: &mut HeaderMap, coding: Coding) {
    remove_all(fields, |name| FieldTrait::Digest.applies_to(name.as_str()));
    fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    weaken(fields);
    vary(fields);
}

/// RFC 9110 §8.8.1: two codings of one representation share a weak validator, not a strong one.
fn weaken(fields: &mut HeaderMap) {
    let Some(value) = fields.remove(header::ETAG) else { return };
    let Some(tag) = EntityTag::parse(value.as_bytes()) else { return };
    let weak = if tag.is_strong() {
        HeaderValue::from_bytes(&[b"W/", value.as_bytes()].concat()).unwrap_or(value)
    } else {
        value
    };
    fields.insert(header::ETAG, weak);
}

/// Adds `Accept-Encoding` to `Vary` for other caches (RFC 9110 §12.5.5).
pub fn vary(fields: &mut HeaderMap) {
    let is_listed = names(fields, &header::VARY).any(|name| match name {
        Ok(name) => name == header::ACCEPT_ENCODING,
        Err(other) => other == b"*",
    });
    if !is_listed {
        fields.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// Compresses `content`; `None` if the result would not be shorter.
///
/// This is slow: do not call it on a thread that serves.
#[must_use]
pub fn encode(content: &[Bytes], coding: Coding) -> Option<Bytes> {
    let length: usize = content.iter().map(Bytes::len).sum();
    // Writing to memory does not fail.
    let encoded = match coding {
        Coding::Brotli => brotli(content),
        Coding::Zstd => zstd(content, length as u64),
        Coding::Gzip => gzip(content),
    };
    encoded.ok().filter(|encoded| encoded.len() < length).map(Bytes::from)
}

fn brotli(content: &[Bytes]) -> io::Result<Vec<u8>> {
    const BUFFER: usize = 64 << 10;
    let encoder = brotli::CompressorWriter::new(Vec::new(), BUFFER, BROTLI_QUALITY, BROTLI_WINDOW);
    let mut encoder = write_all(encoder, content)?;
    encoder.flush()?;
    Ok(encoder.into_inner())
}

fn zstd(content: &[Bytes], length: u64) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
    encoder.set_pledged_src_size(Some(length))?;
    write_all(encoder, content)?.finish()
}

fn gzip(content: &[Bytes]) -> io::Result<Vec<u8>> {
    let level = flate2::Compression::new(GZIP_LEVEL);
    write_all(flate2::write::GzEncoder::new(Vec::new(), level), content)?.finish()
}

fn write_all<W: Write>(mut encoder: W, content: &[Bytes]) -> io::Result<W> {
    for chunk in content {
        encoder.write_all(chunk)?;
    }
    Ok(encoder)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http::HeaderName;

    use super::*;

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(field).collect()
    }

    fn decode(encoded: &[u8], coding: Coding) -> Vec<u8> {
        let mut decoded = Vec::new();
        match coding {
            Coding::Brotli => brotli::Decompressor::new(encoded, 4096).read_to_end(&mut decoded),
            Coding::Zstd => zstd::Decoder::new(encoded).expect("zstd").read_to_end(&mut decoded),
            Coding::Gzip => flate2::read::GzDecoder::new(encoded).read_to_end(&mut decoded),
        }
        .expect("well formed");
        decoded
    }

    #[test]
    fn what_is_encoded_comes_back_and_is_the_same_each_time() {
        let text = "body { color: rebeccapurple }\n".repeat(5000);
        let whole = [Bytes::from(text.clone())];
        let in_chunks: Vec<Bytes> =
            text.as_bytes().chunks(700).map(Bytes::copy_from_slice).collect();
        for coding in Coding::ALL {
            let encoded = encode(&whole, coding).expect("shorter");
            assert!(encoded.len() * 10 < text.len());
            assert_eq!(decode(&encoded, coding), text.as_bytes(), "{coding:?}");
            assert_eq!(encode(&whole, coding).as_ref(), Some(&encoded));
            let from_chunks = encode(&in_chunks, coding).expect("shorter");
            assert_eq!(decode(&from_chunks, coding), text.as_bytes());
        }
    }

    #[test]
    fn what_does_not_get_shorter_is_left_alone() {
        let mut random = fastrand::Rng::with_seed(1);
        let noise: Bytes = (0..5000).map(|_| random.u8(..)).collect();
        for coding in Coding::ALL {
            assert_eq!(encode(std::slice::from_ref(&noise), coding), None);
        }
    }

    #[test]
    fn text_of_a_middling_length_is_worth_it() {
        let css = [("content-type", "Text/CSS; charset=utf-8")];
        for (status, lines, length, expected) in [
            (200, &css[..], 1_000, true),
            (404, &css, 10_000_000, true),
            (403, &css, 5_000, true),
            (200, &css, 999, false),
            (200, &css, 10_000_001, false),
            (500, &css, 5_000, false),
            (206, &css, 5_000, false),
            (200, &[("content-type", "image/png")], 5_000, false),
            (200, &[("content-type", "application/wasm")], 5_000, true),
            (200, &[("content-type", "text/cssx")], 5_000, false),
            (200, &[], 5_000, false),
            (200, &[css[0], ("content-encoding", "gzip")], 5_000, false),
            (200, &[css[0], ("cache-control", "no-transform")], 5_000, false),
        ] {
            let status = StatusCode::from_u16(status).expect("status");
            assert_eq!(is_worth_it(status, &fields(lines), length), expected, "{lines:?} {length}");
        }
    }

    #[test]
    fn the_compressed_form_is_described() {
        for (etag, expected) in
            [("\"x\"", Some("W/\"x\"")), ("W/\"x\"", Some("W/\"x\"")), ("x", None)]
        {
            let mut fields = fields(&[("etag", etag), ("content-md5", "abc"), ("vary", "Origin")]);
            describe(&mut fields, Coding::Brotli);
            assert_eq!(fields.get("etag").map(HeaderValue::as_bytes), expected.map(str::as_bytes));
            assert_eq!(fields["content-encoding"], "br");
            assert!(!fields.contains_key("content-md5"));
            let vary: Vec<_> = fields.get_all("vary").iter().collect();
            assert_eq!(vary, ["Origin", "Accept-Encoding"]);
        }
        for listed in ["accept-encoding", "*", "Origin, Accept-Encoding"] {
            let mut fields = HeaderMap::from_iter([(header::VARY, listed.parse().expect("value"))]);
            vary(&mut fields);
            assert_eq!(fields.get_all("vary").iter().count(), 1);
        }
    }
}
