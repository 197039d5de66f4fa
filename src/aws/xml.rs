//! Reads the text of single elements from AWS's XML responses.

use quick_xml::{Reader, events::BytesRef, events::Event};

/// Maximum bytes of text read from one element.
const MAX_TEXT: usize = 4 << 10;

/// The text of the first element with this name, as far as the document can be parsed.
#[must_use]
pub(crate) fn text_of(xml: &[u8], name: &str) -> Option<String> {
    let mut reader = Reader::from_reader(xml);
    let mut found: Option<String> = None;
    loop {
        match (reader.read_event(), &mut found) {
            (Ok(Event::Start(start)), _) => {
                found = (start.local_name().as_ref() == name).then(String::new);
            }
            (Ok(Event::Text(part)), Some(text)) if text.len() + part.len() <= MAX_TEXT => {
                text.push_str(&part);
            }
            (Ok(Event::GeneralRef(reference)), Some(text)) => text.extend(resolve(&reference)),
            (Ok(Event::End(_)) | Err(_), Some(_)) => return found,
            (Ok(Event::Eof) | Err(_), _) => return found,
            _ => {}
        }
    }
}

/// Resolves a numeric character reference or one of XML's five predefined entities.
#[must_use]
pub(crate) fn resolve(reference: &BytesRef<'_>) -> Option<char> {
    if let Some(character) = reference.resolve_char_ref().ok()? {
        return Some(character);
    }
    Some(match &**reference {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "apos" => '\'',
        "quot" => '"',
        _ => return None,
    })
}
