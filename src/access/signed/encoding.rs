//! CloudFront's URL-safe base64: `-` for `+`, `_` for `=`, `~` for `/`.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// The base64 engine. Padding is optional because some signers omit it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes `text`; `None` if it is malformed.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let standard = text.bytes().map(|byte| match byte {
        b'-' => Some(b'+'),
        b'_' => Some(b'='),
        b'~' => Some(b'/'),
        b'+' | b'=' | b'/' => None,
        other => Some(other),
    });
    BASE64.decode(standard.collect::<Option<Vec<u8>>>()?).ok()
}

/// Encodes `bytes`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    BASE64.encode(bytes).replace('+', "-").replace('=', "_").replace('/', "~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_letters_stand_for_others() {
        for (text, expected) in [
            ("--~~", Some(&[0xfb, 0xef, 0xff][..])),
            ("YQ__", Some(b"a")),
            ("YQ", Some(b"a")),
            ("", Some(b"")),
            ("YR__", None),
            ("YQ==", None),
            ("++//", None),
            ("Y Q_", None),
            ("Y", None),
            ("YQ_é", None),
        ] {
            assert_eq!(decode(text).as_deref(), expected, "{text}");
        }
    }
}
