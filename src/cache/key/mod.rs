//! Cache keys: the resolved path and the request's projection by a policy, as bytes.

mod escape;
mod name_spec;
mod path;
mod path_error;
mod plain_path;
mod projection;
mod variation;

use std::borrow::Cow;

pub(crate) use escape::encode_key;
pub use name_spec::NameSpec;
pub(crate) use path::without_dot_segments;
pub use path::{CanonicalPath, PathForm};
pub(crate) use path_error::PathError;
pub(crate) use plain_path::PlainPath;
pub(crate) use projection::CDN_LOOP;
pub use projection::Projection;
pub use projection::{ForwardSpec, HeaderSpec, KeySpec};
pub(crate) use variation::Variation;

/// The identity of a stored response: distribution, resolved path and projection of the request.
///
/// Invariant: two requests with equal keys have equal paths, in the same form, and equal projections by
/// their cache policy. Control characters separate the parts; no part can contain one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey(Box<[u8]>);

/// The resource of a stored response: its distribution and path, without the projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    /// The id of the distribution.
    pub distribution: &'a [u8],
    /// The text of the resolved path.
    pub path: &'a str,
    /// The form of the path.
    pub form: PathForm,
}

impl Resource<'_> {
    /// The generous reading of the path, which purges compare.
    #[must_use]
    pub fn generous_path(&self) -> Cow<'_, str> {
        path::generous(self.path, self.form)
    }
}

/// Separates the distribution from the path, which is an object key or a URI path. A bucket's `/a%20b`
/// differs from a server's.
const KEY_PATH: u8 = 0;
const URI_PATH: u8 = 7;

impl CacheKey {
    /// The key of a request.
    #[must_use]
    pub fn new(distribution: &str, path: &CanonicalPath<'_>, projection: &Projection<'_>) -> Self {
        let (form, path) = (path.form(), path.as_bytes());
        let mut bytes = Vec::with_capacity(distribution.len() + path.len() + 1);
        bytes.extend_from_slice(distribution.as_bytes());
        bytes.push(match form {
            PathForm::Key => KEY_PATH,
            PathForm::Uri => URI_PATH,
        });
        bytes.extend_from_slice(path);
        projection.append_to_key(&mut bytes);
        Self(bytes.into_boxed_slice())
    }

    /// A key that [`Self::as_bytes`] gave earlier.
    #[must_use]
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The distribution and the path, without the projection: the target of a purge.
    #[must_use]
    pub fn resource(&self) -> Resource<'_> {
        let mut parts = self.0.split(|&byte| byte < 0x20);
        let distribution = parts.next().unwrap_or_default();
        let path = parts.next().unwrap_or_default();
        let form = match self.0.get(distribution.len()) {
            Some(&URI_PATH) => PathForm::Uri,
            _ => PathForm::Key,
        };
        // This part holds only text.
        Resource { distribution, path: std::str::from_utf8(path).unwrap_or_default(), form }
    }

    /// The key's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn parts(path_and_query: &str, fields: &[(&'static str, String)]) -> http::request::Parts {
        let mut request = Request::builder().uri(path_and_query);
        for (name, value) in fields {
            request = request.header(*name, value);
        }
        request.body(()).expect("request").into_parts().0
    }

    fn key_of(spec: &KeySpec, parts: &http::request::Parts) -> (CacheKey, String) {
        let path = CanonicalPath::resolve(parts.uri.path(), PathForm::Key).expect("path");
        let projection = spec.project(parts, "media.example.com");
        (CacheKey::new("d", &path, &projection), format!("{projection:?}"))
    }

    #[test]
    fn query_is_not_in_the_key_unless_the_policy_names_it() {
        let spec = KeySpec::default();
        assert_eq!(key_of(&spec, &parts("/a?x=1", &[])).0, key_of(&spec, &parts("/a?y=2", &[])).0);
        let all = KeySpec { query: NameSpec::All, ..KeySpec::default() };
        assert_ne!(key_of(&all, &parts("/a?x=1", &[])).0, key_of(&all, &parts("/a?x=2", &[])).0);
    }

    #[test]
    fn the_resource_is_the_key_without_the_projection() {
        let spec = KeySpec { query: NameSpec::All, ..KeySpec::default() };
        let (key, _) = key_of(&spec, &parts("/a?x=1", &[]));
        let resource = Resource { distribution: b"d", path: "/a", form: PathForm::Key };
        assert_eq!(key.resource(), resource);
        assert_eq!(key_of(&KeySpec::default(), &parts("/a", &[])).0.resource(), resource);
    }

    #[test]
    fn distributions_never_share_keys() {
        let path = CanonicalPath::resolve("/a", PathForm::Key).expect("path");
        let nothing = Projection::default();
        assert_ne!(CacheKey::new("a", &path, &nothing), CacheKey::new("b", &path, &nothing));
    }

    #[test]
    fn a_key_and_a_uri_path_of_the_same_text_are_two_resources() {
        let key = CanonicalPath::resolve("/a%2520b", PathForm::Key).expect("path");
        let uri = CanonicalPath::resolve("/a%20b", PathForm::Uri).expect("path");
        assert_eq!(key.as_str(), uri.as_str());
        let nothing = Projection::default();
        assert_ne!(CacheKey::new("d", &key, &nothing), CacheKey::new("d", &uri, &nothing));
    }

    proptest! {
        #[test]
        fn equal_keys_mean_equal_projections(
            queries in proptest::collection::vec("[ab]=[12](&[abc]=[12]){0,2}", 2),
            cookies in proptest::collection::vec("[ab]=[12](; [abc]=[12]){0,2}", 2),
            origins in proptest::collection::vec("[xy]", 2),
            mode in 0_usize..4,
        ) {
            let names = || ["a".to_owned(), "b".to_owned()].into_iter().collect();
            let names = [NameSpec::None, NameSpec::Only(names()), NameSpec::Except(names()), NameSpec::All][mode].clone();
            let spec = KeySpec { query: names.clone(), cookies: names, headers: vec![http::header::ORIGIN], ..KeySpec::default() };
            let [one, two] = [0, 1].map(|i| {
                let fields = [("cookie", cookies[i].clone()), ("origin", origins[i].clone())];
                key_of(&spec, &parts(&format!("/p?{}", queries[i]), &fields))
            });
            prop_assert_eq!(one.0 == two.0, one.1 == two.1);
        }
    }
}
