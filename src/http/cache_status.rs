//! The `Cache-Status` field (RFC 9211): how the cache handled a request, and why.

use std::fmt::{self, Write};

use crate::base::metrics::{ResultType, StaleReason};

/// The reason why a request went to the origin (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ForwardReason {
    /// The cache was configured not to handle this request.
    Bypass,
    /// The method's semantics require it.
    Method,
    /// No response was stored under this key.
    UriMiss,
    /// Responses were stored, but not the variant that the request selects.
    VaryMiss,
    /// A response was stored, but is stale.
    Stale,
    /// A fresh response was stored, but the request's directives forbid its use.
    Request,
    /// A response was stored, but without some bytes that the request needs.
    Partial,
}

impl ForwardReason {
    /// The token in the IANA registry.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Request => "request",
            Self::Partial => "partial",
        }
    }
}

/// How the cache handled a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheStatus {
    /// Served from a fresh stored response.
    Hit,
    /// Forwarded, for this reason.
    Forward(ForwardReason),
    /// Answered without cache or origin: refused, or a response of the edge itself.
    Local,
}

/// The detail of a response from the cache of another node, in CloudFront's terms (Amazon CloudFront Developer Guide,
/// "Standard log file fields").
pub(crate) const PEER_HIT: &str = "OriginShieldHit";

/// The detail of a stale response that is kept although the origin no longer has the object.
pub(crate) const ORIGIN_MISSING: &str = "origin-missing";

/// The contents of one `Cache-Status` member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Hit, or forwarded and why.
    pub status: CacheStatus,
    /// The freshness lifetime left, in seconds; negative when stale.
    pub ttl: Option<i64>,
    /// Whether the response was stored for later requests.
    pub stored: bool,
    /// Whether this request waited on another's forward instead of making one.
    pub collapsed: bool,
    /// The status code of the origin's response, if it differs from the viewer's.
    pub forward_status: Option<u16>,
    /// A token with more detail.
    pub detail: Option<&'static str>,
    /// Whether the detail is only for the log.
    pub hide_reason: bool,
}

impl Report {
    /// A report of a response that Forebay makes itself.
    #[must_use]
    pub const fn local(detail: &'static str) -> Self {
        let mut report = Self::new(CacheStatus::Local);
        report.detail = Some(detail);
        report
    }

    /// A report of `status` without further details.
    #[must_use]
    pub const fn new(status: CacheStatus) -> Self {
        Self {
            status,
            ttl: None,
            stored: false,
            collapsed: false,
            forward_status: None,
            detail: None,
            hide_reason: false,
        }
    }

    /// The reason for serving a stale response without validating it, if that is what happened.
    #[must_use]
    pub fn stale_reason(&self, result: ResultType) -> Option<StaleReason> {
        if result != ResultType::Hit {
            return None;
        }
        match (self.status, self.detail) {
            // A part may still have to be fetched.
            (CacheStatus::Hit | CacheStatus::Forward(ForwardReason::Partial), _) => {
                self.ttl.filter(|ttl| *ttl < 0).map(|_| StaleReason::Allowed)
            }
            // After any other forward, only a response that is kept is a hit with a detail.
            (CacheStatus::Forward(_), Some(ORIGIN_MISSING)) => Some(StaleReason::OriginMissing),
            (CacheStatus::Forward(_), Some(_)) => Some(StaleReason::OriginError),
            _ => None,
        }
    }

    /// Writes the member for the cache called `name`.
    ///
    /// # Errors
    /// Those of `text`.
    pub fn write(&self, name: &str, text: &mut impl Write) -> fmt::Result {
        text.write_str(name)?;
        match self.status {
            CacheStatus::Hit => text.write_str("; hit")?,
            CacheStatus::Forward(reason) => {
                text.write_str("; fwd=")?;
                text.write_str(reason.token())?;
            }
            CacheStatus::Local => {}
        }
        if let Some(status) = self.forward_status {
            write!(text, "; fwd-status={status}")?;
        }
        if let Some(ttl) = self.ttl {
            text.write_str("; ttl=")?;
            text.write_str(itoa::Buffer::new().format(ttl))?;
        }
        if self.stored {
            text.write_str("; stored")?;
        }
        if self.collapsed {
            text.write_str("; collapsed")?;
        }
        if let Some(detail) = self.detail.filter(|_| !self.hide_reason) {
            text.write_str("; detail=")?;
            text.write_str(detail)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stale_responses_have_a_reason() {
        let reason = |status, ttl, detail| {
            let report = Report { ttl: Some(ttl), detail, ..Report::new(status) };
            report.stale_reason(ResultType::Hit)
        };
        let partial = CacheStatus::Forward(ForwardReason::Partial);
        let stale = CacheStatus::Forward(ForwardReason::Stale);
        for (status, ttl, detail, expected) in [
            (CacheStatus::Hit, 5, None, None),
            (CacheStatus::Hit, -1, None, Some(StaleReason::Allowed)),
            (partial, 5, Some("disk"), None),
            (partial, -1, Some("disk"), Some(StaleReason::Allowed)),
            (stale, -1, Some("origin-error"), Some(StaleReason::OriginError)),
            (stale, -1, Some(ORIGIN_MISSING), Some(StaleReason::OriginMissing)),
            (stale, 5, None, None),
        ] {
            assert_eq!(reason(status, ttl, detail), expected, "{status:?} {ttl} {detail:?}");
        }
    }

    #[test]
    fn members_are_written_in_the_order_of_the_rfc() {
        let member = |report: Report| {
            let mut text = String::new();
            report.write("Forebay", &mut text).map(|()| text)
        };
        let report = Report { ttl: Some(376), ..Report::new(CacheStatus::Hit) };
        assert_eq!(member(report).as_deref(), Ok("Forebay; hit; ttl=376"));
        let report = Report {
            forward_status: Some(304),
            stored: true,
            collapsed: true,
            ttl: Some(-5),
            detail: Some("slow"),
            hide_reason: false,
            ..Report::new(CacheStatus::Forward(ForwardReason::Stale))
        };
        assert_eq!(
            member(report).as_deref(),
            Ok("Forebay; fwd=stale; fwd-status=304; ttl=-5; stored; collapsed; detail=slow")
        );
        assert_eq!(member(Report::new(CacheStatus::Local)).as_deref(), Ok("Forebay"));
    }
}
