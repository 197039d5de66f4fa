//! A second configuration that serves a part of the requests, as in CloudFront's continuous deployment
//! (Amazon CloudFront Developer Guide, "Use CloudFront continuous deployment to safely test CDN configuration changes").

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use super::hosts::Hosts;
use crate::{base::clock::Timestamp, http::cookies::cookies};

/// The cookie that keeps a viewer on one side, with the `=` that follows its name.
const COOKIE: &str = "forebay-staging=";

/// How requests are selected for the staging configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct StagingOptions {
    /// The share of requests, at most 0.15.
    pub weight: f64,
    /// A header field that selects it.
    pub header: Option<(HeaderName, HeaderValue)>,
    /// Whether viewers stay on the side that they are on, and for how long.
    pub stickiness: Option<Stickiness>,
    /// By how much its share of errors may exceed that of the other requests, from 0 to 1. Beyond that, it ends.
    pub error_margin: f64,
}

/// How long viewers stay on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stickiness {
    /// Without a request.
    pub idle: Duration,
    /// At most.
    pub maximum: Duration,
}

/// A staging configuration in use.
#[derive(Debug)]
pub struct Staging {
    /// Its distributions, whose ids end with `-staging`.
    pub hosts: Hosts,
    pub(crate) options: StagingOptions,
    /// A digest of the options and the distributions.
    pub(crate) digest: u64,
    has_ended: AtomicBool,
}

/// The side of a request.
#[derive(Debug, Default)]
pub(crate) struct Side {
    /// Whether the staging configuration serves it.
    pub(crate) is_staged: bool,
    /// The cookie that the viewer gets.
    pub(crate) cookie: Option<Box<HeaderValue>>,
    /// Whether chance decided.
    is_drawn: bool,
}

impl Side {
    /// The same side, but not that of staging by chance.
    pub(crate) fn without_chance(self) -> Self {
        if self.is_drawn { Self::default() } else { self }
    }
}

/// A viewer on one side, as the cookie says.
struct Session {
    is_staged: bool,
    /// Seconds since 1970.
    began: u64,
    seen: u64,
}

impl Staging {
    /// A staging configuration, which has ended already if the same one has.
    #[must_use]
    pub fn new(hosts: Hosts, options: StagingOptions, digest: u64, old: Option<&Self>) -> Self {
        let has_ended = old.is_some_and(|old| old.digest == digest && old.has_ended());
        Self { hosts, options, digest, has_ended: AtomicBool::new(has_ended) }
    }

    /// Whether it serves no more requests because of its errors.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    pub(crate) const fn error_margin(&self) -> f64 {
        self.options.error_margin
    }

    /// Serves no more requests.
    pub(crate) fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// Selects the side of a request, and removes the cookie from it: neither key nor origin may have it.
    pub(crate) fn select(&self, request: &mut Parts, now: Timestamp) -> Side {
        let now = now.as_millis() / 1000;
        let session = take_session(&mut request.headers);
        if self.has_ended() {
            return Side::default();
        }
        if let Some((name, value)) = &self.options.header
            && request.headers.get_all(name).iter().any(|own| own == value)
        {
            return Side { is_staged: true, ..Side::default() };
        }
        let Some(stickiness) = &self.options.stickiness else {
            return Side { is_staged: self.draw(), cookie: None, is_drawn: true };
        };
        let (idle, maximum) = (stickiness.idle.as_secs(), stickiness.maximum.as_secs());
        let is_current = |session: &Session| {
            session.began <= session.seen
                && session.seen <= now
                && now - session.seen < idle
                && now - session.began < maximum
        };
        let kept = session.filter(is_current);
        // The cookie is renewed only now and then.
        let is_recent = kept.as_ref().is_some_and(|session| now - session.seen < idle / 8);
        let is_drawn = kept.is_none();
        let session = match kept {
            Some(session) => Session { seen: now, ..session },
            None => Session { is_staged: self.draw(), began: now, seen: now },
        };
        let cookie = (!is_recent).then(|| session.cookie(idle.min(session.began + maximum - now)));
        Side { is_staged: session.is_staged, cookie: cookie.flatten().map(Box::new), is_drawn }
    }

    fn draw(&self) -> bool {
        fastrand::f64() < self.options.weight
    }
}

impl Session {
    fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(text).ok()?.split('.');
        let is_staged = match parts.next()? {
            "staging" => true,
            "primary" => false,
            _ => return None,
        };
        let (began, seen) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        parts.next().is_none().then_some(Self { is_staged, began, seen })
    }

    fn cookie(&self, seconds: u64) -> Option<HeaderValue> {
        let side = if self.is_staged { "staging" } else { "primary" };
        let (began, seen) = (self.began, self.seen);
        let cookie = format!(
            "{COOKIE}{side}.{began}.{seen}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax"
        );
        HeaderValue::try_from(cookie).ok()
    }
}

/// Takes the cookie out of a request.
fn take_session(fields: &mut HeaderMap) -> Option<Session> {
    let value = |cookie: &[u8]| cookie.strip_prefix(COOKIE.as_bytes()).map(<[u8]>::to_vec);
    let taken = cookies(fields).find_map(value)?;
    let kept: Vec<&[u8]> = cookies(fields).filter(|cookie| value(cookie).is_none()).collect();
    let kept = (!kept.is_empty()).then(|| HeaderValue::from_bytes(&kept.join(&b"; "[..])));
    fields.remove(header::COOKIE);
    if let Some(Ok(kept)) = kept {
        fields.insert(header::COOKIE, kept);
    }
    Session::parse(&taken)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn staging(weight: f64, stickiness: Option<Stickiness>) -> Staging {
        let header = (HeaderName::from_static("aws-cf-cd-a"), HeaderValue::from_static("b"));
        let options =
            StagingOptions { weight, header: Some(header), stickiness, error_margin: 0.1 };
        Staging::new(Hosts::default(), options, 1, None)
    }

    fn request(name: &str, value: &str) -> Parts {
        Request::builder().header(name, value).body(()).expect("a request").into_parts().0
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_header_field_or_the_weight_selects() {
        let selects = |staging: &Staging, name, value| {
            staging.select(&mut request(name, value), at(1000)).is_staged
        };
        let none = staging(0.0, None);
        assert!(selects(&none, "aws-cf-cd-a", "b"));
        assert!(!selects(&none, "aws-cf-cd-a", "c") && !selects(&none, "x", "y"));
        assert!(selects(&staging(1.0, None), "x", "y"));
        let some = staging(0.15, None);
        let count = (0..10_000).filter(|_| selects(&some, "x", "y")).count();
        assert!((1200..1800).contains(&count), "{count}");
        some.end();
        assert!(!selects(&some, "aws-cf-cd-a", "b"));
        let again = |digest| {
            Staging::new(Hosts::default(), some.options.clone(), digest, Some(&some)).has_ended()
        };
        assert!(again(1) && !again(2));
    }

    #[test]
    fn viewers_stay_on_their_side() {
        let times =
            Stickiness { idle: Duration::from_secs(300), maximum: Duration::from_secs(600) };
        let (all, none) = (staging(1.0, Some(times)), staging(0.0, Some(times)));
        let mut first = request("x", "y");
        let side = all.select(&mut first, at(1000));
        let cookie = side.cookie.expect("a cookie");
        assert_eq!(
            *cookie,
            "forebay-staging=staging.1000.1000; Path=/; Max-Age=300; HttpOnly; SameSite=Lax"
        );
        let with = |staging: &Staging, cookie: &str, seconds| {
            let mut request = request("cookie", &format!("a=b; {cookie}; c"));
            let side = staging.select(&mut request, at(seconds));
            assert_eq!(request.headers[header::COOKIE], "a=b; c");
            (side.is_staged, side.cookie.map(|cookie| cookie.to_str().expect("text").to_owned()))
        };
        let began = "forebay-staging=staging.1000.1000";
        assert_eq!(with(&none, began, 1010), (true, None));
        // It is used, so it lasts longer.
        let (is_staged, renewed) = with(&none, began, 1200);
        let renewed = renewed.expect("a cookie");
        assert!(is_staged && renewed.starts_with("forebay-staging=staging.1000.1200; "));
        assert!(with(&none, "forebay-staging=staging.1000.1200", 1499).0);
        let last = with(&none, "forebay-staging=staging.1000.1400", 1599);
        assert!(last.0 && last.1.expect("a cookie").contains("Max-Age=1;"));
        for ended in [
            ("forebay-staging=staging.1000.1000", 1300),
            ("forebay-staging=staging.1000.1500", 1600),
            ("forebay-staging=staging.2000.2000", 1999),
            ("forebay-staging=staging.1000", 1001),
            ("forebay-staging=other.1000.1000", 1001),
            ("forebay-staging=staging.1000.1000.1", 1001),
            ("forebay-staging=", 1001),
        ] {
            let (is_staged, cookie) = with(&none, ended.0, ended.1);
            assert!(!is_staged, "{ended:?}");
            assert!(cookie.expect("a cookie").starts_with("forebay-staging=primary."));
        }
        assert!(!with(&all, "forebay-staging=primary.1000.1000", 1010).0);
        let mut only = request("cookie", began);
        all.select(&mut only, at(1010));
        assert!(!only.headers.contains_key(header::COOKIE));
    }
}
