//! A second configuration that serves a part of the requests, as in CloudFront's continuous deployment
//! (Amazon CloudFront Developer Guide, "Use CloudFront continuous deployment to safely test CDN configuration changes").

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    distribution::{Distribution, STAGED},
    hosts::Hosts,
};
use crate::{
    base::clock::Timestamp,
    http::cookies::{STAGING_COOKIE, staging_cookie},
};

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
    /// A part of the keys of what it stores. A staging configuration that was not in force meanwhile missed purges, so what it
    /// stored before is not found any more.
    pub(crate) generation: u64,
    has_ended: AtomicBool,
}

/// The side of a request.
#[derive(Debug, Default)]
pub(crate) struct Side {
    /// Whether the staging configuration serves it.
    pub(crate) is_staged: bool,
    /// The cookie that the viewer gets.
    pub(crate) cookie: Option<Box<HeaderValue>>,
}

/// What can select the side of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All that the options say.
    Full {
        /// Whether the viewer uses HTTPS, so that the cookie is for HTTPS only.
        https: bool,
    },
    /// All but chance: `explain` has the same answer each time.
    WithoutChance,
}

/// A viewer on one side, as the cookie says.
struct Session {
    is_staged: bool,
    /// Seconds since 1970.
    began: u64,
    seen: u64,
}

impl Staging {
    /// The generation of a staging configuration: that of the one in force, if it is the same.
    #[must_use]
    pub fn generation(digest: u64, in_force: Option<&Self>) -> u64 {
        let same = in_force.filter(|old| old.digest == digest);
        same.map_or_else(|| fastrand::u64(..), |old| old.generation)
    }

    /// A staging configuration, which has ended already if the same one has.
    #[must_use]
    pub fn new(
        hosts: Hosts,
        options: StagingOptions,
        (digest, generation): (u64, u64),
        old: Option<&Self>,
    ) -> Self {
        let has_ended = old.is_some_and(|old| old.digest == digest && old.has_ended());
        Self { hosts, options, digest, generation, has_ended: AtomicBool::new(has_ended) }
    }

    /// The distribution that serves a part of the requests to another one.
    pub(super) fn of(&self, primary: &str) -> Option<&Arc<Distribution>> {
        self.hosts.all().iter().find(|staged| {
            let id = staged.settings.id.strip_prefix(primary);
            id.is_some_and(|rest| rest == STAGED)
        })
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

    /// Selects the side of a request.
    pub(crate) fn select(&self, fields: &HeaderMap, now: Timestamp, selection: Selection) -> Side {
        if self.has_ended() {
            return Side::default();
        }
        if let Some((name, value)) = &self.options.header
            && fields.get_all(name).iter().any(|own| own == value)
        {
            return Side { is_staged: true, cookie: None };
        }
        let Some(stickiness) = &self.options.stickiness else {
            return Side { is_staged: self.draw(selection), cookie: None };
        };
        let now = now.as_millis() / 1000;
        let (idle, maximum) = (stickiness.idle.as_secs(), stickiness.maximum.as_secs());
        let is_current = |session: &Session| {
            session.began <= session.seen
                && session.seen <= now
                && now - session.seen < idle
                && now - session.began < maximum
        };
        let kept = staging_cookie(fields).and_then(Session::parse).filter(is_current);
        // The cookie is renewed only now and then.
        let is_recent = kept.as_ref().is_some_and(|session| now - session.seen < idle / 8);
        let session = match kept {
            Some(session) => Session { seen: now, ..session },
            None => Session { is_staged: self.draw(selection), began: now, seen: now },
        };
        let seconds = idle.min(session.began + maximum - now);
        let cookie = (!is_recent).then(|| session.cookie(seconds, selection)).flatten();
        Side { is_staged: session.is_staged, cookie: cookie.map(Box::new) }
    }

    fn draw(&self, selection: Selection) -> bool {
        selection != Selection::WithoutChance && fastrand::f64() < self.options.weight
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

    fn cookie(&self, seconds: u64, selection: Selection) -> Option<HeaderValue> {
        let side = if self.is_staged { "staging" } else { "primary" };
        let (began, seen) = (self.began, self.seen);
        let secure = if selection == (Selection::Full { https: true }) { "; Secure" } else { "" };
        let cookie = format!(
            "{STAGING_COOKIE}{side}.{began}.{seen}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
        );
        HeaderValue::try_from(cookie).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Selection = Selection::Full { https: false };

    fn staging(weight: f64, stickiness: Option<Stickiness>) -> Staging {
        let header = (HeaderName::from_static("aws-cf-cd-a"), HeaderValue::from_static("b"));
        let options =
            StagingOptions { weight, header: Some(header), stickiness, error_margin: 0.1 };
        Staging::new(Hosts::default(), options, (1, 1), None)
    }

    fn fields(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), value.parse().expect("a value"))])
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_header_field_or_the_weight_selects() {
        let selects = |staging: &Staging, name, value| {
            staging.select(&fields(name, value), at(1000), FULL).is_staged
        };
        let none = staging(0.0, None);
        assert!(selects(&none, "aws-cf-cd-a", "b"));
        assert!(!selects(&none, "aws-cf-cd-a", "c") && !selects(&none, "x", "y"));
        let all = staging(1.0, None);
        assert!(selects(&all, "x", "y"));
        assert!(!all.select(&fields("x", "y"), at(1), Selection::WithoutChance).is_staged);
        let some = staging(0.15, None);
        let count = (0..10_000).filter(|_| selects(&some, "x", "y")).count();
        assert!((1200..1800).contains(&count), "{count}");
        some.end();
        assert!(!selects(&some, "aws-cf-cd-a", "b"));
        let again = |digest| {
            let (hosts, options) = (Hosts::default(), some.options.clone());
            let generation = Staging::generation(digest, Some(&some));
            let again = Staging::new(hosts, options, (digest, generation), Some(&some));
            (again.has_ended(), generation == 1)
        };
        assert_eq!((again(1), again(2)), ((true, true), (false, false)));
    }

    #[test]
    fn viewers_stay_on_their_side() {
        let times =
            Stickiness { idle: Duration::from_secs(300), maximum: Duration::from_secs(600) };
        let (all, none) = (staging(1.0, Some(times)), staging(0.0, Some(times)));
        let side = all.select(&fields("x", "y"), at(1000), FULL);
        let expected =
            "forebay-staging=staging.1000.1000; Path=/; Max-Age=300; HttpOnly; SameSite=Lax";
        assert_eq!(*side.cookie.expect("a cookie"), expected);
        let side = all.select(&fields("x", "y"), at(1000), Selection::Full { https: true });
        assert_eq!(*side.cookie.expect("a cookie"), format!("{expected}; Secure"));
        let with = |staging: &Staging, cookie: &str, seconds| {
            let fields = fields("cookie", &format!("a=b; {cookie}; c"));
            let side = staging.select(&fields, at(seconds), FULL);
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
    }
}
