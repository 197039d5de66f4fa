//! Globs: `*` matches any text, `?` matches one byte or character.

/// Whether `pattern` matches `text`. A `?` matches one byte.
#[must_use]
pub fn matches_bytes(pattern: &[u8], text: &[u8]) -> bool {
    matches(pattern, text, |_| 1)
}

/// Whether `pattern` matches `text`. A `?` matches one character.
#[must_use]
pub fn matches_characters(pattern: &str, text: &str) -> bool {
    let length = |at| text.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
    matches(pattern.as_bytes(), text.as_bytes(), length)
}

/// Matches in time proportional to the product of both lengths. `length_at` is the length of the character that begins
/// at a position of `text`.
fn matches(pattern: &[u8], text: &[u8], length_at: impl Fn(usize) -> usize) -> bool {
    let (mut at, mut in_pattern) = (0, 0);
    // The position to retry from if the text after the last star does not match: one character further.
    let mut retry: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(in_pattern) {
            Some(b'*') => {
                retry = Some((in_pattern + 1, at));
                in_pattern += 1;
            }
            Some(b'?') => {
                at += length_at(at);
                in_pattern += 1;
            }
            Some(literal) if *literal == text[at] => {
                at += 1;
                in_pattern += 1;
            }
            _ => {
                let Some((after_star, from)) = retry else { return false };
                at = from + length_at(from);
                retry = Some((after_star, at));
                in_pattern = after_star;
            }
        }
    }
    pattern[in_pattern..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_mark_is_one_byte_or_one_character() {
        for (pattern, text, bytes, characters) in [
            ("a?c", "abc", true, true),
            ("a?c", "aéc", false, true),
            ("a??c", "aéc", true, false),
            ("*?c", "éc", true, true),
        ] {
            assert_eq!(matches_bytes(pattern.as_bytes(), text.as_bytes()), bytes, "{pattern}");
            assert_eq!(matches_characters(pattern, text), characters, "{pattern}");
        }
    }
}
