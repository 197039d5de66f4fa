//! Path patterns (Amazon CloudFront Developer Guide, "Path pattern").

use crate::base::glob::matches_characters;

/// Characters that CloudFront allows besides letters and digits.
const PUNCTUATION: &str = "_-.*?$/~\"'@:+&";

/// Maximum length of a pattern, in characters.
const MAX_LENGTH: usize = 255;

/// The reason for rejecting a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The pattern is empty.
    #[error("a path pattern must not be empty")]
    Empty,
    /// The pattern is too long.
    #[error("a path pattern can have at most {MAX_LENGTH} characters")]
    TooLong,
    /// The pattern has a character outside CloudFront's set.
    #[error(
        "`{0}` is not allowed in a path pattern, only letters, digits and {PUNCTUATION} (write `?` for any other character)"
    )]
    Character(char),
}

/// A pattern for canonical paths: `*` matches any number of characters, including slashes;
/// `?` matches exactly one. Patterns are case-sensitive, and a leading slash is optional.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern(Box<str>);

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/{}", self.0)
    }
}

impl PathPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// If it is empty, too long, or has a character outside CloudFront's set.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let outside = |c: &char| !c.is_ascii_alphanumeric() && !PUNCTUATION.contains(*c);
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > MAX_LENGTH {
            return Err(PatternError::TooLong);
        }
        if let Some(character) = text.chars().find(outside) {
            return Err(PatternError::Character(character));
        }
        Ok(Self(text.strip_prefix('/').unwrap_or(text).into()))
    }

    /// The pattern that matches every path.
    pub(crate) fn any() -> Self {
        Self("*".into())
    }

    /// Whether the pattern matches a canonical path, which begins with a slash.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        matches_characters(&self.0, path.strip_prefix('/').unwrap_or(path))
    }

    /// Whether the pattern matches every path.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'*')
    }

    /// Whether requests for this path are refused in every spelling, because an origin that merges slashes or
    /// resolves dot segments would read it as another path.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        let path = format!("/{}", self.0);
        let last = path.matches('/').count();
        // The last segment may continue after a `*`.
        let dots = path.split('/').take(last + usize::from(!path.ends_with('*')));
        path.contains("//") || dots.skip(1).any(|segment| matches!(segment, "." | ".."))
    }

    /// Whether the pattern surely matches every path that `other` matches.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        // A `*` matches texts that a `?` does not.
        let is_unsure = self.0.contains('?') && other.0.contains('*');
        !is_unsure && matches_characters(&self.0, &other.0)
    }

    /// What the pattern probably means, if it looks like another program's. In a bucket, `/private` is hardly an object;
    /// on a server, `/search` may be a page.
    #[must_use]
    pub fn misreading(&self, is_for_bucket: bool) -> Option<String> {
        if self.0.starts_with('~') || self.0.ends_with('$') {
            return Some("a pattern is not a regular expression: write, for example, *.jpg".into());
        }
        let last = self.0.rsplit('/').next().unwrap_or_default();
        let is_directory = !self.0.contains(['*', '?'])
            && (last.is_empty() || (is_for_bucket && !last.contains('.')));
        let below = if last.is_empty() { "*" } else { "/*" };
        is_directory.then(|| {
            format!("it matches only this path: write {self}{below} for everything below it")
        })
    }

    /// Whether both patterns, each below its own folder, match a common path. Runs of slashes count as one,
    /// because some origins merge them.
    #[must_use]
    pub fn overlaps(&self, below: &str, other: &Self, others_below: &str) -> bool {
        overlap(&self.tokens(below), &other.tokens(others_below))
    }

    fn tokens(&self, below: &str) -> Vec<Token> {
        let literal = below.chars().chain(['/']).map(Token::Literal);
        let own = self.0.chars().map(|c| match c {
            '*' => Token::Any,
            '?' => Token::One,
            c => Token::Literal(c),
        });
        let mut tokens: Vec<Token> = literal.chain(own).collect();
        tokens.dedup_by(|a, b| (&*a, &*b) == (&Token::Literal('/'), &Token::Literal('/')));
        tokens
    }
}

/// A token of a pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Literal(char),
}

/// Whether both patterns match a common text. `row[j]` is the result for the prefixes `one[..i]` and `two[..j]`.
fn overlap(one: &[Token], two: &[Token]) -> bool {
    let mut row = vec![false; two.len() + 1];
    for i in 0..=one.len() {
        let above = std::mem::replace(&mut row, vec![false; two.len() + 1]);
        row[0] = i == 0 || (one[i - 1] == Token::Any && above[0]);
        for j in 1..=two.len() {
            let (a, b) = (i.checked_sub(1).map(|last| one[last]), two[j - 1]);
            row[j] = match (a, b) {
                (Some(Token::Any), _) | (Some(_), Token::Any) => above[j] || row[j - 1],
                (None, Token::Any) => row[j - 1],
                (None, _) => false,
                (Some(Token::Literal(a)), Token::Literal(b)) => a == b && above[j - 1],
                _ => above[j - 1],
            };
        }
    }
    row[two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_cloudfront_documents() {
        for (pattern, path, expected) in [
            ("*", "/", true),
            ("/images/*.jpg", "/images/a/b.jpg", true),
            ("images/*.jpg", "/images/.jpg", true),
            ("images/*.jpg", "/images/a.JPG", false),
            ("*.gif", "/a.gif/b", false),
            ("a??.txt", "/a12.txt", true),
            ("a??.txt", "/a1.txt", false),
            ("?.txt", "/é.txt", true),
            ("*b*c", "/abcbc", true),
            ("*b*c", "/abcb", false),
            ("/private/*", "/private/", true),
            ("/private/*", "/private", false),
            ("/private*", "/private", true),
            ("**", "/x", true),
        ] {
            let parsed = PathPattern::parse(pattern).expect(pattern);
            assert_eq!(parsed.matches(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_covers_what_it_surely_matches() {
        let parse = |text| PathPattern::parse(text).expect(text);
        for (one, other, expected) in [
            ("*", "/private/*", true),
            ("/a/*", "/a/b/*", true),
            ("/a/*", "/a/?.jpg", true),
            ("*.jpg", "/a/*.jpg", true),
            ("/a/*", "/a*", false),
            ("*.jpg", "/a/*", false),
            ("/a?", "/a*", false),
            ("/a?", "/ab", true),
            ("/a", "/a", true),
        ] {
            assert_eq!(parse(one).covers(&parse(other)), expected, "{one} {other}");
        }
    }

    #[test]
    fn patterns_of_other_programs_are_recognized() {
        let misread = |text| PathPattern::parse(text).expect(text).misreading(true);
        for pattern in ["~*.jpg$", "/a/~b.png", "/private/*", "*/", "/a.jpg"] {
            let expected = pattern.starts_with('~');
            assert_eq!(misread(pattern).is_some(), expected, "{pattern}");
        }
        for pattern in ["/private/", "/private"] {
            let one = misread(pattern).expect("a directory");
            assert!(one.contains("write /private/* for"), "{one}");
        }
        assert_eq!(PathPattern::parse("/search").expect("a page").misreading(false), None);
    }

    #[test]
    fn slashes_that_origins_may_merge_are_seen() {
        let parse = |text| PathPattern::parse(text).expect(text);
        for (pattern, expected) in [
            ("//private/*", true),
            ("/a//*", true),
            ("/a/./b", true),
            ("/a/../*", true),
            ("/a/..", true),
            ("/a/.*", false),
            ("/a/..*", false),
            ("/.well-known/*", false),
            ("*", false),
        ] {
            assert_eq!(parse(pattern).is_unreachable(), expected, "{pattern}");
        }
        assert!(parse("//private/*").overlaps("", &parse("/private/*"), ""));
        assert!(parse("/x/*").overlaps("/a/", &parse("/a//x/*"), ""));
    }

    #[test]
    fn patterns_overlap_where_a_path_fits_both() {
        for (one, below, two, others_below, expected) in [
            ("/private/*", "", "*", "", true),
            ("/private/*", "", "/public/*", "", false),
            ("/private/*", "", "*.jpg", "", true),
            ("/private/*.png", "", "*.jpg", "", false),
            ("/a?c", "", "/ab*", "", true),
            ("/a?c", "", "/ab", "", false),
            ("*a*b", "", "b*a", "", false),
            ("*a*b", "", "b*b", "", true),
            ("", "", "*", "", true),
            ("/private/*", "", "*", "/private", true),
            ("/*", "/media", "/private/*", "/media", true),
            ("/*", "/media", "/*", "/medium", false),
            ("/*", "/a*", "/*", "/ab", false),
        ] {
            let parse = |text: &str| PathPattern(text.trim_start_matches('/').into());
            let (one, two) = (parse(one), parse(two));
            assert_eq!(one.overlaps(below, &two, others_below), expected, "{one} {two}");
            assert_eq!(two.overlaps(others_below, &one, below), expected, "{two} {one}");
        }
    }

    #[test]
    fn many_stars_take_linear_time() {
        let pattern = PathPattern::parse(&"*a".repeat(100)).expect("pattern");
        assert!(!pattern.matches(&format!("/{}b", "a".repeat(8000))));
    }

    #[test]
    fn patterns_outside_cloudfronts_set_are_refused() {
        assert_eq!(PathPattern::parse(""), Err(PatternError::Empty));
        assert_eq!(PathPattern::parse("/a b"), Err(PatternError::Character(' ')));
        assert_eq!(PathPattern::parse("/é"), Err(PatternError::Character('é')));
        assert_eq!(PathPattern::parse(&"a".repeat(256)), Err(PatternError::TooLong));
    }
}
