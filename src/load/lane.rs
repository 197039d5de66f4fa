//! One request after the other on a connection.

use std::{error::Error, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinSet};

use super::{
    Failure, Phase, Run,
    answer::{Answer, Known, is_hit},
    line::Sender,
    pace::Pace,
    requests::Requests,
    tally::Tally,
    targets::Target,
};

/// How long nobody connects anew where a connection was of no use.
const PAUSE: Duration = Duration::from_millis(100);

/// How long nobody asks anew where the server refused a request unread.
const BREATH: Duration = Duration::from_millis(1);

/// What the lanes of a thread share.
struct Work {
    run: Arc<Run>,
    tally: Arc<Mutex<Tally>>,
    requests: Requests,
    /// `None` in a closed loop.
    pace: Option<Pace>,
}

/// Asks on a thread's connections until the run is over.
///
/// # Errors
/// When there is no timer for a constant rate.
pub(super) async fn all(
    run: &Arc<Run>,
    tally: &Arc<Mutex<Tally>>,
    thread: usize,
) -> io::Result<()> {
    let deal = run.deal(thread);
    let pace = run.options.rate.map(|rate| Pace::new(rate, run.options.until, deal)).transpose()?;
    let requests = Requests::new(&run.options, &run.line, &run.targets);
    let work = Arc::new(Work { run: Arc::clone(run), tally: Arc::clone(tally), requests, pace });
    let mut connections = JoinSet::new();
    for _ in 0..deal.connections() {
        connections.spawn(Arc::clone(&work).connection());
    }
    let mut phase = run.phase.clone();
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => {}
        _ = phase.wait_for(|phase| matches!(phase, Phase::Abandoned(_))) => {}
    }
    if let Some(pace) = &work.pace {
        let (mut tally, end) = (tally.lock(), run.end());
        for waited in pace.never_taken(end) {
            tally.fail(Failure::Unsent, None, Some(waited));
        }
    }
    Ok(())
}

/// Why a lane asks no more.
enum Ended {
    /// No request is left.
    Over,
    /// Its connection takes no more.
    Gone {
        /// Whether it gave any answer.
        answered: bool,
    },
}

/// Changes when the run is over.
type Over = watch::Receiver<Phase>;

impl Work {
    /// Keeps a connection open until the run is over.
    async fn connection(self: Arc<Self>) {
        let mut over = self.run.phase.clone();
        while !self.run.is_over() {
            let connected = tokio::select! {
                connected = self.run.line.connect(self.run.options.timeout) => connected,
                _ = over.changed() => return,
            };
            let answered = match connected {
                Ok(sender) => match Arc::clone(&self).ask_on(sender).await {
                    Ended::Over => return,
                    Ended::Gone { answered } => answered,
                },
                Err(error) => {
                    // A request is lost with it, when one is due.
                    if self.next(&mut over).await.is_none() {
                        return;
                    }
                    self.tally.lock().fail(Failure::Connect, Some(&error), None);
                    false
                }
            };
            if !answered {
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    _ = over.changed() => return,
                }
            }
        }
    }

    /// Asks on all lanes of a connection until none asks any more.
    async fn ask_on(self: Arc<Self>, sender: Sender) -> Ended {
        let mut lanes = JoinSet::new();
        for sender in sender.shared(self.run.line.streams(self.run.options.streams.get())) {
            lanes.spawn(Arc::clone(&self).ask(sender));
        }
        let (mut over, mut any) = (false, false);
        while let Some(ended) = lanes.join_next().await {
            match ended {
                Ok(Ended::Gone { answered }) => any |= answered,
                // What panicked has said so.
                Ok(Ended::Over) | Err(_) => over = true,
            }
        }
        if over { Ended::Over } else { Ended::Gone { answered: any } }
    }

    /// Asks until the run is over or the connection takes no more.
    async fn ask(self: Arc<Self>, mut sender: Sender) -> Ended {
        let Run { watch, targets, options, .. } = &*self.run;
        let (mut over, mut closed) = (self.run.phase.clone(), sender.closed());
        let mut answered = false;
        while sender.is_ready().await {
            let due = tokio::select! {
                biased;
                due = self.next(&mut over) => due,
                _ = closed.changed() => break,
            };
            let Some(due) = due else { return Ended::Over };
            let target = targets.next();
            let exchange = exchange(&mut sender, self.requests.request(target), target);
            let ended = tokio::time::timeout(options.timeout, exchange).await;
            let waited = watch.elapsed().saturating_sub(due);
            match ended {
                Ok(Ok(answer)) => {
                    answered = true;
                    self.tally.lock().answer(&answer, waited);
                }
                Ok(Err(error)) if is_unread(&error) => {
                    self.give_back(due);
                    tokio::time::sleep(BREATH).await;
                }
                Ok(Err(error)) => self.tally.lock().fail(Failure::Cut, Some(&error), None),
                Err(_) => self.tally.lock().fail(Failure::Timeout, None, Some(waited)),
            }
        }
        Ended::Gone { answered }
    }

    /// When the next request is due, as soon as it is; `None` when there is none left.
    async fn next(&self, over: &mut Over) -> Option<Duration> {
        let watch = self.run.watch;
        match &self.pace {
            None => self.run.take().then(|| watch.elapsed()),
            Some(pace) => tokio::select! {
                biased;
                _ = over.changed() => None,
                due = pace.take(watch) => due,
            },
        }
    }

    /// Leaves a request to whoever is free: the server has not read it.
    fn give_back(&self, due: Duration) {
        match &self.pace {
            None => self.run.give_back(),
            Some(pace) => pace.give_back(due),
        }
    }
}

/// Whether the server has not read the request, so that it is asked anew: it had closed the connection,
/// goes away gracefully, or refused the stream (RFC 9113 §8.7).
fn is_unread(error: &hyper::Error) -> bool {
    let reason = error.source().and_then(|cause| cause.downcast_ref()).and_then(h2::Error::reason);
    error.is_canceled() || matches!(reason, Some(h2::Reason::NO_ERROR | h2::Reason::REFUSED_STREAM))
}

pub(super) async fn exchange(
    sender: &mut Sender,
    request: Request<Empty<Bytes>>,
    target: &Target,
) -> hyper::Result<Answer> {
    let (head, mut body) = sender.send(request).await?.into_parts();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    if target.known.get().is_none()
        && let Some(known) = Known::of(head.status, &head.headers)
    {
        // Whoever was first has told the same.
        let _ = target.known.set(known);
    }
    Ok(Answer { status: head.status, bytes, hit: is_hit(&head.headers) })
}
