//! A budget for the control frames of an HTTP/2 connection.
//!
//! SETTINGS, PING, WINDOW_UPDATE, PRIORITY, RST_STREAM, empty DATA and unknown frames cost their sender nothing
//! and the server work (CVE-2019-9512 and its relatives). Requests and what is sent in response earn budget,
//! so no client that uses HTTP/2 for anything runs out of it.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use crate::base::write_layer::{WriteLayer, impl_async_write};

/// Control frames that a connection may send before it has earned any.
const INITIAL: i64 = 1000;

/// Cap on the accumulated budget.
const MAX_BUDGET: i64 = 4000;

/// Budget credited for each HEADERS frame. Viewers send a few frames with each, such as PRIORITY_UPDATE.
const PER_REQUEST: i64 = 16;

/// Bytes of a response that earn one frame: viewers open their windows with WINDOW_UPDATE.
const BYTES_PER_FRAME: u64 = 1024;

/// Frames earned each second, for the PINGs of idle connections.
const PER_SECOND: u64 = 10;

/// Control frames read before the connection yields to other tasks.
const PER_TURN: u32 = 64;

/// RFC 9113 §5.4.1 and §7: GOAWAY with ENHANCE_YOUR_CALM, for the whole connection.
pub(super) const ENHANCE_YOUR_CALM: [u8; 17] =
    [0, 0, 8, 0x7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0xb];

/// Whether a connection has run out of its budget.
#[derive(Clone, Debug, Default)]
pub(super) struct Exhausted(Arc<AtomicBool>);

impl Exhausted {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts the frames read from `stream`, and fails reads when there are too many.
pub(super) struct FrameBudget<S> {
    stream: S,
    scanner: Scanner,
    left: i64,
    /// Bytes written that have not earned a frame yet.
    unearned: u64,
    earned_at: Instant,
    /// Control frames read since the last yield.
    in_turn: u32,
    exhausted: Exhausted,
}

impl<S> FrameBudget<S> {
    pub(super) fn new(stream: S, exhausted: Exhausted) -> Self {
        Self {
            stream,
            scanner: Scanner::default(),
            left: INITIAL,
            unearned: 0,
            earned_at: Instant::now(),
            in_turn: 0,
            exhausted,
        }
    }

    fn earn(&mut self, frames: i64) {
        self.left = self.left.saturating_add(frames).min(MAX_BUDGET);
    }

    /// Counts the frames of a read. Once the budget is exhausted it counts nothing, because all reads are discarded.
    fn spend(&mut self, read: &[u8]) -> io::Result<()> {
        if self.exhausted.is_set() {
            return Ok(());
        }
        let FrameCounts { requests, controls } = self.scanner.scan(read);
        self.earn(i64::from(requests) * PER_REQUEST);
        self.in_turn += controls;
        self.left -= i64::from(controls);
        if self.left >= 0 {
            return Ok(());
        }
        self.earn_by_time();
        if self.left >= 0 {
            return Ok(());
        }
        self.exhausted.0.store(true, Ordering::Relaxed);
        Err(io::Error::other("too many HTTP/2 control frames"))
    }

    fn earn_by_time(&mut self) {
        let elapsed = self.earned_at.elapsed();
        let earned = elapsed.as_millis() * u128::from(PER_SECOND) / 1000;
        if earned > 0 {
            self.earned_at += Duration::from_millis(
                u64::try_from(earned).unwrap_or(u64::MAX) * 1000 / PER_SECOND,
            );
            self.earn(i64::try_from(earned).unwrap_or(MAX_BUDGET));
        }
    }

    fn wrote(&mut self, bytes: usize) {
        self.unearned += bytes as u64;
        let frames = self.unearned / BYTES_PER_FRAME;
        self.unearned %= BYTES_PER_FRAME;
        self.earn(i64::try_from(frames).unwrap_or(MAX_BUDGET));
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameBudget<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.in_turn >= PER_TURN {
            this.in_turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if read.is_pending() {
            this.in_turn = 0;
        }
        ready!(read)?;
        Poll::Ready(this.spend(&buffer.filled()[before..]))
    }
}

impl<S: AsyncWrite + Unpin> WriteLayer for FrameBudget<S> {
    fn after_write(
        &mut self,
        _cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.wrote(bytes);
        }
        written
    }
}

impl_async_write!([S: AsyncWrite + Unpin] FrameBudget<S>, stream);

/// Frames of a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct FrameCounts {
    requests: u32,
    controls: u32,
}

/// Finds frame heads in what a connection reads, however the reads cut them (RFC 9113 §3.4, §4.1).
#[derive(Debug)]
struct Scanner {
    /// Bytes of the preface or of a payload that have not arrived yet.
    skip: usize,
    head: [u8; 9],
    known: usize,
}

impl Default for Scanner {
    fn default() -> Self {
        const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        Self { skip: PREFACE.len(), head: [0; 9], known: 0 }
    }
}

impl Scanner {
    fn scan(&mut self, mut read: &[u8]) -> FrameCounts {
        let mut counted = FrameCounts::default();
        while !read.is_empty() {
            let skipped = self.skip.min(read.len());
            self.skip -= skipped;
            read = &read[skipped..];
            let taken = read.len().min(self.head.len() - self.known);
            self.head[self.known..self.known + taken].copy_from_slice(&read[..taken]);
            self.known += taken;
            read = &read[taken..];
            if self.known == self.head.len() {
                self.count(&mut counted);
            }
        }
        counted
    }

    fn count(&mut self, counted: &mut FrameCounts) {
        const PADDED: u8 = 0x8;
        let [a, b, c, kind, flags, ..] = self.head;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        match kind {
            // HEADERS; its CONTINUATIONs are bounded by the size of a head.
            0x1 => counted.requests += 1,
            0x9 => {}
            // DATA with content. A frame that may be padding only counts as empty.
            0x0 if length > 256 || (length > 0 && flags & PADDED == 0) => {}
            _ => counted.controls += 1,
        }
        (self.skip, self.known) = (length, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).expect("short").to_be_bytes();
        let head = [length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        [&head[..], &vec![0; payload]].concat()
    }

    #[test]
    fn frames_are_counted_however_reads_cut_them() {
        let frames = [
            frame(0x4, 0, 12),
            frame(0x1, 5, 300),
            frame(0x9, 4, 100),
            frame(0x0, 0, 20),
            frame(0x0, 1, 0),
            frame(0x0, 0, 0),
            frame(0x6, 0, 8),
            frame(0x8, 0, 4),
            frame(0x2, 0, 5),
            frame(0x3, 0, 4),
            frame(0xff, 0, 70_000),
        ];
        let bytes = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frames.concat()].concat();
        for cut in [1, 2, 7, 9, 1000, bytes.len()] {
            let mut scanner = Scanner::default();
            let mut all = FrameCounts::default();
            for read in bytes.chunks(cut) {
                let FrameCounts { requests, controls } = scanner.scan(read);
                all = FrameCounts {
                    requests: all.requests + requests,
                    controls: all.controls + controls,
                };
            }
            assert_eq!(all, FrameCounts { requests: 1, controls: 8 }, "cut at {cut}");
        }
    }

    #[test]
    fn requests_and_responses_earn_what_a_flood_spends() {
        let ping = frame(0x6, 0, 8);
        let budget = |before: &dyn Fn(&mut FrameBudget<()>)| {
            let mut budget = FrameBudget::new((), Exhausted::default());
            budget.scanner.skip = 0;
            before(&mut budget);
            (0..100_000).take_while(|_| budget.spend(&ping).is_ok()).count()
        };
        let nothing = budget(&|_| {});
        let initial = usize::try_from(INITIAL).expect("few");
        assert!((initial..initial + 100).contains(&nothing), "{nothing}");
        let requests = budget(&|budget| {
            for _ in 0..100 {
                assert!(budget.spend(&frame(0x1, 5, 10)).is_ok());
            }
        });
        assert!(requests >= initial + 1600, "{requests}");
        let sent = budget(&|budget| budget.wrote(1 << 20));
        assert!(sent >= initial + 1024, "{sent}");
        assert!(budget(&|budget| budget.wrote(1 << 30)) < 5000);
    }
}
