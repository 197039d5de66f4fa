//! The digest of content, as it was sent and decompressed.

use std::io::{self, Write};

use brotli::DecompressorWriter;
use flate2::write::MultiGzDecoder;
use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};

/// The most decompressed bytes. A few kilobytes may decompress to gigabytes.
const MOST: u64 = 256 << 20;

/// Computes digests of content.
pub(super) struct ContentDigest {
    sent: Hashing,
    decoder: Option<Decoder>,
}

enum Decoder {
    Gzip(Box<MultiGzDecoder<Hashing>>),
    Brotli(Box<DecompressorWriter<Hashing>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Hashing>>),
}

/// SHA-256 and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) digest: [u8; 32],
    pub(super) length: u64,
}

/// Content as it was sent, and decompressed if it was compressed and can be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) sent: Content,
    pub(super) decompressed: Option<Content>,
}

impl ContentDigest {
    /// For content that is not decompressed.
    pub(super) fn plain() -> Self {
        Self { sent: Hashing::unlimited(), decoder: None }
    }

    /// For content with these fields. Several codings are not decompressed.
    pub(super) fn of(fields: &HeaderMap) -> Self {
        const BUFFER: usize = 16 << 10;
        let coding = fields.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
        let hashing = || Hashing { left: MOST, ..Hashing::unlimited() };
        let decoder = match coding.map(<[u8]>::to_ascii_lowercase).as_deref() {
            Some(b"gzip" | b"x-gzip") => {
                Some(Decoder::Gzip(Box::new(MultiGzDecoder::new(hashing()))))
            }
            Some(b"br") => {
                Some(Decoder::Brotli(Box::new(DecompressorWriter::new(hashing(), BUFFER))))
            }
            Some(b"zstd") => {
                let decoder = zstd::stream::write::Decoder::new(hashing());
                decoder.ok().map(|decoder| Decoder::Zstd(Box::new(decoder)))
            }
            _ => None,
        };
        Self { decoder, ..Self::plain() }
    }

    pub(super) fn finish(self) -> Contents {
        let decompressed = self.decoder.and_then(Decoder::finish);
        Contents { sent: self.sent.finish(), decompressed: decompressed.map(Hashing::finish) }
    }
}

impl Decoder {
    /// The digest; `None` if the content is cut off.
    fn finish(self) -> Option<Hashing> {
        match self {
            Self::Gzip(decoder) => decoder.finish().ok(),
            Self::Brotli(decoder) => decoder.into_inner().ok(),
            Self::Zstd(mut decoder) => decoder.flush().ok().map(|()| decoder.into_inner()),
        }
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Gzip(decoder) => decoder,
            Self::Brotli(decoder) => decoder,
            Self::Zstd(decoder) => decoder,
        }
    }
}

impl Write for ContentDigest {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        self.sent.write_all(content)?;
        // What is not in its coding, or decompresses to too much, is compared as it was sent.
        self.decoder.take_if(|decoder| decoder.writer().write_all(content).is_err());
        Ok(content.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hashes what is written.
struct Hashing {
    hash: Sha256,
    length: u64,
    /// The bytes that may still be written.
    left: u64,
}

impl Hashing {
    fn unlimited() -> Self {
        Self { hash: Sha256::new(), length: 0, left: u64::MAX }
    }

    fn finish(self) -> Content {
        Content { digest: self.hash.finalize().into(), length: self.length }
    }
}

impl Write for Hashing {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        let length = content.len() as u64;
        self.left = self.left.checked_sub(length).ok_or(io::ErrorKind::FileTooLarge)?;
        self.hash.update(content);
        self.length += length;
        Ok(content.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn contents(coding: &str, content: &[u8]) -> Contents {
        let mut fields = HeaderMap::new();
        if !coding.is_empty() {
            fields.insert(header::CONTENT_ENCODING, coding.parse().expect("value"));
        }
        let mut digest = ContentDigest::of(&fields);
        for part in content.chunks(7) {
            digest.write_all(part).expect("content");
        }
        digest.finish()
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(content).expect("gzip");
        gzip.finish().expect("gzip")
    }

    #[test]
    fn compressed_content_is_decompressed() {
        let plain: Vec<u8> = (0..50_000_u32).flat_map(|it| (it % 97).to_be_bytes()).collect();
        let gzip = gzip(&plain);
        let mut brotli = Vec::new();
        let mut encoder = brotli::CompressorReader::new(plain.as_slice(), 4096, 5, 20);
        encoder.read_to_end(&mut brotli).expect("brotli");
        let zstd = zstd::encode_all(plain.as_slice(), 3).expect("zstd");
        let expected = contents("", &plain);
        assert_eq!(expected.sent.length, plain.len() as u64);
        assert_eq!(expected.decompressed, None);
        for (coding, content) in [("gzip", &gzip), ("br", &brotli), ("ZSTD", &zstd)] {
            let found = contents(coding, content);
            assert_eq!(found.decompressed, Some(expected.sent), "{coding}");
            assert_eq!(found.sent, contents("", content).sent, "{coding}");
        }
        for (coding, content) in [
            ("unknown", &gzip[..]),
            ("gzip", &gzip[..gzip.len() / 2]),
            ("gzip", &plain),
            ("br", b""),
        ] {
            assert_eq!(contents(coding, content).decompressed, None, "{coding}");
        }
    }

    #[test]
    fn what_decompresses_to_too_much_is_not_decompressed() {
        let part = gzip(&vec![0; 64 << 20]);
        let content = part.repeat(5);
        let found = contents("gzip", &content);
        assert_eq!((found.decompressed, found.sent.length), (None, content.len() as u64));
    }
}
