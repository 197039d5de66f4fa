//! What purges name: paths, beginnings of paths, tags
//! (Amazon CloudFront Developer Guide, "Invalidate files: what you need to know").

use crate::{
    edge::Distribution,
    key::CanonicalPath,
    store::{Purge, Tag},
};

/// Longest path that CloudFront takes, in characters.
const LONGEST: usize = 4_000;

/// Reads items for a distribution: all of them, or none where one is bad.
pub(super) fn parse_all(
    distribution: &Distribution,
    items: &[String],
) -> Result<Vec<Purge>, String> {
    let purges: Vec<Purge> = items.iter().map(|item| parse(item)).collect::<Result<_, _>>()?;
    if purges.iter().any(|purge| matches!(purge, Purge::Tag(_))) && !distribution.reads_tags() {
        let id = &distribution.settings.id;
        return Err(format!("distribution `{id}` reads no cache tags: set its `cache_tag_header`"));
    }
    Ok(purges)
}

/// Reads an item: a path, percent-encoded or not, whose trailing `*` stands for any end and whose query
/// does not count; or `#` and a tag.
fn parse(text: &str) -> Result<Purge, String> {
    if let Some(name) = text.strip_prefix('#') {
        return if Tag::is_name(name) {
            Ok(Purge::Tag(Tag::new(name)))
        } else {
            Err(format!(
                "`{text}` is no `#` and a tag: 1 to 256 visible characters without a comma"
            ))
        };
    }
    if text.chars().count() > LONGEST {
        return Err(format!("a path has at most {LONGEST} characters"));
    }
    let path = text.split_once('?').map_or(text, |(path, _)| path);
    // In a query, too, only the last character is a wildcard; whatever the query, it is the path's.
    let (path, is_prefix) = match path.strip_suffix('*') {
        Some(path) => (path, true),
        None => (path, false),
    };
    let decoded = CanonicalPath::parse(path);
    let decoded = decoded.map_err(|error| format!("cannot purge `{text}`: {error}"))?;
    let path = decoded.as_str().to_owned();
    Ok(if is_prefix { Purge::Prefix(path) } else { Purge::Exact(path) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_read_as_operators_write_them() {
        for (text, expected) in [
            ("/a b.jpg", Purge::Exact("/a b.jpg".into())),
            ("/a%20b.jpg", Purge::Exact("/a b.jpg".into())),
            ("/a.jpg?x=1", Purge::Exact("/a.jpg".into())),
            ("/é*", Purge::Prefix("/é".into())),
            ("/~me/*", Purge::Prefix("/~me/".into())),
            ("/*", Purge::Prefix("/".into())),
            ("/a%2A", Purge::Exact("/a*".into())),
            ("/a*b.jpg", Purge::Exact("/a*b.jpg".into())),
            ("#Product-1", Purge::Tag(Tag::new("product-1"))),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        let long = format!("/{}", "a".repeat(4_000));
        for text in ["", "a.jpg", "*", "/%zz", "/../a", "#", "#a b", "#a,b", &long] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
