//! Everything once, before it counts.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::StatusCode;
use parking_lot::Mutex;
use tokio::runtime::Builder;

use super::{
    Mix, Options,
    lane::{Requests, exchange},
    line::Line,
    targets::Targets,
};

/// Connections that warm, at most.
const CONNECTIONS: usize = 16;

/// Asks for every target once.
///
/// # Errors
/// When the server cannot be reached, or none of them is answered with content.
pub(super) fn warm(options: &Options, line: &Line, targets: &Arc<Targets>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let plain = Options { mix: Mix::default(), ..options.clone() };
    let requests = Requests::new(&plain, line, targets);
    let warming =
        Warming { next: AtomicUsize::new(0), good: AtomicUsize::new(0), last: Mutex::default() };
    runtime.block_on(async {
        let lanes = (0..CONNECTIONS.min(targets.len()))
            .map(|_| warming.lane(options, line, targets, &requests));
        futures_util::future::join_all(lanes).await
    });
    if warming.good.into_inner() > 0 {
        return Ok(());
    }
    Err(io::Error::other(
        warming.last.into_inner().unwrap_or_else(|| "nothing was asked for".into()),
    ))
}

struct Warming {
    next: AtomicUsize,
    good: AtomicUsize,
    /// What became of the last request that failed.
    last: Mutex<Option<String>>,
}

impl Warming {
    async fn lane(&self, options: &Options, line: &Line, targets: &Targets, requests: &Requests) {
        let mut sender = None;
        while let Some(target) = targets.all().get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let one = async {
                let mut taken = match sender.take() {
                    Some(sender) => sender,
                    None => line.connect().await?,
                };
                let request = requests.request(targets, target);
                let answer =
                    exchange(&mut taken, request, target).await.map_err(io::Error::other)?;
                Ok::<_, io::Error>((taken.is_ready().await.then_some(taken), answer.status))
            };
            let trouble = match tokio::time::timeout(options.timeout, one).await {
                Ok(Ok((left, status))) => {
                    sender = left;
                    (status != StatusCode::OK).then(|| format!("the server answers {status}"))
                }
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("the server does not answer in time".into()),
            };
            match trouble {
                None => {
                    self.good.fetch_add(1, Ordering::Relaxed);
                }
                Some(trouble) => *self.last.lock() = Some(trouble),
            }
        }
    }
}
