//! Short texts that share a block of memory: a text needs no allocation, and returns its part when it is dropped.

use std::{
    cell::RefCell,
    fmt::{self, Write},
};

use bytes::{Bytes, BytesMut};

/// The size of a shared block; a longer text gets a block of that length.
const PAGE: usize = 8192;

thread_local! {
    static TEXT: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(PAGE));
}

/// The text that `write` writes, about `length` bytes long.
///
/// # Errors
/// Those of `write`.
pub fn shared(
    length: usize,
    write: impl FnOnce(&mut BytesMut) -> fmt::Result,
) -> Result<Bytes, fmt::Error> {
    TEXT.with_borrow_mut(|text| {
        if text.capacity() < length {
            *text = BytesMut::with_capacity(PAGE.max(length));
        }
        // An earlier write may have failed midway.
        text.clear();
        let written = write(text);
        let text = text.split().freeze();
        written.map(|()| text)
    })
}

/// Writes text to the end of a vector.
pub struct VecWriter<'a>(pub &'a mut Vec<u8>);

impl Write for VecWriter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_any_length_are_whole() {
        let long = "x".repeat(3 * PAGE);
        let texts = ["", "a", "b", &long, "c"];
        let made = texts.map(|text| shared(text.len(), |to| to.write_str(text)).expect("written"));
        assert_eq!(made.each_ref().map(|text| &text[..]), texts.map(str::as_bytes));
        assert!(shared(1, |_| Err(fmt::Error)).is_err());
        assert_eq!(shared(1, |to| to.write_str("d")).expect("written"), "d");
    }
}
