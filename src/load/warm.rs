//! Warming: one request for every target.

use std::{
    io,
    num::NonZeroUsize,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use http::{HeaderMap, StatusCode, uri::PathAndQuery};
use parking_lot::Mutex;

use super::{
    Options,
    answer::{CacheResult, LoadResponse},
    exchange_error::ExchangeError,
    kept_connection::KeptConnection,
    lane::exchange,
    line::Line,
    prepare,
    rate_limit::RateLimit,
    requests::Requests,
    sender::Sender,
    target::Target,
    targets::Targets,
};

/// Maximum number of connections for warming before a measurement.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(16).expect("more than 0");

/// Connects once, to report at once a server that is down or does not support the protocol.
///
/// # Errors
/// When the connection fails.
pub(super) fn connect_once(options: &Options, line: &Line, stop: &AtomicBool) -> io::Result<()> {
    prepare(stop, line.try_out(options.timeout))
}

/// How to warm.
#[derive(Clone, Debug)]
pub(crate) struct WarmOptions {
    pub(crate) connections: NonZeroUsize,
    /// The most requests in a second, if there is a limit.
    pub(crate) rate: Option<f64>,
    /// Longest wait for a response.
    pub(crate) timeout: Duration,
    /// Header fields of every request.
    pub(crate) fields: HeaderMap,
}

/// The result of warming.
#[derive(Debug, Default)]
pub(crate) struct Warmed {
    /// Targets that were in the cache already.
    pub(crate) hits: usize,
    /// Targets that were fetched, or whose responses do not report a cache.
    pub(crate) fetched: usize,
    /// Bytes of content received.
    pub(crate) bytes: u64,
    /// Targets that failed, each with the reason, in the order in which they did.
    pub(crate) failed: Vec<(PathAndQuery, String)>,
    /// Targets that were not requested, because warming was interrupted.
    pub(crate) left: Vec<PathAndQuery>,
}

impl Warmed {
    /// The last failure, without the query: a signature is private.
    pub(super) fn trouble(&self) -> Option<String> {
        self.failed.last().map(|(path, reason)| format!("{}: {reason}", path.path()))
    }
}

/// Requests every target once before a measurement.
///
/// # Errors
/// When no target returns content, or `stop` is set.
pub(super) fn warm(
    options: &Options,
    line: &Line,
    targets: &Targets,
    stop: &AtomicBool,
) -> io::Result<Warmed> {
    let options = WarmOptions {
        connections: CONNECTIONS,
        rate: None,
        timeout: options.timeout,
        fields: options.fields.clone(),
    };
    let warmed = warm_all(&options, line, targets, stop, |_| {})?;
    if stop.load(Ordering::Relaxed) {
        return Err(super::interrupted());
    }
    if warmed.hits + warmed.fetched == 0 {
        let trouble = warmed.trouble().unwrap_or_else(|| "nothing was requested".into());
        return Err(io::Error::other(trouble));
    }
    Ok(warmed)
}

/// Requests every target once, until `stop` is set. `progress` gets the number of those that are done.
///
/// # Errors
/// When there is no runtime.
pub(crate) fn warm_all(
    options: &WarmOptions,
    line: &Line,
    targets: &Targets,
    stop: &AtomicBool,
    progress: impl Fn(usize),
) -> io::Result<Warmed> {
    let warming = Warming {
        options,
        line,
        targets: targets.all(),
        requests: Requests::plain(&options.fields, line, targets.server()),
        next: AtomicUsize::new(0),
        done: Mutex::new((0, Warmed::default())),
        progress,
    };
    let warmed = prepare(stop, warming.run());
    let (_, mut done) = warming.done.into_inner();
    match warmed {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
        _ => {}
    }
    let next = warming.next.into_inner().min(targets.len());
    done.left.extend(targets.all()[next..].iter().map(|target| target.path().clone()));
    Ok(done)
}

struct Warming<'a, P> {
    options: &'a WarmOptions,
    line: &'a Line,
    targets: &'a [Target],
    requests: Requests,
    next: AtomicUsize,
    /// The number of targets that are done, and the results.
    done: Mutex<(usize, Warmed)>,
    progress: P,
}

impl<P: Fn(usize)> Warming<'_, P> {
    async fn run(&self) -> io::Result<()> {
        let limit = self.options.rate.map(RateLimit::new);
        let count = self.options.connections.get().min(self.targets.len());
        let lanes = (0..count).map(|_| self.lane(limit.as_ref()));
        futures_util::future::join_all(lanes).await;
        Ok(())
    }

    async fn lane(&self, limit: Option<&RateLimit>) {
        let mut connection = KeptConnection::new(self.line, self.options.timeout);
        loop {
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(target) = self.targets.get(next) else { return };
            // If warming is interrupted, it is left for another time.
            let unfinished = Unfinished { warming: self, target };
            if let Some(limit) = limit {
                limit.wait().await;
            }
            let asked = connection.send(async |sender| self.ask(sender, target).await);
            let asked = tokio::time::timeout(self.options.timeout, asked).await;
            std::mem::forget(unfinished);
            self.record(target, asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())));
        }
    }

    fn record(&self, target: &Target, asked: io::Result<LoadResponse>) {
        let mut done = self.done.lock();
        let (count, warmed) = &mut *done;
        *count += 1;
        let reason = match asked {
            Ok(answer) if answer.status.is_success() => {
                warmed.bytes += answer.bytes;
                let is_hit = answer.cache == Some(CacheResult::Hit);
                *if is_hit { &mut warmed.hits } else { &mut warmed.fetched } += 1;
                None
            }
            Ok(answer) => Some(describe(answer.status)),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Some("the server did not answer in time".to_owned())
            }
            Err(error) => Some(error.to_string()),
        };
        warmed.failed.extend(reason.map(|reason| (target.path().clone(), reason)));
        (self.progress)(*count);
    }

    async fn ask(
        &self,
        sender: &mut Sender,
        target: &Target,
    ) -> Result<LoadResponse, ExchangeError> {
        let bytes = std::cell::Cell::new(0);
        let count = |more| bytes.set(bytes.get() + more);
        let answer = exchange(sender, self.requests.request(target), target, count).await?;
        Ok(LoadResponse { bytes: answer.bytes + bytes.get(), ..answer })
    }
}

fn describe(status: StatusCode) -> String {
    format!("the server answered {status}")
}

/// A target that is being requested. It is dropped only if warming is interrupted.
struct Unfinished<'a, 'b, P> {
    warming: &'a Warming<'b, P>,
    target: &'a Target,
}

impl<P> Drop for Unfinished<'_, '_, P> {
    fn drop(&mut self) {
        self.warming.done.lock().1.left.push(self.target.path().clone());
    }
}
