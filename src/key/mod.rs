//! Cache keys: the canonical path, what a policy takes from the request, and both as bytes.

mod path;
mod projection;
mod variation;

pub use path::{CanonicalPath, PathError};
pub use projection::{ForwardSpec, HeaderSpec, KeySpec, NameSpec, Projection};
pub use variation::Variation;

/// The identity of a stored response: distribution, canonical path and projection of the request.
///
/// Invariant: two requests with equal keys have equal projections by their cache policy. The parts are kept apart by control characters, which none of them can hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey(Box<[u8]>);

impl CacheKey {
    /// The key of a request.
    #[must_use]
    pub fn new(distribution: &str, path: &CanonicalPath<'_>, projection: &Projection<'_>) -> Self {
        let path = path.as_bytes();
        let mut bytes = Vec::with_capacity(distribution.len() + path.len() + 1);
        bytes.extend_from_slice(distribution.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(path);
        projection.append_to_key(&mut bytes);
        Self(bytes.into_boxed_slice())
    }

    /// Distribution, NUL and path, without the projection: what a purge names.
    #[must_use]
    pub fn resource(&self) -> &[u8] {
        let is_separator = |&byte: &u8| byte < 0x20;
        let path = self.0.iter().position(is_separator).map_or(0, |nul| nul + 1);
        let length = self.0[path..].iter().position(is_separator);
        length.map_or(&self.0, |length| &self.0[..path + length])
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
        let path = CanonicalPath::parse(parts.uri.path()).expect("path");
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
        assert_eq!(key.resource(), b"d\0/a");
        assert_eq!(key_of(&KeySpec::default(), &parts("/a", &[])).0.resource(), b"d\0/a");
    }

    #[test]
    fn distributions_never_share_keys() {
        let path = CanonicalPath::parse("/a").expect("path");
        let nothing = Projection::default();
        assert_ne!(CacheKey::new("a", &path, &nothing), CacheKey::new("b", &path, &nothing));
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
