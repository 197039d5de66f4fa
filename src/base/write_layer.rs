//! Streams that add behavior to the writes of an inner stream.

use std::{
    io,
    task::{Context, Poll},
};

/// The additions of a stream to writes. `impl_async_write` derives `AsyncWrite` from it; by default the
/// layer adds nothing.
pub(crate) trait WriteLayer {
    /// Runs before each write, flush and shutdown, which wait until it is ready.
    fn before(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Called with the number of bytes of each write.
    fn after_write(
        &mut self,
        _cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        written
    }

    fn after_flush(
        &mut self,
        _cx: &mut Context<'_>,
        flushed: Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        flushed
    }

    fn after_shutdown(
        &mut self,
        _cx: &mut Context<'_>,
        shut: Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        shut
    }
}

/// Implements `AsyncWrite` for a [`WriteLayer`] over the stream in a field:
/// `impl_async_write!([S: AsyncWrite + Unpin] Layer<S>, stream)`.
macro_rules! impl_async_write {
    ([$($parameters:tt)*] $layer:ty, $($stream:tt)+) => {
        impl<$($parameters)*> tokio::io::AsyncWrite for $layer {
            fn poll_write(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bytes: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                use $crate::base::write_layer::WriteLayer as _;
                std::task::ready!(self.before(cx))?;
                let written = std::pin::Pin::new(&mut self.$($stream)+).poll_write(cx, bytes);
                self.after_write(cx, written)
            }

            fn poll_write_vectored(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                slices: &[std::io::IoSlice<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                use $crate::base::write_layer::WriteLayer as _;
                std::task::ready!(self.before(cx))?;
                let written = std::pin::Pin::new(&mut self.$($stream)+).poll_write_vectored(cx, slices);
                self.after_write(cx, written)
            }

            fn is_write_vectored(&self) -> bool {
                self.$($stream)+.is_write_vectored()
            }

            fn poll_flush(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                use $crate::base::write_layer::WriteLayer as _;
                std::task::ready!(self.before(cx))?;
                let flushed = std::pin::Pin::new(&mut self.$($stream)+).poll_flush(cx);
                self.after_flush(cx, flushed)
            }

            fn poll_shutdown(
                mut self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                use $crate::base::write_layer::WriteLayer as _;
                std::task::ready!(self.before(cx))?;
                let shut = std::pin::Pin::new(&mut self.$($stream)+).poll_shutdown(cx);
                self.after_shutdown(cx, shut)
            }
        }
    };
}

pub(crate) use impl_async_write;
