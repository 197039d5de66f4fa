//! Reads the text of single elements from AWS's XML responses.

use quick_xml::{Reader, events::BytesRef, events::Event};

/// Maximum bytes of text read from one element.
const MAX_TEXT: usize = 4 << 10;

/// The text of the first element with this name, as far as the document can be parsed.
#[must_use]
pub(crate) fn text_of(xml: &[u8], name: &str) -> Option<String> {
    let mut first = None;
    for_each_text(xml, name, |text| {
        first = Some(text);
        false
    });
    first
}

/// The texts of all elements with this name, as far as the document can be parsed.
#[must_use]
pub(crate) fn texts_of(xml: &[u8], name: &str) -> Vec<String> {
    let mut all = Vec::new();
    for_each_text(xml, name, |text| {
        all.push(text);
        true
    });
    all
}

/// Passes on the text of each element with this name, until `take` returns `false`.
fn for_each_text(xml: &[u8], name: &str, mut take: impl FnMut(String) -> bool) {
    let mut reader = Reader::from_reader(xml);
    let mut found: Option<String> = None;
    loop {
        let event = reader.read_event();
        let is_over = matches!(event, Ok(Event::Eof) | Err(_));
        match (event, &mut found) {
            (Ok(Event::Start(start)), _) => {
                found = (start.local_name().as_ref() == name).then(String::new);
            }
            (Ok(Event::Text(part)), Some(text)) if text.len() + part.len() <= MAX_TEXT => {
                text.push_str(&part);
            }
            (Ok(Event::GeneralRef(reference)), Some(text)) => text.extend(resolve(&reference)),
            (Ok(Event::End(_) | Event::Eof) | Err(_), Some(_)) => {
                let text = found.take().unwrap_or_default();
                if !take(text) {
                    return;
                }
            }
            _ => {}
        }
        if is_over {
            return;
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
