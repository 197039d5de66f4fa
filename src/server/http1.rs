//! HTTP/1.1 connections.
//!
//! The connection answers hits itself and lends its stream to hyper for everything else. An idle connection takes it
//! back from hyper, and then holds no buffers.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, future::FusedFuture};
use http::{HeaderValue, Request, Response, header};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::Instant,
};

use super::{
    Closing, Handler, MAX_HEAD,
    connection::{Server, received, until_drained},
    fast_path::FastPath,
    h1_head::MAX_FIELDS,
    http1_end::Http1End,
    lent_io::LentIo,
    loan::Loan,
    refused_head::{self, Refused},
    rewound::Rewound,
    tunnel::carry,
};
use crate::{
    base::{
        clock::Clock,
        log::{LogLimiter, unless_zero},
    },
    http::body::Body,
    proxy::{Connection, Switched},
};

/// A connection takes its stream back from hyper when no request has begun for one to two times this long. Doing so
/// after every request would cost 20 % more CPU time for requests that hyper serves.
const IDLE: Duration = Duration::from_secs(1);

/// How a connection begins that speaks HTTP/2 (RFC 9113 §3.4). No method of HTTP/1.1 begins like this.
const HTTP2: &[u8] = b"PRI ";

/// How a TLS handshake begins (RFC 8446 §5.1).
const TLS: &[u8] = &[22, 3];

impl<H: Handler> Server<H> {
    pub(super) async fn speak_http1<S>(
        &self,
        stream: S,
        connection: Arc<Connection>,
    ) -> io::Result<Http1End<S>>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (handler, closing) = (self.handler.clone(), self.shared.drain.closing());
        let mut fast_path = FastPath::new(stream, handler, Arc::clone(&connection), closing);
        let mut drained = pin!(self.drained().fuse());
        while !drained.is_terminated() {
            let next = tokio::select! {
                biased;
                next = poll_fn(|cx| fast_path.poll_next(cx)) => match next {
                    // An idle connection ends with a timeout or however the viewer closes it.
                    Err(_) if !fast_path.is_sending() => None,
                    next => next?,
                },
                () = &mut drained => None,
            };
            let Some(handed_over) = next else { break };
            if connection.exchanges.begun() == 0 && handed_over.bytes.starts_with(HTTP2) {
                return Ok(Http1End::IsHttp2(fast_path.stream, handed_over.bytes));
            }
            let loan = Loan::default();
            let lent = LentIo::new(fast_path, handed_over, loan.clone(), Arc::clone(&connection));
            let returned = Box::pin(self.lend(lent, loan, &connection, drained.as_mut())).await?;
            let Some(returned) = returned else { return Ok(Http1End::Closed) };
            fast_path = returned;
        }
        poll_fn(|cx| fast_path.poll_sent(cx)).await?;
        fast_path.stream.shutdown().await?;
        Ok(Http1End::Closed)
    }

    /// Lends the stream to hyper until it is idle. Returns it unless hyper closed it.
    async fn lend<S>(
        &self,
        lent: LentIo<S, H>,
        loan: Loan<H::Decided>,
        connection: &Arc<Connection>,
        mut drained: Pin<&mut impl FusedFuture<Output = ()>>,
    ) -> io::Result<Option<FastPath<S, H>>>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let exchanges = &connection.exchanges;
        let mut builder = http1::Builder::new();
        // TimedIo enforces the timeouts: it distinguishes idle connections from slow heads.
        builder.header_read_timeout(None);
        builder.max_buf_size(MAX_HEAD as usize).max_headers(MAX_FIELDS);
        // RFC 9112 §9.6: a viewer may close its sending side and still read the response.
        builder.half_close(true);
        let closing = self.shared.drain.closing();
        let (handler, on, state) = (self.handler.clone(), Arc::clone(connection), loan.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            if !request.body().is_end_stream() {
                state.set_has_content();
            }
            let (closing, decided, state) = (closing.clone(), state.take_decided(), state.clone());
            let answer = handler.handle(received(request), decided, &on);
            answer.map(move |response| {
                Ok::<_, Infallible>(settle_connection(response, &state, &closing))
            })
        });
        let mut served = builder.serve_connection(TokioIo::new(lent), service);
        let (mut look, mut begun) = (pin!(tokio::time::sleep(IDLE)), exchanges.begun());
        let mut is_idle = |cx: &mut Context<'_>| {
            while look.as_mut().poll(cx).is_ready() {
                if loan.is_over(exchanges) && exchanges.begun() == begun {
                    return true;
                }
                begun = exchanges.begun();
                look.as_mut().reset(Instant::now() + IDLE);
            }
            false
        };
        let answered =
            |served: Pin<&mut http1::Connection<_, _>>, cx: &mut Context<'_>| match Future::poll(
                served, cx,
            ) {
                Poll::Ready(ended) => Poll::Ready(ended.map(|()| false)),
                Poll::Pending if is_idle(cx) => Poll::Ready(Ok(true)),
                Poll::Pending => Poll::Pending,
            };
        let shut = |served: Pin<&mut http1::Connection<_, _>>| served.graceful_shutdown();
        let answered = until_drained(Pin::new(&mut served), drained.as_mut(), answered, shut).await;
        match answered {
            Ok(true) => {
                let parts = served.into_parts();
                Ok(Some(parts.io.into_inner().into_fast_path(&parts.read_buf)))
            }
            Ok(false) => {
                let switched = loan.take_switched().filter(|_| !drained.is_terminated());
                if let Some(switched) = switched {
                    let http1::Parts { io, read_buf, .. } = served.into_parts();
                    let (stream, first) = io.into_inner().into_stream(&read_buf);
                    drop(read_buf);
                    Box::pin(carry(Rewound::new(first, stream), switched, drained)).await;
                }
                Ok(None)
            }
            Err(error) => Err(self.refused(error, &loan, connection)),
        }
    }

    fn report_tls(&self, client: IpAddr) {
        static LINES: LogLimiter = LogLimiter::new();
        self.shared.metrics.handshake_failed("on a plain port");
        if let Some(suppressed) = LINES.admit(Clock::system().now()) {
            tracing::warn!(
                %client,
                suppressed = unless_zero(suppressed),
                "a client speaks TLS on a port for plain HTTP: use http:// instead of https://, or the port of `listen.https`"
            );
        }
    }

    /// Logs a head that hyper refused. Returns the error of the connection.
    fn refused(
        &self,
        error: hyper::Error,
        loan: &Loan<H::Decided>,
        connection: &Arc<Connection>,
    ) -> io::Error {
        let head = loan.take_head(connection.exchanges.begun());
        // Idle connections also end with a timeout.
        let is_silent = |refused: &Refused| refused.status == 0 && head.is_empty();
        if let Some(mut refused) = Refused::of(&error).filter(|refused| !is_silent(refused)) {
            if self.tls.is_none() && head.starts_with(TLS) {
                refused.detail = "tls-on-plain-port";
                self.report_tls(connection.client);
            }
            self.handler.log_refused(refused_head::read(&head), refused, connection);
        }
        self.judge(error)
    }
}

/// Records whether a response switches protocols. If not, and the process stops, it closes the connection.
fn settle_connection<D>(
    mut response: Response<Body>,
    loan: &Loan<D>,
    closing: &Closing,
) -> Response<Body> {
    if let Some(ends) = Switched::take_from(&mut response) {
        loan.set_switched(ends);
    } else if closing.is_set() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
