//! Compressed forms of stored responses.
//!
//! A form belongs to a content, as slices do: it is found only through the response that has this
//! content. Anything that removes the response (a purge, a change, staleness) removes the form too.

use std::sync::Arc;

use bytes::Bytes;

use super::{Store, body_buffer::BodyBuffer, content::Content, response::StoredResponse};
use crate::http::coding::Coding;

/// The state of a response's compressed form.
#[derive(Clone, Debug)]
pub enum EncodedVariant {
    /// The form is stored.
    Ready(Arc<StoredResponse>),
    /// The form would not be shorter.
    Useless,
    /// The form has not been made yet.
    Unknown,
}

/// The compressed form of one content, with the head of its responses.
pub(super) struct Encoded {
    /// Serial of the response that the head was made from.
    of: u64,
    /// `None` if it would not be shorter.
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
            // A 304 renewed the fields; the content is the same.
            Some(form) => EncodedVariant::Ready(self.put_form(response, coding, &form.content)),
        }
    }

    /// Stores the result of compressing `response`: bytes, or `None` if they would not be shorter. Returns
    /// the form if there is one and it fits.
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
            // No room: compressing again for every request would only cost more.
            return self.keep_no_form(response, coding);
        }
        let form = collector.finish();
        self.save_form(response, coding, &form);
        Some(self.put_form(response, coding, &form))
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

    pub(super) fn put_form(
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
