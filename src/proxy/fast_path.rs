//! The fast path: answers hits without the HTTP library.

use std::{ops::Range, sync::Arc};

use http::request::Parts;

use super::{
    context::Edge,
    decision::{Content, Decided, Decision},
    exchange::Exchange,
    request::{
        connection::Connection,
        incoming::{IncomingRequest, Purpose},
    },
    response::proxy_response::in_memory,
};
use crate::{
    base::clock::Stopwatch,
    cache::store::{Hold, StoredResponse},
};

/// The content of a hit, and its exchange, which is recorded on drop.
pub struct FastHit {
    _hold: Option<Hold>,
    response: Arc<StoredResponse>,
    /// The range of the response's content to send.
    bytes: Range<usize>,
    exchange: Exchange,
}

impl FastHit {
    /// The content that follows the head.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        let whole = self.response.content.bytes();
        whole.and_then(|whole| whole.get(self.bytes.clone())).unwrap_or_default()
    }

    /// Records that `bytes` bytes of the content were written to the connection.
    pub fn has_sent(&mut self, bytes: usize) {
        self.exchange.has_sent(bytes as u64, self.bytes.len() as u64);
    }
}

impl Edge {
    /// Answers a request without content if it is a hit served entirely from memory. Appends the HTTP/1.1 head of
    /// the response to an empty `head`.
    ///
    /// # Errors
    /// The decision for [`Edge::handle`], if the request is not such a hit.
    pub fn answer_fast(
        self: &Arc<Self>,
        request: Parts,
        connection: &Arc<Connection>,
        head: &mut Vec<u8>,
    ) -> Result<FastHit, Decided> {
        let (watch, now) = (Stopwatch::start(), self.clock.now());
        let rules = self.rules.load();
        let incoming = IncomingRequest::new(&rules, connection, request, now, Purpose::Serve);
        let hit = match self.decide(&rules, &incoming, Content::NONE) {
            Decision::Hit(hit) => hit,
            Decision::Pending(pending) => {
                return Err(Decided::new(incoming, watch, pending));
            }
        };
        let bytes = hit.hold.as_ref().map_or(0..0, |_| in_memory(&hit.head.bytes()));
        let mut exchange = Exchange::immediate(self, incoming, watch);
        let info = (bytes.len() as u64, hit.result, hit.report);
        exchange.write_head(&hit.head, info, hit.distribution, hit.headers_policy.as_ref(), head);
        hit.head.response.content.prefetch();
        Ok(FastHit { _hold: hit.hold, response: hit.head.response, bytes, exchange })
    }
}
