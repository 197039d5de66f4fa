//! A viewer's connection that no longer speaks HTTP: bytes go to the origin and back, unread.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional},
    time::{Instant, sleep_until},
};

use crate::{
    base::write_layer::{WriteLayer, impl_async_write},
    proxy::Switched,
};

/// Carries bytes between a viewer and an origin until both have closed, the origin is silent for too long, or `cut`
/// completes.
pub(super) async fn carry<S>(mut viewer: S, switched: Switched, cut: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some((mut tunnel, exchange)) = switched.ends() else { return };
    let heard = Arc::new(Heard { bytes: AtomicU64::new(0), last: Mutex::new(Instant::now()) });
    let silence = heard.silence(tunnel.idle_timeout);
    let mut origin = Listened { stream: &mut tunnel.stream, heard: Arc::clone(&heard) };
    let is_complete = tokio::select! {
        copied = copy_bidirectional(&mut viewer, &mut origin) => {
            copied.map_or_else(|error| was_closed(&error), |_| true)
        }
        () = silence => false,
        () = cut => false,
    };
    exchange.ended(heard.bytes.load(Ordering::Relaxed), is_complete);
}

/// Whether an end was closed rather than cut here. Many clients neither shut down TLS nor their side of a connection.
fn was_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// How much an origin has sent, and when it last did.
struct Heard {
    bytes: AtomicU64,
    last: Mutex<Instant>,
}

impl Heard {
    /// Completes when the origin has sent nothing for `limit`.
    async fn silence(&self, limit: Duration) {
        loop {
            let due = *self.last.lock() + limit;
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
    }
}

/// The connection to an origin, whose bytes are counted.
struct Listened<S> {
    stream: S,
    heard: Arc<Heard>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Listened<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let bytes = buffer.filled().len() - before;
        self.heard.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        *self.heard.last.lock() = Instant::now();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> WriteLayer for Listened<S> {}

impl_async_write!([S: AsyncWrite + Unpin] Listened<S>, stream);
