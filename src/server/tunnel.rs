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
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy, split},
    time::{Instant, sleep_until, timeout},
};

use crate::proxy::Ends;

/// The longest wait for the last bytes to a viewer.
const CLOSING: Duration = Duration::from_secs(1);

/// Carries bytes between a viewer and an origin until both have closed, the origin is silent for too long, or `cut`
/// completes.
pub(super) async fn carry<S>(viewer: S, ends: Ends, cut: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut tunnel, mut exchange) = ends;
    let heard = Arc::new(Heard { bytes: AtomicU64::new(0), last: Mutex::new(Instant::now()) });
    let silence = heard.silence(tunnel.idle_timeout);
    let (from_viewer, mut to_viewer) = split(viewer);
    let (from_origin, mut to_origin) = split(&mut tunnel.stream);
    let mut from_viewer = Side { stream: from_viewer, heard: None };
    let mut from_origin = Side { stream: from_origin, heard: Some(Arc::clone(&heard)) };
    let carried = async {
        // An origin that takes no more may still have sent something.
        let upstream = async {
            let _ = copy(&mut from_viewer, &mut to_origin).await;
            let _ = to_origin.shutdown().await;
            Ok(())
        };
        let downstream = async {
            copy(&mut from_origin, &mut to_viewer).await?;
            to_viewer.shutdown().await
        };
        tokio::try_join!(upstream, downstream)
    };
    let is_complete = tokio::select! {
        carried = carried => carried.is_ok(),
        () = silence => {
            exchange.cut("tunnel-idle");
            false
        }
        () = cut => {
            exchange.cut("drain");
            false
        }
    };
    // A viewer that is gone needs no end.
    let _ = timeout(CLOSING, to_viewer.shutdown()).await;
    exchange.ended(heard.bytes.load(Ordering::Relaxed), is_complete);
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

/// The receiving half of a connection.
struct Side<S> {
    stream: S,
    heard: Option<Arc<Heard>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Side<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match ready!(Pin::new(&mut self.stream).poll_read(cx, buffer)) {
            // Many programs end a connection without ending TLS.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            read => read?,
        }
        if let Some(heard) = &self.heard {
            let bytes = buffer.filled().len() - before;
            heard.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            *heard.last.lock() = Instant::now();
        }
        Poll::Ready(Ok(()))
    }
}
