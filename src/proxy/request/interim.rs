//! Interim responses that wait to be sent on an HTTP/1.1 connection.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    task::Waker,
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;

use crate::proxy::response::head_sink::{append_map, append_status_line};

/// The most interim responses to one request, and bytes of them that wait. Further ones are dropped: they are only hints.
const MOST: u32 = 32;
const MOST_BYTES: usize = 16 << 10;

/// The interim responses of a connection. They are accepted while a request waits for its response.
#[derive(Default)]
pub(crate) struct Interim {
    /// Whether any are accepted. Read without the lock, because nearly always none are.
    is_open: AtomicBool,
    /// Whether any wait.
    is_waiting: AtomicBool,
    state: Mutex<State>,
    sender: AtomicWaker,
}

#[derive(Default)]
struct State {
    /// The request that they belong to, as the count of exchanges begun.
    exchange: Option<u32>,
    received: u32,
    text: Vec<u8>,
}

impl Interim {
    /// Accepts those to a request. `exchange` is the count of exchanges begun, with that of the request.
    pub(crate) fn open(&self, exchange: u32) {
        let mut state = self.state.lock();
        if state.exchange != Some(exchange) {
            *state = State { exchange: Some(exchange), ..State::default() };
        }
        self.is_open.store(true, Ordering::Release);
    }

    /// Accepts no more, because the final response follows. Those that wait are sent before it.
    pub(crate) fn close(&self) {
        if self.is_open.load(Ordering::Acquire) {
            self.is_open.store(false, Ordering::Release);
            self.state.lock().exchange = None;
        }
    }

    /// Adds a response to the request of an exchange, unless it has its final response.
    pub(crate) fn push(&self, exchange: u32, status: StatusCode, fields: &HeaderMap) {
        let mut state = self.state.lock();
        if state.exchange != Some(exchange) || state.received == MOST {
            return;
        }
        state.received += 1;
        let mut text = Vec::new();
        append_status_line(status, &mut text);
        append_map(fields, &mut text);
        text.extend_from_slice(b"\r\n");
        if state.text.len() + text.len() > MOST_BYTES {
            return;
        }
        state.text.append(&mut text);
        self.is_waiting.store(true, Ordering::Release);
        drop(state);
        self.sender.wake();
    }

    /// Wakes `sender` when there is text to send.
    pub(crate) fn register(&self, sender: &Waker) {
        if self.is_open.load(Ordering::Acquire) {
            self.sender.register(sender);
        }
    }

    /// Takes the text that waits.
    pub(crate) fn take(&self) -> Option<Bytes> {
        let is_waiting = self.is_waiting.load(Ordering::Acquire);
        is_waiting.then(|| {
            let mut state = self.state.lock();
            self.is_waiting.store(false, Ordering::Release);
            std::mem::take(&mut state.text).into()
        })
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    const HINTS: StatusCode = StatusCode::EARLY_HINTS;

    fn fields(link: String) -> HeaderMap {
        let link = HeaderValue::try_from(link).expect("a value");
        HeaderMap::from_iter([(header::LINK, link)])
    }

    fn taken(interim: &Interim) -> String {
        let text = interim.take().unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    #[test]
    fn only_a_request_that_waits_gets_them() {
        let interim = Interim::default();
        let push = |exchange| interim.push(exchange, HINTS, &fields(format!("<{exchange}>")));
        push(1);
        assert_eq!(taken(&interim), "");
        interim.open(1);
        push(1);
        push(2);
        assert_eq!(taken(&interim), "HTTP/1.1 103 Early Hints\r\nlink: <1>\r\n\r\n");
        assert_eq!(taken(&interim), "");
        push(1);
        interim.close();
        push(1);
        assert_eq!(taken(&interim), "HTTP/1.1 103 Early Hints\r\nlink: <1>\r\n\r\n");
        interim.open(2);
        push(1);
        push(2);
        assert_eq!(taken(&interim), "HTTP/1.1 103 Early Hints\r\nlink: <2>\r\n\r\n");
    }

    #[test]
    fn they_are_bounded() {
        let interim = Interim::default();
        interim.open(1);
        for _ in 0..100 {
            interim.push(1, HINTS, &fields("a".to_owned()));
        }
        assert_eq!(taken(&interim).matches("103").count(), 32);
        interim.open(2);
        for _ in 0..3 {
            interim.push(2, HINTS, &fields("a".repeat(10_000)));
        }
        assert_eq!(taken(&interim).matches("103").count(), 1);
    }
}
