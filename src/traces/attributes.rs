//! The attributes of a span.

use http::uri::Authority;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};

/// The longest text, in bytes: viewers choose paths and user agents.
const LONGEST: usize = 1024;

/// The attributes of a span.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    all: Vec<KeyValue>,
    has_failed: bool,
}

impl Attributes {
    pub(super) fn text(&mut self, key: &str, text: &str) {
        self.bytes(key, Some(text.as_bytes()));
    }

    /// Adds a text that may not be valid UTF-8, if there is one.
    pub(super) fn bytes(&mut self, key: &str, text: Option<&[u8]>) {
        if let Some(text) = text {
            let mut text = String::from_utf8_lossy(text).into_owned();
            text.truncate(text.floor_char_boundary(LONGEST));
            self.push(key, Value::StringValue(text));
        }
    }

    pub(super) fn number(&mut self, key: &str, number: u64) {
        self.push(key, Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX)));
    }

    pub(super) fn flag(&mut self, key: &str, flag: bool) {
        self.push(key, Value::BoolValue(flag));
    }

    /// Adds host and port of a server. `port` is the default one.
    pub(super) fn server(&mut self, authority: &[u8], port: u16) {
        match Authority::try_from(authority) {
            Ok(authority) => {
                self.text("server.address", authority.host().trim_matches(['[', ']']));
                self.number("server.port", authority.port_u16().unwrap_or(port).into());
            }
            Err(_) => self.bytes("server.address", Some(authority)),
        }
    }

    /// Adds a response's status, if there is one, and what failed: `failure`, or a status from `error` on.
    pub(super) fn status(&mut self, status: Option<u16>, error: u16, failure: Option<&str>) {
        if let Some(status) = status {
            self.number("http.response.status_code", status.into());
        }
        let failed = status.filter(|status| *status >= error).map(|status| status.to_string());
        if let Some(failure) = failure.or(failed.as_deref()) {
            self.has_failed = true;
            self.text("error.type", failure);
        }
    }

    /// Whether the span is an error.
    pub(super) const fn has_failed(&self) -> bool {
        self.has_failed
    }

    fn push(&mut self, key: &str, value: Value) {
        let value = Some(AnyValue { value: Some(value) });
        self.all.push(KeyValue { key: key.into(), value, ..KeyValue::default() });
    }
}

impl From<Attributes> for Vec<KeyValue> {
    fn from(attributes: Attributes) -> Self {
        attributes.all
    }
}
