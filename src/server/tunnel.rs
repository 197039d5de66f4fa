//! A viewer's connection that no longer speaks HTTP: bytes go to the origin and back, unread.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional},
    time::{Instant, Sleep, sleep, timeout},
};

use crate::{
    base::write_layer::{WriteLayer, impl_async_write},
    proxy::Ends,
};

/// The longest wait for the last bytes to a viewer.
const CLOSING: Duration = Duration::from_secs(1);

/// Carries bytes between a viewer and an origin until both have closed, the origin is silent for too long, or `cut`
/// completes.
pub(super) async fn carry<S>(viewer: S, ends: Ends, cut: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut tunnel, exchange) = ends;
    let idle_timeout = Some(tunnel.idle_timeout);
    let (mut viewer, mut origin) =
        (Side::new(viewer, None), Side::new(&mut tunnel.stream, idle_timeout));
    let is_complete = tokio::select! {
        copied = copy_bidirectional(&mut viewer, &mut origin) => {
            copied.map_or_else(|error| was_closed(&error), |_| true)
        }
        () = cut => false,
    };
    // A viewer that is gone needs no end.
    let _ = timeout(CLOSING, viewer.shutdown()).await;
    exchange.ended(origin.bytes, is_complete);
}

/// Whether an end was closed rather than cut here.
fn was_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// One side of a tunnel.
struct Side<S> {
    stream: S,
    /// Bytes received.
    bytes: u64,
    /// The longest wait for a byte, and when it ends.
    limit: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl<S> Side<S> {
    fn new(stream: S, limit: Option<Duration>) -> Self {
        let limit = limit.map(|limit| (limit, Box::pin(sleep(limit))));
        Self { stream, bytes: 0, limit }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Side<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {}
            // Many programs end a connection without ending TLS.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {
                if let Some((_, end)) = &mut this.limit {
                    ready!(end.as_mut().poll(cx));
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                return Poll::Pending;
            }
        }
        this.bytes += (buffer.filled().len() - before) as u64;
        if let Some((limit, end)) = &mut this.limit {
            end.as_mut().reset(Instant::now() + *limit);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> WriteLayer for Side<S> {}

impl_async_write!([S: AsyncWrite + Unpin] Side<S>, stream);
