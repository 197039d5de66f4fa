//! Hits that are answered at once: nothing to wait for, and no library between edge and socket.
//!
//! Everything is decided by what decides about other requests, too. Whatever takes more than memory
//! holds is left to [`Edge::handle`], which begins anew.

use std::{ops::Range, sync::Arc};

use http::{Method, StatusCode, request::Parts};

use super::{
    Connection, Edge, Rules,
    admit::{Ask, Route},
    answer::{Answer, Carried, Head, in_memory},
    arrival::Arrival,
    connection::HeldDistribution,
    dress::Dress,
    record::Exchange,
    respond::Served,
};
use crate::{
    body::Body,
    clock::{Stopwatch, Timestamp},
    policy::Reuse,
    store::{Found, Hold, StoredResponse},
};

/// The content of a hit, and its exchange, which is recorded when this is dropped.
pub struct Direct {
    _hold: Option<Hold>,
    response: Arc<StoredResponse>,
    /// Of the response's content.
    bytes: Range<usize>,
    exchange: Exchange,
}

impl Direct {
    /// What follows the head.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        let whole = self.response.content.bytes();
        whole.and_then(|whole| whole.get(self.bytes.clone())).unwrap_or_default()
    }

    /// So many bytes of the content were handed to the connection.
    pub fn has_sent(&mut self, bytes: usize) {
        self.exchange.has_sent(bytes as u64, self.bytes.len() as u64);
    }
}

/// A hit, before it becomes a message.
pub(super) struct AtOnce {
    pub(super) answer: Answer,
    pub(super) distribution: HeldDistribution,
    pub(super) dress: Option<Dress>,
}

impl Edge {
    /// Answers a GET without content at once, where all that it takes is in memory: appends the head of
    /// the answer, as HTTP/1.1 writes it, to an empty `head`. Else nothing has happened.
    pub fn answer_directly(
        self: &Arc<Self>,
        request: Parts,
        connection: &Arc<Connection>,
        head: &mut Vec<u8>,
    ) -> Option<Direct> {
        let (watch, now) = (Stopwatch::start(), self.clock.now());
        let rules = self.rules.load();
        let arrival = Arrival::new(&rules, connection, request, now);
        let AtOnce { answer, distribution, dress } = self.at_once(&rules, &arrival)?;
        let Head::Stored(stored) = answer.head else { return None };
        let (bytes, hold) = match answer.content {
            Carried::InMemory(hold) => (in_memory(&stored.bytes()), Some(hold)),
            Carried::Body(body) if http_body::Body::is_end_stream(&body) => (0..0, None),
            Carried::Body(_) => return None,
        };
        let mut exchange = Exchange::at_once(self, arrival, watch);
        let told = (bytes.len() as u64, answer.result, answer.report);
        exchange.write_head(&stored, told, distribution, dress.as_ref(), head);
        stored.response.content.load_ahead();
        Some(Direct { _hold: hold, response: stored.response, bytes, exchange })
    }

    /// The answer to a request without content, where it is a hit and all that it takes is in memory.
    pub(super) fn at_once(self: &Arc<Self>, rules: &Rules, arrival: &Arrival) -> Option<AtOnce> {
        let route = Route::of(rules, &arrival.request).ok()?;
        let (distribution, behavior) = (route.distribution, route.behavior()?);
        // What counts, and what is dear, must not be done twice.
        if distribution.limits.is_some() || behavior.trusted.is_some() {
            return None;
        }
        let dress = Dress::of(behavior, &arrival.request);
        let ask = route.admit(rules, arrival, &Body::empty()).ok()?;
        let answer = self.from_memory(&ask, arrival.at)?;
        let distribution = arrival.connection.hold(distribution);
        Some(AtOnce { answer, distribution, dress })
    }

    fn from_memory(self: &Arc<Self>, ask: &Ask<'_>, now: Timestamp) -> Option<Answer> {
        let wish = ask.wish();
        if *ask.method != Method::GET || !ask.is_cacheable() || wish.no_store {
            return None;
        }
        let (_, Found::Response(response)) = self.find(ask, now) else { return None };
        let is_fresh = wish.decide(Some(&response.freshness), now) == Reuse::Fresh;
        if !is_fresh || response.status != StatusCode::OK {
            return None;
        }
        match self.serve_hit(ask, response, now) {
            // Errors may be given a page in their place.
            Served::Now(answer) => {
                answer.ok().filter(|answer| matches!(answer.head, Head::Stored(_)))
            }
            Served::Later(_) => None,
        }
    }
}
