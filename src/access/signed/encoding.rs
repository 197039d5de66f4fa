//! CloudFront's URL-safe base64: `-` for `+`, `_` for `=`, `~` for `/`.

use base64::{
    Engine as _,
    alphabet::Alphabet,
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};

/// RFC 4648's alphabet with CloudFront's letters.
const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-~";

const PADDING: char = '_';

/// The base64 engine, for text without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &match Alphabet::new(LETTERS) {
        Ok(letters) => letters,
        Err(_) => panic!("the letters are 64 different ones"),
    },
    NO_PAD,
);

/// Decodes `text`; `None` if it is malformed. Padding is optional because some signers omit it.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let unpadded = text.trim_end_matches(PADDING);
    if text.len() > unpadded.len().next_multiple_of(4) {
        return None;
    }
    BASE64.decode(unpadded).ok()
}

/// Encodes `bytes`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = BASE64.encode(bytes);
    while !text.len().is_multiple_of(4) {
        text.push(PADDING);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_letters_stand_for_others() {
        for (text, expected) in [
            ("--~~", Some(&[0xfb, 0xef, 0xff][..])),
            ("YQ__", Some(b"a")),
            ("YQ_", Some(b"a")),
            ("YQ", Some(b"a")),
            ("", Some(b"")),
            ("YR__", None),
            ("YQ==", None),
            ("++//", None),
            ("Y Q_", None),
            ("Y", None),
            ("YQ_é", None),
            ("YQ___", None),
            ("YWJj_", None),
            ("YWJj____", None),
            ("____", None),
        ] {
            assert_eq!(decode(text).as_deref(), expected, "{text}");
        }
    }
}
