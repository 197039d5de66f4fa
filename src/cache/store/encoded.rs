//! Compressed forms of stored responses.
//!
//! A form belongs to a content, as slices do: it is found only by way of the response that has this
//! content, so whatever takes that away (a purge, a change, staleness) takes the form away too.

use std::sync::Arc;

use bytes::Bytes;

use super::{Store, body_buffer::BodyBuffer, content::Content, response::StoredResponse};
use crate::http::coding::Coding;

/// What is known of the compressed form of a response.
#[derive(Clone, Debug)]
pub enum EncodedVariant {
    /// It is there.
    Ready(Arc<StoredResponse>),
    /// It would not be shorter.
    Useless,
    /// It was not made yet.
    Unknown,
}

/// The compressed form of one content, with the head that answers are made from.
pub(super) struct Encoded {
    /// Serial of the response that the head was made of.
    of: u64,
    /// `None` where it would not be shorter.
    form: Option<Arc<StoredResponse>>,
}

impl Encoded {
    pub(super) fn size(&self, slice: u32) -> usize {
        self.form.as_ref().map_or(0, |form| form.size(slice))
    }
}

impl Store {
    /// The form of `response` in a coding.
    #[must_use]
    pub fn form(&self, response: &Arc<StoredResponse>, coding: Coding) -> EncodedVariant {
        let Some(encoded) = self.memory.encoded(response.content.id, coding) else {
            return EncodedVariant::Unknown;
        };
        match &encoded.form {
            None => EncodedVariant::Useless,
            Some(form) if encoded.of == response.serial => EncodedVariant::Ready(Arc::clone(form)),
            // A 304 has renewed the fields; the content is the same.
            Some(form) => EncodedVariant::Ready(self.put_form(response, coding, &form.content)),
        }
    }

    /// Stores what compressing `response` brought: bytes, or nothing shorter than it is. The form is
    /// given back where there is one and room for it.
    pub async fn keep_form(
        self: &Arc<Self>,
        response: &Arc<StoredResponse>,
        coding: Coding,
        bytes: Option<Bytes>,
    ) -> Option<Arc<StoredResponse>> {
        let Some(bytes) = bytes else { return self.keep_no_form(response, coding) };
        let collector = BodyBuffer::new(Arc::clone(self));
        collector.keep(bytes);
        if collector.charge().await.is_err() {
            // No room: made again for every request it would only cost more.
            return self.keep_no_form(response, coding);
        }
        Some(self.put_form(response, coding, &collector.finish()))
    }

    fn keep_no_form(
        &self,
        response: &Arc<StoredResponse>,
        coding: Coding,
    ) -> Option<Arc<StoredResponse>> {
        let none = Encoded { of: response.serial, form: None };
        self.memory.insert_encoded(response.content.id, coding, none);
        None
    }

    fn put_form(
        &self,
        response: &Arc<StoredResponse>,
        coding: Coding,
        content: &Arc<Content>,
    ) -> Arc<StoredResponse> {
        let form = Arc::new(response.encoded(coding, Arc::clone(content)));
        let encoded = Encoded { of: response.serial, form: Some(Arc::clone(&form)) };
        self.memory.insert_encoded(response.content.id, coding, encoded);
        form
    }
}
