//! The path of a request, resolved once.
//!
//! The same result is matched against path patterns, is part of the cache key, and is sent to the
//! origin.

use std::borrow::Cow;

use super::{
    escape::{
        decode_key, decode_lenient, encode_key, has_dot_segments, normalize_uri, read_as_slashes,
        remove_dot_segments,
    },
    path_error::PathError,
    plain_path::{PlainPath, is_plain},
};

/// How an origin identifies objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PathForm {
    /// By an object key: a bucket. Every escape is decoded, so `%2F` is a slash.
    #[default]
    Key,
    /// By a URI path: a plain HTTP server. Reserved characters and their escapes differ, so
    /// `/a%2Fb` and `/a/b` are two resources (RFC 3986 §2.2).
    Uri,
}

/// A resolved path; begins with `/` and has no dot segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalPath<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) form: PathForm,
}

impl<'a> CanonicalPath<'a> {
    /// Resolves a request's path.
    ///
    /// [`PathForm::Key`]: percent-decodes once, then removes dot segments (RFC 3986 §5.2.4).
    /// [`PathForm::Uri`]: normalizes escapes (§6.2.2.1, §6.2.2.2), then removes dot segments.
    ///
    /// # Errors
    /// If it names no object, or an origin could read it as a path with dot segments.
    pub fn resolve(raw: &'a str, form: PathForm) -> Result<Self, PathError> {
        if !raw.starts_with('/') {
            return Err(PathError::NotAbsolute);
        }
        if let Some(plain) = PlainPath::of(raw) {
            return Ok(Self::of_plain(plain, form));
        }
        let spelled = match form {
            PathForm::Key => decode_key(raw)?,
            PathForm::Uri => normalize_uri(raw)?,
        };
        let path = Self { text: remove_dot_segments(spelled), form };
        if path.decoded().bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            return Err(PathError::Control);
        }
        // A store that reads backslashes as slashes would escape `origin_path`.
        if has_dot_segments(&path.generous()) {
            return Err(PathError::Ambiguous);
        }
        Ok(path)
    }

    /// A plain path, for an origin that uses this form.
    #[must_use]
    pub const fn of_plain(plain: PlainPath<'a>, form: PathForm) -> Self {
        Self { text: Cow::Borrowed(plain.text()), form }
    }

    /// The path of the object with this key, which may have any characters.
    #[must_use]
    pub fn of_key(key: &str) -> CanonicalPath<'static> {
        CanonicalPath { text: Cow::Owned(format!("/{key}")), form: PathForm::Key }
    }

    /// The path of the object `name` in this folder.
    #[must_use]
    pub fn append(&self, name: &str) -> CanonicalPath<'static> {
        let mut text = self.text.to_string();
        match self.form {
            PathForm::Key => text.push_str(name),
            PathForm::Uri => encode_key(name, &mut text),
        }
        CanonicalPath { text: Cow::Owned(text), form: self.form }
    }

    /// The text, with the leading slash: an object key, or a URI path with its escapes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Whether the text is a key or a URI path.
    #[must_use]
    pub const fn form(&self) -> PathForm {
        self.form
    }

    /// Whether this is the root, the only path to which a default root object applies.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.text == "/"
    }

    /// The path for matching path patterns. Escapes are decoded, except that a URI's `%2F` is not a separator.
    #[must_use]
    pub fn for_patterns(&self) -> Cow<'_, str> {
        match self.form {
            PathForm::Uri if self.text.contains("%2F") => {
                let parts: Vec<_> = self.text.split("%2F").map(decode_lenient).collect();
                Cow::Owned(parts.join("%2F"))
            }
            _ => self.decoded(),
        }
    }

    /// The path as the most generous origin would read it: runs of `/` merged, and `\`, `%5C` and
    /// `%2F` read as `/`. Nothing is decoded twice.
    #[must_use]
    pub fn generous(&self) -> Cow<'_, str> {
        generous(&self.text, self.form)
    }

    fn decoded(&self) -> Cow<'_, str> {
        match self.form {
            PathForm::Key => Cow::Borrowed(&self.text),
            PathForm::Uri => decode_lenient(&self.text),
        }
    }

    /// Appends the path as a bucket request carries it: in the spelling that S3 signs.
    pub fn encode_for_bucket(&self, out: &mut String) {
        encode_key(&self.decoded(), out);
    }

    /// Appends the path as a request to a plain server carries it.
    pub fn encode_for_server(&self, out: &mut String) {
        match self.form {
            PathForm::Key => encode_key(&self.text, out),
            PathForm::Uri => out.push_str(&self.text),
        }
    }

    /// The same path, independent of the request it was read from.
    #[must_use]
    pub fn into_owned(self) -> CanonicalPath<'static> {
        CanonicalPath { text: Cow::Owned(self.text.into_owned()), form: self.form }
    }
}

/// The generous reading of the text of a resolved path.
pub(super) fn generous(text: &str, form: PathForm) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    match form {
        PathForm::Key => read_as_slashes(text),
        // The escapes of a URI are decoded here for the first time.
        PathForm::Uri => {
            let parts = text.split("%25").map(decode_lenient);
            let parts: Vec<_> = parts.map(|part| read_as_slashes(&part).into_owned()).collect();
            Cow::Owned(parts.join("%"))
        }
    }
}

/// The raw path without its dot segments, or `None` if it has none. A signer's policy must cover this path too.
#[must_use]
pub(crate) fn without_dot_segments(raw: &str, form: PathForm) -> Option<String> {
    if !raw.contains("/.") && !raw.contains('%') {
        return None;
    }
    let mut spelled = raw.replace("%2e", ".").replace("%2E", ".");
    if form == PathForm::Key {
        spelled = spelled.replace("%2F", "/").replace("%2f", "/");
    }
    has_dot_segments(&spelled).then(|| remove_dot_segments(Cow::Owned(spelled)).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pairs of a viewer's path and the path sent to and signed for S3, as botocore encodes it.
    const TABLE: [(&str, &str); 25] = [
        ("/a%20b.txt", "/a%20b.txt"),
        ("/a+b.txt", "/a%2Bb.txt"),
        ("/a%2Bb.txt", "/a%2Bb.txt"),
        ("/a%252Fb.txt", "/a%252Fb.txt"),
        ("/%2541.txt", "/%2541.txt"),
        ("/a//b.txt", "/a//b.txt"),
        ("//lead.txt", "//lead.txt"),
        ("/trail/", "/trail/"),
        ("/%C3%A9.txt", "/%C3%A9.txt"),
        ("/%c3%a9.txt", "/%C3%A9.txt"),
        ("/é.txt", "/%C3%A9.txt"),
        ("/%E6%97%A5%E6%9C%AC/%C3%BC.jpg", "/%E6%97%A5%E6%9C%AC/%C3%BC.jpg"),
        ("/it's(1)!*~.txt", "/it%27s%281%29%21%2A~.txt"),
        ("/it%27s%281%29%21%2A%7E.txt", "/it%27s%281%29%21%2A~.txt"),
        ("/a%3Fb%23c.txt", "/a%3Fb%23c.txt"),
        ("/a:b@c,d;e=f&g$h.txt", "/a%3Ab%40c%2Cd%3Be%3Df%26g%24h.txt"),
        ("/%61/b", "/a/b"),
        ("/a%2fb", "/a/b"),
        ("/a%5Cb", "/a%5Cb"),
        ("/.hidden/..x/y...", "/.hidden/..x/y..."),
        ("/hls/1080/../audio/seg1.ts", "/hls/audio/seg1.ts"),
        ("/a/%2e%2E/b/./c", "/b/c"),
        ("/a%2f..%2fb", "/b"),
        ("/../../a", "/a"),
        ("/a/%252e%252e/b", "/a/%252e%252e/b"),
    ];

    fn for_bucket(raw: &str) -> String {
        let mut out = String::new();
        CanonicalPath::resolve(raw, PathForm::Key).expect(raw).encode_for_bucket(&mut out);
        out
    }

    fn for_server(raw: &str) -> Result<String, PathError> {
        let mut out = String::new();
        CanonicalPath::resolve(raw, PathForm::Uri)?.encode_for_server(&mut out);
        Ok(out)
    }

    #[test]
    fn buckets_get_keys_as_s3_signs_them() {
        for (raw, expected) in TABLE {
            assert_eq!(for_bucket(raw), expected, "{raw}");
        }
    }

    #[test]
    fn plain_origins_get_what_the_viewer_sent() {
        for (raw, expected) in [
            ("/@scope%2fpkg", "/@scope%2Fpkg"),
            (
                "/rs:fit:300:300/plain/https%3A%2F%2Fe.com%2Fa.jpg",
                "/rs:fit:300:300/plain/https%3A%2F%2Fe.com%2Fa.jpg",
            ),
            ("/filters:blur(5)/x", "/filters:blur(5)/x"),
            ("/filters:blur%285%29/x", "/filters:blur%285%29/x"),
            ("/a//b", "/a//b"),
            ("/%7euser/%61%2Dz", "/~user/a-z"),
            ("/hls/1080/../audio/seg1.ts", "/hls/audio/seg1.ts"),
            ("/a/%2e%2e/b", "/b"),
            ("/a%25%2fb", "/a%25%2Fb"),
            ("/é/%ff", "/%C3%A9/%FF"),
            ("/a%252F..%252Fb", "/a%252F..%252Fb"),
        ] {
            assert_eq!(for_server(raw).as_deref(), Ok(expected), "{raw}");
        }
    }

    #[test]
    fn doubtful_paths_are_refused() {
        use PathError::{Ambiguous, BadEscape, Control, NotAbsolute, NotUtf8};
        for (raw, key, uri) in [
            ("*", Some(NotAbsolute), Some(NotAbsolute)),
            ("a/b", Some(NotAbsolute), Some(NotAbsolute)),
            ("/%", Some(BadEscape), Some(BadEscape)),
            ("/%4", Some(BadEscape), Some(BadEscape)),
            ("/%zz", Some(BadEscape), Some(BadEscape)),
            ("/%+1", Some(BadEscape), Some(BadEscape)),
            ("/a%00b", Some(Control), Some(Control)),
            ("/a%0d%0ab", Some(Control), Some(Control)),
            ("/a%7f", Some(Control), Some(Control)),
            ("/a/..%5cb", Some(Ambiguous), Some(Ambiguous)),
            ("/a%5c..%5cb", Some(Ambiguous), Some(Ambiguous)),
            ("/..\\..\\b", Some(Ambiguous), Some(Ambiguous)),
            ("/a%2f..%2fb", None, Some(Ambiguous)),
            ("/a%252f..%252fb", Some(Ambiguous), None),
            ("/%C0%AE%C0%AE/x", Some(NotUtf8), None),
            ("/%ff", Some(NotUtf8), None),
        ] {
            for (form, error) in [(PathForm::Key, key), (PathForm::Uri, uri)] {
                assert_eq!(CanonicalPath::resolve(raw, form).err(), error, "{raw} {form:?}");
            }
        }
    }

    #[test]
    fn generous_origins_merge_slashes_of_every_spelling() {
        for (raw, key, uri) in [
            ("//private/a", "/private/a", "/private/a"),
            ("/%2Fprivate/a", "/private/a", "/private/a"),
            ("/%5cprivate%5ca", "/private/a", "/private/a"),
            ("/private\\a", "/private/a", "/private/a"),
            ("/private%252Fa", "/private/a", "/private%2Fa"),
            ("/it%27s", "/it's", "/it's"),
        ] {
            for (form, expected) in [(PathForm::Key, key), (PathForm::Uri, uri)] {
                let path = CanonicalPath::resolve(raw, form).expect(raw);
                assert_eq!(path.generous(), expected, "{raw} {form:?}");
            }
        }
    }

    #[test]
    fn signers_must_cover_the_path_without_dot_segments() {
        let without = |raw, form| without_dot_segments(raw, form);
        for form in [PathForm::Key, PathForm::Uri] {
            assert_eq!(without("/a%20b/%7Euser//c", form), None);
            assert_eq!(without("/free/%2e%2E/a%20b", form).as_deref(), Some("/a%20b"));
        }
        let escaped = "/free/..%2Fprivate";
        assert_eq!(without(escaped, PathForm::Key).as_deref(), Some("/private"));
        assert_eq!(without(escaped, PathForm::Uri), None);
    }

    proptest! {
        #[test]
        fn every_key_without_dot_segments_survives_the_round_trip(
            key in "[^\\x00-\\x1f\\x7f/\\\\][^\\x00-\\x1f\\x7f]{0,30}",
        ) {
            let mut url = String::from("/");
            encode_key(&key, &mut url);
            prop_assume!(!has_dot_segments(&read_as_slashes(&format!("/{key}"))));
            let path = CanonicalPath::resolve(&url, PathForm::Key).expect("path");
            prop_assert_eq!(&path.as_str()[1..], key.as_str());
            prop_assert_eq!(for_bucket(&url), url);
        }

        #[test]
        fn resolving_twice_changes_nothing(raw in "/([a./%\\\\]|%2[EeFf5]|%5[Cc]|//){0,12}") {
            for form in [PathForm::Key, PathForm::Uri] {
                let Ok(once) = CanonicalPath::resolve(&raw, form) else { continue };
                let mut sent = String::new();
                once.encode_for_server(&mut sent);
                let twice = CanonicalPath::resolve(&sent, form).expect("resolved before");
                prop_assert_eq!(&once, &twice);
                prop_assert!(!has_dot_segments(once.as_str()));
                prop_assert!(!has_dot_segments(&once.generous()));
            }
        }

        #[test]
        fn any_text_resolves_or_is_refused(raw in "\\PC{0,40}") {
            for form in [PathForm::Key, PathForm::Uri] {
                let _ = CanonicalPath::resolve(&raw, form);
            }
            let _ = without_dot_segments(&raw, PathForm::Key);
        }
    }
}
