//! Lanes, which send one request after another on a connection.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinSet};

use super::{
    Failure, Phase, Run,
    answer::{Known, LoadResponse, cache_result},
    exchange_error::ExchangeError,
    pace::{Pace, Timer},
    request_kind::RequestKind,
    requests::Requests,
    sender::Sender,
    slot::Slot,
    tally::Tally,
    target::Target,
};

/// Delay before reconnecting after a connection failed or was useless.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that ends this soon was useless, unless it gave a response.
const SHORT: Duration = Duration::from_millis(20);

/// Content is counted in parts of this size while it arrives: few large objects complete within a run.
const PART: u64 = 256 << 10;

/// Delay before the next request when the server refuses one unread.
const BREATH: Duration = Duration::from_millis(1);

/// State that the lanes of a thread share.
struct Work {
    run: Arc<Run>,
    tally: Arc<Mutex<Tally>>,
    requests: Requests,
    /// For a constant rate.
    timer: Option<Timer>,
    /// Requests refused unread since the last response.
    unread: AtomicUsize,
    /// Refused requests beyond this number count as failures.
    most_unread: usize,
}

/// Sends requests on a thread's connections until the run is over.
///
/// # Errors
/// When the timer for a constant rate cannot be created.
pub(super) async fn all(
    run: &Arc<Run>,
    tally: &Arc<Mutex<Tally>>,
    thread: usize,
) -> io::Result<()> {
    let share = run.share(thread);
    let work = Arc::new(Work {
        run: Arc::clone(run),
        tally: Arc::clone(tally),
        requests: Requests::new(&run.options, &run.line, &run.targets),
        timer: run.pace.as_ref().map(|_| Timer::new()).transpose()?,
        unread: AtomicUsize::new(0),
        most_unread: 16 + 4 * share * run.streams(),
    });
    let mut connections = JoinSet::new();
    for _ in 0..share {
        connections.spawn(Arc::clone(&work).connection());
    }
    let mut phase = run.phase.clone();
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => {}
        // Requests in flight are dropped with the runtime and count as interrupted.
        _ = phase.wait_for(|phase| matches!(phase, Phase::Abandoned(_))) => {}
    }
    Ok(())
}

/// The outcome of a lane.
struct Ended {
    /// Number of the connection.
    connection: usize,
    /// Whether the connection took no more requests; otherwise none was left.
    gone: bool,
    answered: bool,
}

/// A receiver that changes when the run is over.
type Over = watch::Receiver<Phase>;

impl Work {
    /// Keeps a connection open while requests are left. Replaces one that takes no more requests while its last
    /// responses arrive.
    async fn connection(self: Arc<Self>) {
        let (mut over, mut lanes) = (self.run.phase.clone(), JoinSet::new());
        let mut number = 0;
        loop {
            if !self.is_left() {
                // Requests in flight may be given back.
                while lanes.join_next().await.is_some() {}
                if !self.is_left() {
                    return;
                }
            }
            let begun = self.run.watch.elapsed();
            let connected = tokio::select! {
                connected = self.run.line.connect(self.run.options.timeout) => connected,
                _ = over.changed() => {
                    self.never_connected(begun);
                    continue;
                }
            };
            number += 1;
            let answered = match connected {
                Ok(sender) => {
                    for sender in sender.shared(self.run.streams()) {
                        lanes.spawn(Arc::clone(&self).ask(sender, number));
                    }
                    until_gone(&mut lanes, number).await
                }
                Err(error) => {
                    self.not_connected(begun, &error);
                    false
                }
            };
            let is_short = self.run.watch.elapsed().saturating_sub(begun) < SHORT;
            if !answered && (is_short || lanes.is_empty()) && self.is_left() {
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    _ = over.changed() => {}
                }
            }
        }
    }

    /// Records a failed connection. A request that was due fails with it.
    fn not_connected(&self, begun: Duration, error: &io::Error) {
        let watch = self.run.watch;
        let due = match &self.run.pace {
            None => self.run.take().map(|_| begun),
            Some(pace) => pace.take_due(watch).map(|slot| slot.due),
        };
        if let Some(due) = due {
            let waited = watch.elapsed().saturating_sub(due);
            self.tally.lock().fail(Failure::Connect, Some(error), waited);
        }
    }

    /// Records a connection still missing at the end of the run. Requests with due times are reported anyway.
    fn never_connected(&self, begun: Duration) {
        let waited = self.run.watch.elapsed().saturating_sub(begun);
        if self.run.pace.is_none() && waited > PAUSE {
            let error = io::Error::other("not connected before the run ended");
            self.tally.lock().fail(Failure::Connect, Some(&error), waited);
        }
    }

    /// Whether requests are left to send.
    fn is_left(&self) -> bool {
        let now = self.run.watch.elapsed();
        !self.run.is_over(now) && self.run.pace.as_ref().map_or(self.run.is_left(), Pace::is_left)
    }

    /// Sends requests while some are left and the connection takes them.
    async fn ask(self: Arc<Self>, mut sender: Sender, connection: usize) -> Ended {
        let Run { watch, targets, options, .. } = &*self.run;
        let (mut over, mut closed) = (self.run.phase.clone(), sender.closed());
        let mut answered = false;
        while sender.is_ready().await {
            let slot = tokio::select! {
                biased;
                slot = self.next(&mut over) => slot,
                _ = closed.changed() => break,
            };
            let Some(slot) = slot else { return Ended { connection, gone: false, answered } };
            let due = slot.due;
            let under_way = UnderWay { work: &self, due };
            let target = targets.next(slot.number);
            let sent = if self.run.pace.is_some() { watch.elapsed() } else { due };
            let count = |bytes| self.tally.lock().bytes += bytes;
            let exchange = exchange(&mut sender, self.requests.request(target), target, count);
            let ended = tokio::time::timeout(options.timeout, exchange).await;
            std::mem::forget(under_way);
            let now = watch.elapsed();
            let waited = now.saturating_sub(due);
            let is_gone = matches!(&ended, Ok(Err(error)) if error.ends_connection());
            match ended {
                // A busy thread may see a response before it sees the timeout.
                Ok(Ok(_)) if now.saturating_sub(sent) > options.timeout => {
                    self.tally.lock().fail(Failure::Timeout, None, waited);
                }
                Ok(Ok(answer)) => {
                    answered = true;
                    self.unread.store(0, Ordering::Relaxed);
                    self.tally.lock().answer(&answer, waited);
                }
                Ok(Err(error)) if error.is_unread() => {
                    self.give_back(slot, &error);
                    if !is_gone {
                        tokio::time::sleep(BREATH).await;
                    }
                }
                Ok(Err(error)) if error.is_parse() && !self.run.line.is_encrypted() => {
                    let reason = format!("{error}; if the server expects TLS, use https://");
                    self.tally.lock().fail(Failure::Cut, Some(&io::Error::other(reason)), waited);
                }
                Ok(Err(error)) => self.tally.lock().fail(Failure::Cut, Some(&error), waited),
                Err(_) => self.tally.lock().fail(Failure::Timeout, None, waited),
            }
            if is_gone {
                break;
            }
        }
        Ended { connection, gone: true, answered }
    }

    /// Waits until the next request is due and returns its slot; `None` if none is left.
    async fn next(&self, over: &mut Over) -> Option<Slot> {
        let watch = self.run.watch;
        match (&self.run.pace, &self.timer) {
            (Some(pace), Some(timer)) => tokio::select! {
                biased;
                _ = over.changed() => None,
                slot = pace.take(timer, watch) => slot,
            },
            _ => self.run.take().map(|due| Slot { due, number: None }),
        }
    }

    /// Returns a request that the server has not read, so that a free lane sends it. If the server reads none
    /// at all, that is a failure.
    fn give_back(&self, slot: Slot, error: &ExchangeError) {
        if self.unread.fetch_add(1, Ordering::Relaxed) >= self.most_unread {
            let waited = self.run.watch.elapsed().saturating_sub(slot.due);
            return self.tally.lock().fail(Failure::Refused, Some(error), waited);
        }
        match &self.run.pace {
            None => self.run.give_back(),
            Some(pace) => pace.give_back(slot),
        }
    }
}

/// Waits until connection `number` takes no more requests or no lane is left. Returns whether it gave responses.
async fn until_gone(lanes: &mut JoinSet<Ended>, number: usize) -> bool {
    let mut any = false;
    while let Some(ended) = lanes.join_next().await {
        // A panic is already printed.
        let Ok(Ended { connection, gone, answered }) = ended else { continue };
        any |= answered;
        if gone && connection == number {
            break;
        }
    }
    any
}

/// A request in flight. It is dropped only if the run is interrupted.
struct UnderWay<'a> {
    work: &'a Work,
    due: Duration,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let waited = self.work.run.watch.elapsed().saturating_sub(self.due);
        self.work.tally.lock().fail(Failure::Interrupted, None, waited);
    }
}

/// Sends a request and reads the response to its end. For long content, `count` receives the bytes read so
/// far; the response has the rest.
pub(super) async fn exchange(
    sender: &mut Sender,
    (request, kind): (Request<Empty<Bytes>>, RequestKind),
    target: &Target,
    count: impl Fn(u64),
) -> Result<LoadResponse, ExchangeError> {
    let mut received = sender.send(request).await?;
    let mut bytes = 0;
    while let Some(more) = received.next().await? {
        bytes += more.len() as u64;
        if bytes >= PART {
            count(std::mem::take(&mut bytes));
        }
    }
    let head = received.head;
    if target.known.get().is_none()
        && let Some(known) = Known::of(head.status, &head.headers)
    {
        // If another response was first, it stored the same facts.
        let _ = target.known.set(known);
    }
    let cache = cache_result(&head.headers);
    let is_redirect = head.status.is_redirection() && head.status != StatusCode::NOT_MODIFIED;
    let location = is_redirect.then(|| head.headers.get(header::LOCATION).cloned()).flatten();
    Ok(LoadResponse { kind, status: head.status, bytes, cache, location })
}
