//! The items of a purge: paths, path prefixes, tags
//! (Amazon CloudFront Developer Guide, "Invalidate files: what you need to know").

use crate::{
    cache::{
        key::PathError,
        store::{Purge, Tag},
    },
    proxy::Distribution,
};

/// Maximum length of a path in CloudFront, in characters.
const LONGEST: usize = 4_000;

/// Parses the items for a distribution. One bad item rejects all of them.
pub(super) fn parse_all(
    distribution: &Distribution,
    items: &[String],
) -> Result<Vec<Purge>, String> {
    let read =
        |item: &String| parse(item, |path, is_exact| distribution.purge_paths(path, is_exact));
    let purges: Vec<Vec<Purge>> = items.iter().map(read).collect::<Result<_, _>>()?;
    let purges = purges.concat();
    if purges.iter().any(|purge| matches!(purge, Purge::Tag(_))) && !distribution.reads_tags() {
        let id = &distribution.settings.id;
        return Err(format!(
            "distribution `{id}` does not read cache tags: set its `cache_tag_header`"
        ));
    }
    Ok(purges)
}

/// Parses an item: a path, percent-encoded or not, with an optional trailing `*` and a query that is
/// ignored; or `#` and a tag. `paths` returns the readings of a path that purges compare.
fn parse(
    text: &str,
    paths: impl Fn(&str, bool) -> Result<Vec<String>, PathError>,
) -> Result<Vec<Purge>, String> {
    if let Some(name) = text.strip_prefix('#') {
        return if Tag::is_name(name) {
            Ok(vec![Purge::Tag(Tag::new(name))])
        } else {
            Err(format!(
                "`{text}` is not a valid tag: write `#` and 1 to 256 ASCII characters without spaces and commas"
            ))
        };
    }
    if text.chars().count() > LONGEST {
        return Err(format!("a path can have at most {LONGEST} characters"));
    }
    let path = text.split_once('?').map_or(text, |(path, _)| path);
    // A `*` is a wildcard only at the end of the path. The query is ignored.
    let (path, is_prefix) = match path.strip_suffix('*') {
        Some(path) => (path, true),
        None => (path, false),
    };
    // The last segment of a prefix is incomplete: `/a/..*` does not refer to the parent folder.
    let path = if is_prefix { format!("{path}x") } else { path.to_owned() };
    let paths = paths(&path, !is_prefix).map_err(|error| match error {
        PathError::NotAbsolute => {
            let url = text.split_once("://").map(|(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
            let example = match url {
                Some(path) => path.split('?').next().unwrap_or(path),
                None if text.starts_with('*') => "/photos/*",
                None => &format!("/{text}"),
            };
            format!("cannot purge `{text}`: a path must begin with `/`, such as `{example}`; only a `*` at its end is a wildcard")
        }
        error => format!("cannot purge `{text}`: {error}"),
    })?;
    let purge = |mut path: String| {
        if !is_prefix {
            return Purge::Exact(path);
        }
        path.pop();
        Purge::Prefix(path)
    };
    Ok(paths.into_iter().map(purge).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::{CanonicalPath, PathForm};

    fn of_bucket(path: &str, _is_exact: bool) -> Result<Vec<String>, PathError> {
        let path = CanonicalPath::resolve(path, PathForm::Key)?;
        Ok(vec![path.generous().into_owned()])
    }

    #[test]
    fn items_are_read_as_operators_write_them() {
        for (text, expected) in [
            ("/a b.jpg", Purge::Exact("/a b.jpg".into())),
            ("/a%20b.jpg", Purge::Exact("/a b.jpg".into())),
            ("/a.jpg?x=1", Purge::Exact("/a.jpg".into())),
            ("/é*", Purge::Prefix("/é".into())),
            ("/~me/*", Purge::Prefix("/~me/".into())),
            ("/*", Purge::Prefix("/".into())),
            ("/a/..*", Purge::Prefix("/a/..".into())),
            ("/a/../b", Purge::Exact("/b".into())),
            ("/a%2A", Purge::Exact("/a*".into())),
            ("/a*b.jpg", Purge::Exact("/a*b.jpg".into())),
            ("#Product-1", Purge::Tag(Tag::new("product-1"))),
        ] {
            assert_eq!(parse(text, of_bucket), Ok(vec![expected]), "{text}");
        }
        let long = format!("/{}", "a".repeat(4_000));
        for text in ["", "a.jpg", "*", "/%zz", "/..\\a", "#", "#a b", "#a,b", &long] {
            assert!(parse(text, of_bucket).is_err(), "{text}");
        }
    }
}
