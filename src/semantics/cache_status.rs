//! The `Cache-Status` field (RFC 9211): what the cache did with a request, and why.

use std::fmt::Write;

use http::HeaderValue;

/// Why a request had to go to the origin (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ForwardReason {
    /// The cache was told not to handle this request.
    Bypass,
    /// The method's semantics require it.
    Method,
    /// Nothing was stored under this key.
    UriMiss,
    /// A response was stored, but is stale.
    Stale,
    /// A response was stored, but not all the bytes asked for.
    Partial,
}

impl ForwardReason {
    /// The token of the registry.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

/// How the cache handled a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheStatus {
    /// Answered from what was stored and fresh.
    Hit,
    /// Forwarded, for this reason.
    Forward(ForwardReason),
    /// Answered without cache or origin: refused, or the edge's own answer.
    Local,
}

/// All that one `Cache-Status` member says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Hit, or forwarded and why.
    pub status: CacheStatus,
    /// The freshness lifetime left, in seconds; negative when stale.
    pub ttl: Option<i64>,
    /// Whether the answer was stored for later requests.
    pub stored: bool,
    /// Whether this request waited on another's forward instead of making one.
    pub collapsed: bool,
    /// The status code the origin answered, when it differs from what the viewer sees.
    pub forward_status: Option<u16>,
    /// A token that tells more.
    pub detail: Option<&'static str>,
}

impl Report {
    /// A report of `status` that says nothing more.
    #[must_use]
    pub const fn new(status: CacheStatus) -> Self {
        Self {
            status,
            ttl: None,
            stored: false,
            collapsed: false,
            forward_status: None,
            detail: None,
        }
    }

    /// The member for the cache called `name`; `None` when there is nothing to say about a cache.
    #[must_use]
    pub fn field_value(&self, name: &str) -> Option<HeaderValue> {
        let mut text = String::with_capacity(64);
        text.push_str(name);
        match self.status {
            CacheStatus::Hit => text.push_str("; hit"),
            CacheStatus::Forward(reason) => {
                text.push_str("; fwd=");
                text.push_str(reason.token());
            }
            CacheStatus::Local => {
                text.push_str("; detail=");
                text.push_str(self.detail?);
                return HeaderValue::try_from(text).ok();
            }
        }
        self.write_parameters(&mut text);
        HeaderValue::try_from(text).ok()
    }

    fn write_parameters(&self, text: &mut String) {
        if let Some(status) = self.forward_status {
            let _ = write!(text, "; fwd-status={status}");
        }
        if let Some(ttl) = self.ttl {
            text.push_str("; ttl=");
            text.push_str(itoa::Buffer::new().format(ttl));
        }
        if self.stored {
            text.push_str("; stored");
        }
        if self.collapsed {
            text.push_str("; collapsed");
        }
        if let Some(detail) = self.detail {
            text.push_str("; detail=");
            text.push_str(detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_written_in_the_order_of_the_rfc() {
        let mut report = Report::new(CacheStatus::Hit);
        report.ttl = Some(376);
        assert_eq!(report.field_value("Forebay").expect("value"), "Forebay; hit; ttl=376");
        let report = Report {
            forward_status: Some(304),
            stored: true,
            collapsed: true,
            ttl: Some(-5),
            detail: Some("slow"),
            ..Report::new(CacheStatus::Forward(ForwardReason::Stale))
        };
        assert_eq!(
            report.field_value("edge-1").expect("value"),
            "edge-1; fwd=stale; fwd-status=304; ttl=-5; stored; collapsed; detail=slow"
        );
        assert_eq!(Report::new(CacheStatus::Local).field_value("x"), None);
    }
}
