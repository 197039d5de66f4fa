//! The digest of content, regardless of how it is compressed.

use std::io::{self, Write};

use brotli::DecompressorWriter;
use flate2::write::MultiGzDecoder;
use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest, Sha256};

/// Computes the SHA-256 and the length of content. It is decompressed first, so that the same content has the same digest.
pub(super) enum ContentDigest {
    Identity(Hashing),
    Gzip(Box<MultiGzDecoder<Hashing>>),
    Brotli(Box<DecompressorWriter<Hashing>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Hashing>>),
}

impl ContentDigest {
    /// For content that is not decompressed.
    pub(super) fn plain() -> Self {
        Self::Identity(Hashing::default())
    }

    /// For content with these fields. Content in a coding that is not known, or in several, is not decompressed.
    pub(super) fn of(fields: &HeaderMap) -> Self {
        const BUFFER: usize = 16 << 10;
        let coding = fields.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
        let hashing = Hashing::default;
        match coding.map(<[u8]>::to_ascii_lowercase).as_deref() {
            Some(b"gzip" | b"x-gzip") => Self::Gzip(Box::new(MultiGzDecoder::new(hashing()))),
            Some(b"br") => Self::Brotli(Box::new(DecompressorWriter::new(hashing(), BUFFER))),
            Some(b"zstd") => match zstd::stream::write::Decoder::new(hashing()) {
                Ok(decoder) => Self::Zstd(Box::new(decoder)),
                Err(_) => Self::plain(),
            },
            _ => Self::plain(),
        }
    }

    /// The digest and the length.
    ///
    /// # Errors
    /// If compressed content is cut off.
    pub(super) fn finish(self) -> io::Result<([u8; 32], u64)> {
        let Hashing { hash, length } = match self {
            Self::Identity(plain) => plain,
            Self::Gzip(decoder) => decoder.finish()?,
            Self::Brotli(decoder) => decoder.into_inner().map_err(|_| {
                io::Error::new(io::ErrorKind::UnexpectedEof, "the compressed content is cut off")
            })?,
            Self::Zstd(mut decoder) => {
                decoder.flush()?;
                decoder.into_inner()
            }
        };
        Ok((hash.finalize().into(), length))
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Identity(plain) => plain,
            Self::Gzip(decoder) => decoder,
            Self::Brotli(decoder) => decoder,
            Self::Zstd(decoder) => decoder,
        }
    }
}

impl Write for ContentDigest {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        self.writer().write(content)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer().flush()
    }
}

/// Hashes what is written.
#[derive(Default)]
pub(super) struct Hashing {
    hash: Sha256,
    length: u64,
}

impl Write for Hashing {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        self.hash.update(content);
        self.length += content.len() as u64;
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

    fn digest(coding: &str, content: &[u8]) -> ([u8; 32], u64) {
        let fields = match coding {
            "" => HeaderMap::new(),
            coding => {
                HeaderMap::from_iter([(header::CONTENT_ENCODING, coding.parse().expect("value"))])
            }
        };
        let mut digest = ContentDigest::of(&fields);
        for part in content.chunks(7) {
            digest.write_all(part).expect("content");
        }
        digest.finish().expect("whole")
    }

    #[test]
    fn compressed_content_has_the_digest_of_the_plain_one() {
        let plain: Vec<u8> = (0..50_000_u32).flat_map(|it| (it % 97).to_be_bytes()).collect();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).expect("gzip");
        let gzip = gzip.finish().expect("gzip");
        let mut brotli = Vec::new();
        let mut encoder = brotli::CompressorReader::new(plain.as_slice(), 4096, 5, 20);
        encoder.read_to_end(&mut brotli).expect("brotli");
        let zstd = zstd::encode_all(plain.as_slice(), 3).expect("zstd");
        let expected = digest("", &plain);
        assert_eq!(expected.1, plain.len() as u64);
        for (coding, content) in [("gzip", &gzip), ("br", &brotli), ("ZSTD", &zstd)] {
            assert_eq!(digest(coding, content), expected, "{coding}");
        }
        assert_ne!(digest("unknown", &gzip), expected);
        let mut cut = ContentDigest::of(&HeaderMap::from_iter([(
            header::CONTENT_ENCODING,
            header::HeaderValue::from_static("gzip"),
        )]));
        cut.write_all(&gzip[..gzip.len() / 2]).expect("a part");
        assert!(cut.finish().is_err());
    }
}
