//! Warming: one request for every target before measuring.

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use http::StatusCode;
use parking_lot::Mutex;

use super::{
    Mix, Options,
    exchange_error::ExchangeError,
    lane::exchange,
    line::Line,
    prepare,
    requests::Requests,
    sender::Sender,
    targets::{Target, Targets},
};

/// Maximum number of connections for warming.
const CONNECTIONS: usize = 16;

/// Connects once, to report at once a server that is down or does not support the protocol.
///
/// # Errors
/// When the connection fails.
pub(super) fn connect_once(options: &Options, line: &Line, stop: &AtomicBool) -> io::Result<()> {
    prepare(stop, line.try_out(options.timeout))
}

/// The result of warming.
pub(super) struct Warmed {
    pub(super) failed: usize,
    /// The error of the last request that failed.
    pub(super) trouble: Option<String>,
}

/// Requests every target once.
///
/// # Errors
/// When no target returns content, or `stop` is set.
pub(super) fn warm(
    options: &Options,
    line: &Line,
    targets: &Targets,
    stop: &AtomicBool,
) -> io::Result<Warmed> {
    let plain = Options { mix: Mix::default(), ..options.clone() };
    let warming = Warming {
        timeout: options.timeout,
        line,
        targets,
        requests: Requests::new(&plain, line, targets),
        next: AtomicUsize::new(0),
        good: AtomicUsize::new(0),
        trouble: Mutex::default(),
    };
    prepare(stop, async {
        let lanes = (0..CONNECTIONS.min(targets.len())).map(|_| warming.lane());
        futures_util::future::join_all(lanes).await;
        Ok(())
    })?;
    let (good, trouble) = (warming.good.into_inner(), warming.trouble.into_inner());
    if good == 0 {
        return Err(io::Error::other(trouble.unwrap_or_else(|| "nothing was requested".into())));
    }
    Ok(Warmed { failed: targets.len() - good, trouble })
}

struct Warming<'a> {
    timeout: Duration,
    line: &'a Line,
    targets: &'a Targets,
    requests: Requests,
    next: AtomicUsize,
    good: AtomicUsize,
    trouble: Mutex<Option<String>>,
}

impl Warming<'_> {
    async fn lane(&self) {
        let mut sender = None;
        while let Some(target) = self.targets.all().get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let asked = tokio::time::timeout(self.timeout, self.ask(&mut sender, target)).await;
            let trouble = match asked {
                Ok(Ok(status)) if status.is_success() => None,
                Ok(Ok(status)) => Some(format!("the server answered {status}")),
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("the server did not answer in time".into()),
            };
            match trouble {
                None => drop(self.good.fetch_add(1, Ordering::Relaxed)),
                Some(trouble) => {
                    // Without the query: a signature is private.
                    *self.trouble.lock() = Some(format!("{}: {trouble}", target.path().path()));
                }
            }
        }
    }

    /// Sends a request on the kept connection, if any, and keeps the connection if it is still usable.
    /// A kept connection may have closed in the meantime: then a new one is opened.
    async fn ask(&self, kept: &mut Option<Sender>, target: &Target) -> io::Result<StatusCode> {
        if let Some(sender) = kept.take()
            && let Ok(status) = self.ask_on(sender, kept, target).await
        {
            return Ok(status);
        }
        let sender = self.line.connect(self.timeout).await?;
        self.ask_on(sender, kept, target).await.map_err(io::Error::other)
    }

    async fn ask_on(
        &self,
        mut sender: Sender,
        kept: &mut Option<Sender>,
        target: &Target,
    ) -> Result<StatusCode, ExchangeError> {
        let answer = exchange(&mut sender, self.requests.request(target), target, |_| {}).await?;
        *kept = sender.is_ready().await.then_some(sender);
        Ok(answer.status)
    }
}
