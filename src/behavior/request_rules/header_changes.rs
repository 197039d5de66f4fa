//! Changes of header fields by a rule.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Changes of header fields by a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeaderChanges {
    /// Fields that the origin gets with these values.
    pub(crate) set_for_origin: Vec<(HeaderName, HeaderValue)>,
    /// Fields of the viewer that the origin does not get.
    pub(crate) remove_for_origin: Vec<HeaderName>,
    /// Fields that the viewer gets with these values.
    pub(crate) set_for_viewer: Vec<(HeaderName, HeaderValue)>,
    /// Fields that the viewer does not get.
    pub(crate) remove_for_viewer: Vec<HeaderName>,
}

impl HeaderChanges {
    pub(super) fn changes_response(&self) -> bool {
        !self.set_for_viewer.is_empty() || !self.remove_for_viewer.is_empty()
    }

    pub(super) fn change_request(&self, fields: &mut Vec<(HeaderName, HeaderValue)>) {
        let is_replaced =
            |name: &HeaderName| self.set_for_origin.iter().any(|(own, _)| own == name);
        fields.retain(|(name, _)| !self.remove_for_origin.contains(name) && !is_replaced(name));
        fields.extend(self.set_for_origin.iter().cloned());
    }

    pub(super) fn change_response(&self, fields: &mut HeaderMap) {
        for name in &self.remove_for_viewer {
            fields.remove(name);
        }
        for (name, value) in &self.set_for_viewer {
            fields.insert(name, value.clone());
        }
    }

    /// Whether nothing is changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.set_for_origin.is_empty()
            && self.remove_for_origin.is_empty()
            && !self.changes_response()
    }
}
