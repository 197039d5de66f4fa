//! The sample media.

use bytes::Bytes;

/// Length of the object used for range requests.
pub(super) const LARGE: usize = 64 << 20;

/// Key of that object.
pub(super) const LARGE_KEY: &str = "video/large.bin";

/// One object of the bucket.
pub(super) struct Sample {
    pub(super) key: &'static str,
    pub(super) content_type: &'static str,
    pub(super) content: Bytes,
}

/// Names that proxies often get wrong.
pub(super) const AWKWARD: [&str; 7] = [
    "names/two words.txt",
    "names/a+b.txt",
    "names/café.txt",
    "names/日本/写真.txt",
    "names/photo (1).txt",
    "names/100%.txt",
    "names/it's; a=b&c@d.txt",
];

/// All objects in the bucket.
pub(super) fn samples() -> Vec<Sample> {
    let embedded = [
        ("index.html", "text/html; charset=utf-8", &include_bytes!("media/index.html")[..]),
        ("site.css", "text/css; charset=utf-8", include_bytes!("media/site.css")),
        ("catalogue.json", "application/json", include_bytes!("media/catalogue.json")),
        ("images/harbour.jpg", "image/jpeg", include_bytes!("media/harbour.jpg")),
        ("images/bay.webp", "image/webp", include_bytes!("media/bay.webp")),
        ("images/logo.png", "image/png", include_bytes!("media/logo.png")),
        ("images/waves.svg", "image/svg+xml", include_bytes!("media/waves.svg")),
    ];
    let embedded = embedded.into_iter().map(|(key, content_type, content)| Sample {
        key,
        content_type,
        content: Bytes::from_static(content),
    });
    let awkward = AWKWARD.into_iter().map(|key| Sample {
        key,
        content_type: "text/plain; charset=utf-8",
        content: Bytes::from(format!("This is the object `{key}`.\n")),
    });
    let large = Sample {
        key: LARGE_KEY,
        content_type: "application/octet-stream",
        content: large(0..LARGE).into(),
    };
    embedded.chain(awkward).chain([large]).collect()
}

/// A part of the large object. Each byte is computed from its position.
pub(super) fn large(range: std::ops::Range<usize>) -> Vec<u8> {
    range.map(|at| ((at % 251) ^ (at >> 16)).to_le_bytes()[0]).collect()
}
