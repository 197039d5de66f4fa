//! Sessions of browsers at the dashboard. A session begins with a token of the configuration.

use std::{collections::HashMap, net::IpAddr, num::NonZeroU32, time::Duration};

use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderValue, header, request::Parts};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::{
    access::restrict::{Rate, RateLimits, Rates},
    base::clock::Clock,
};

/// How long a session lasts.
pub(super) const LENGTH: Duration = Duration::from_secs(12 * 3600);

/// The most sessions at once. The oldest ends if there is one more.
const MOST: usize = 1000;

const COOKIE: &str = "forebay_session";

/// The digest of a secret. Comparing digests reveals nothing about the secrets.
type Hash = [u8; 32];

/// Sessions of browsers.
pub(super) struct Sessions {
    open: Mutex<HashMap<Hash, Session>>,
    attempts: RateLimits,
    clock: Clock,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    /// The uptime of the process when it began.
    began: Duration,
    /// The token that it began with.
    token: Hash,
}

impl Sessions {
    pub(super) fn new(clock: &Clock) -> Self {
        let number = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let rate = |n, burst| {
            Some(Rate { requests: number(n), per: Duration::from_secs(1), burst: number(burst) })
        };
        let attempts =
            RateLimits::new(Rates { per_client: rate(1, 10), total: rate(20, 100) }, clock);
        Self { open: Mutex::default(), attempts, clock: clock.clone() }
    }

    /// Counts an attempt to log in. Whether there were not too many.
    pub(super) fn admit(&self, client: IpAddr) -> bool {
        self.attempts.admit(client).is_ok()
    }

    /// Begins a session with a token. Returns the cookie; `None` if there is no randomness.
    pub(super) fn begin(&self, token: &str) -> Option<HeaderValue> {
        let mut secret = [0; 32];
        rand::fill(&mut secret).ok()?;
        let (id, now) = (URL_SAFE_NO_PAD.encode(secret), self.clock.uptime());
        let mut open = self.open.lock();
        open.retain(|_, session| !session.is_over(now));
        if open.len() >= MOST
            && let Some(oldest) = open.iter().min_by_key(|(_, it)| it.began).map(|(id, _)| *id)
        {
            open.remove(&oldest);
        }
        open.insert(hash(&id), Session { began: now, token: hash(token) });
        let seconds = LENGTH.as_secs();
        cookie(&format!("{COOKIE}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}"))
    }

    /// Ends the session of a request. Returns the cookie that removes it from the browser.
    pub(super) fn end(&self, request: &Parts) -> Option<HeaderValue> {
        if let Some(id) = session_id(request) {
            self.open.lock().remove(&hash(id));
        }
        cookie(&format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"))
    }

    /// The name of the token that the session of a request began with, if that is one of `tokens` still.
    pub(super) fn find(&self, request: &Parts, tokens: &[(String, String)]) -> Option<String> {
        let id = session_id(request).filter(|_| !tokens.is_empty())?;
        let session = self.open.lock().get(&hash(id)).copied()?;
        let known = tokens.iter().find(|(_, token)| hash(token) == session.token)?;
        (!session.is_over(self.clock.uptime())).then(|| known.0.clone())
    }
}

impl Session {
    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.began) >= LENGTH
    }
}

fn hash(secret: &str) -> Hash {
    Sha256::digest(secret).into()
}

fn cookie(text: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(text).ok()
}

/// The session in the cookies of a request.
fn session_id(request: &Parts) -> Option<&str> {
    let lines = request.headers.get_all(header::COOKIE).iter().filter_map(|it| it.to_str().ok());
    let mut pairs =
        lines.flat_map(|line| line.split(';')).filter_map(|it| it.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;

    fn with(cookie: &str) -> Parts {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        let pair = cookie.split(';').next().unwrap_or_default();
        parts.headers.insert(
            header::COOKIE,
            HeaderValue::try_from(format!("a=b; {pair}")).expect("a value"),
        );
        parts
    }

    #[test]
    fn a_session_lasts_as_long_as_its_token_and_twelve_hours() {
        let clock = Clock::manual(Timestamp::from_secs(1000));
        let sessions = Sessions::new(&clock);
        let cookie = sessions.begin("secret").expect("a cookie");
        let request = with(cookie.to_str().expect("text"));
        let tokens = [("ops".to_owned(), "secret".to_owned())];
        assert_eq!(sessions.find(&request, &tokens).as_deref(), Some("ops"));
        let changed = [("ops".to_owned(), "another".to_owned())];
        assert_eq!(sessions.find(&request, &changed), None);
        assert_eq!(sessions.find(&request, &[]), None);
        assert_eq!(sessions.find(&with("forebay_session=guessed"), &tokens), None);
        clock.advance(LENGTH);
        assert_eq!(sessions.find(&request, &tokens), None);
        let cookie = sessions.begin("secret").expect("a cookie");
        let request = with(cookie.to_str().expect("text"));
        sessions.end(&request);
        assert_eq!(sessions.find(&request, &tokens), None);
    }

    #[test]
    fn sessions_and_attempts_are_limited() {
        let clock = Clock::manual(Timestamp::from_secs(1000));
        let sessions = Sessions::new(&clock);
        let tokens = [("ops".to_owned(), "secret".to_owned())];
        let first = sessions.begin("secret").expect("a cookie");
        for _ in 0..1000 {
            clock.advance(Duration::from_secs(1));
            sessions.begin("secret");
        }
        let first = with(first.to_str().expect("text"));
        assert_eq!(sessions.find(&first, &tokens), None);
        assert_eq!(sessions.open.lock().len(), MOST);
        let client = IpAddr::from([192, 0, 2, 1]);
        assert_eq!((0..100).filter(|_| sessions.admit(client)).count(), 10);
        assert!(sessions.admit(IpAddr::from([192, 0, 2, 2])));
    }
}
