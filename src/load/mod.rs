//! Load for caches: many requests for what is stored, and how fast it comes.
//!
//! A run asks for its [`Targets`] over a number of lanes (connections, and with HTTP/2 streams on
//! them), either one request after the other on each (a closed loop) or at a constant rate, whatever
//! becomes of the answers (an open loop, whose latencies count from when a request was due, and in which
//! what was due and never sent counts, too: nothing is left out because a server stands still). Each
//! thread counts for itself; once a second what it counted is taken from it.

mod answer;
mod json;
mod lane;
mod line;
mod logged;
mod mix;
mod pace;
mod page;
mod plot;
mod report;
mod request_kind;
mod requests;
mod server;
mod sign;
mod tally;
mod targets;
mod warm;

use std::{
    io,
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use http::{HeaderMap, header};
pub use line::{Http, Line, Trust, TrustError};
pub use mix::Mix;
use pace::Pace;
use parking_lot::Mutex;
pub use report::Report;
pub(crate) use server::{Server, ServerError};
pub use sign::Signer;
use tally::Tally;
pub(crate) use tally::{Failure, Second};
pub use targets::{Pick, Targets};
use tokio::{runtime::Builder, sync::watch};

use crate::base::clock::{Clock, Stopwatch};

/// How long and how hard to ask.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads that ask; connections are spread over them.
    pub threads: NonZeroUsize,
    /// Connections open at once.
    pub connections: NonZeroUsize,
    /// Requests under way at once on each connection, with HTTP/2.
    pub streams: NonZeroUsize,
    /// Requests a second that become due, whatever becomes of the answers; `None` asks anew as soon as
    /// an answer is there.
    pub rate: Option<f64>,
    /// When to stop.
    pub until: Until,
    /// Longest time for an answer.
    pub timeout: Duration,
    /// Fields of every request.
    pub fields: HeaderMap,
    /// Ranges and conditions among the requests.
    pub mix: Mix,
    /// Whether everything is asked for once before it counts.
    pub warm: bool,
}

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After this time.
    Time(Duration),
    /// When so many requests were answered; at a constant rate, when so many would have been due.
    Requests(u64),
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Requests are begun.
    Asking,
    /// It is over since this moment: only answers are awaited.
    Ending(Duration),
    /// It is over since this moment, and nothing is awaited any more.
    Abandoned(Duration),
}

/// What all threads of a run share.
struct Run {
    options: Options,
    line: Line,
    targets: Targets,
    /// Since measuring began.
    watch: Stopwatch,
    /// Requests that may still be begun, in a closed loop.
    left: AtomicU64,
    /// `None` in a closed loop.
    pace: Option<Pace>,
    phase: watch::Receiver<Phase>,
}

impl Run {
    /// Whether no more is begun at `now`. Threads see the end for themselves: they are told of it a moment later.
    fn is_over(&self, now: Duration) -> bool {
        self.phase.has_changed().unwrap_or(true) || self.end().is_some_and(|end| now >= end)
    }

    /// Takes the right to one more request, in a closed loop; when that was.
    fn take(&self) -> Option<Duration> {
        let now = self.watch.elapsed();
        if self.is_over(now) {
            return None;
        }
        let is_left = match self.options.until {
            Until::Time(_) => true,
            Until::Requests(_) => {
                let one_less = |left: u64| left.checked_sub(1);
                self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
            }
        };
        is_left.then_some(now)
    }

    /// Whether there may be more, in a closed loop.
    fn is_left(&self) -> bool {
        self.left.load(Ordering::Relaxed) > 0
    }

    fn give_back(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }

    /// When the run is over, where that is known before.
    fn end(&self) -> Option<Duration> {
        self.options.end()
    }

    /// When it was over.
    fn ended(&self) -> Duration {
        match *self.phase.borrow() {
            Phase::Ending(at) | Phase::Abandoned(at) => at,
            Phase::Asking => self.end().unwrap_or_else(|| self.watch.elapsed()),
        }
    }

    fn threads(&self) -> usize {
        self.options.threads.get().min(self.options.connections.get())
    }

    /// How many requests may be under way on a connection.
    fn streams(&self) -> usize {
        self.line.streams(self.options.streams.get())
    }

    /// How many connections a thread has.
    fn share(&self, thread: usize) -> usize {
        (self.options.connections.get() - thread).div_ceil(self.threads())
    }
}

impl Options {
    /// When a run is over, where that is known before: at a constant rate it always is.
    fn end(&self) -> Option<Duration> {
        match (self.until, self.rate) {
            (Until::Time(time), _) => Some(time),
            #[expect(clippy::cast_precision_loss, reason = "no run has so many requests")]
            (Until::Requests(requests), Some(rate)) => {
                Some(Duration::try_from_secs_f64(requests as f64 / rate).unwrap_or(Duration::MAX))
            }
            (Until::Requests(_), None) => None,
        }
    }
}

/// How often what was counted is collected, and told.
const TICK: Duration = Duration::from_secs(1);

/// What is told while a run goes on.
#[derive(Clone, Copy, Debug)]
pub enum LoadEvent<'a> {
    /// So many URLs are being signed.
    Signing(usize),
    /// So many URLs are being asked for once.
    Warming(usize),
    /// Another second is over.
    Second(&'a Second),
    /// The last answers are awaited.
    Ending,
}

/// Asks, and tells how it goes; returns when the run is over, or soon after `stop` is set.
///
/// # Errors
/// When threads or timers cannot be started, or the server does not answer before anything is measured.
pub fn run(
    options: Options,
    line: Line,
    mut targets: Targets,
    stop: &AtomicBool,
    mut tell: impl FnMut(LoadEvent<'_>),
) -> io::Result<Report> {
    warm::connect_once(&options, &line, stop)?;
    if targets.is_signed() {
        tell(LoadEvent::Signing(targets.len()));
        targets.sign(options.fields.get(header::HOST), stop)?;
    }
    let mut warmed = None;
    if options.warm {
        tell(LoadEvent::Warming(targets.len()));
        warmed = Some(warm::warm(&options, &line, &targets, stop)?);
    }
    let left = match options.until {
        Until::Time(_) => u64::MAX,
        Until::Requests(requests) => requests,
    };
    let ((phases, phase), begun) = (watch::channel(Phase::Asking), Clock::system().now());
    let pace = options.rate.zip(options.end()).map(|(rate, end)| Pace::new(rate, end));
    let (watch, left) = (Stopwatch::start(), AtomicU64::new(left));
    let run = Arc::new(Run { options, line, targets, watch, left, pace, phase });
    let mut threads = Threads::start(&run)?;
    let mut report = Report::new(Arc::clone(&run), begun, warmed);
    let mut at = Duration::ZERO;
    loop {
        let is_over = threads.wait(at + TICK, stop);
        let now = run.watch.elapsed();
        let length = now.saturating_sub(at);
        tell(LoadEvent::Second(report.add(tally::collect(&threads.tallies), now, length)));
        at = now;
        if is_over {
            break;
        }
    }
    // Nobody hears it where all have ended.
    let _ = phases.send(Phase::Ending(at));
    tell(LoadEvent::Ending);
    let last = threads.join(|| {
        if stop.load(Ordering::Relaxed) {
            let _ = phases.send(Phase::Abandoned(at));
        }
    })?;
    let mut tail = tally::collect(&threads.tallies);
    let reason = io::Error::other("no connection was free; give it more, or a lower rate");
    for waited in run.pace.iter().flat_map(|pace| pace.never_taken(run.ended())) {
        tail.fail(Failure::Unsent, Some(&reason), waited);
    }
    report.finish(&tail, at, last);
    Ok(report)
}

/// The threads of a run.
struct Threads {
    run: Arc<Run>,
    /// What each has counted since it was collected.
    tallies: Vec<Arc<Mutex<Tally>>>,
    /// Each tells when it has ended.
    working: Vec<JoinHandle<io::Result<Duration>>>,
}

/// How long nothing is looked after.
const NAP: Duration = Duration::from_millis(5);

impl Threads {
    fn start(run: &Arc<Run>) -> io::Result<Self> {
        let tallies: Vec<Arc<Mutex<Tally>>> = (0..run.threads()).map(|_| Arc::default()).collect();
        let mut working = Vec::with_capacity(tallies.len());
        for (number, tally) in tallies.iter().enumerate() {
            let (run, tally) = (Arc::clone(run), Arc::clone(tally));
            let thread = std::thread::Builder::new().name(format!("load-{number}"));
            working.push(thread.spawn(move || work(&run, &tally, number))?);
        }
        Ok(Self { run: Arc::clone(run), tallies, working })
    }

    /// Sleeps until `until`, or until the run is over; whether it is.
    fn wait(&self, until: Duration, stop: &AtomicBool) -> bool {
        let end = self.run.end();
        loop {
            let now = self.run.watch.elapsed();
            let is_over = end.map_or_else(|| self.have_ended(), |end| now >= end);
            if is_over || stop.load(Ordering::Relaxed) {
                return true;
            }
            if now >= until {
                return false;
            }
            let next = end.map_or(until, |end| until.min(end));
            std::thread::sleep(NAP.min(next.saturating_sub(now)));
        }
    }

    fn have_ended(&self) -> bool {
        self.working.iter().all(JoinHandle::is_finished)
    }

    /// Waits until all have ended, and returns when the last has.
    fn join(&mut self, mut look: impl FnMut()) -> io::Result<Duration> {
        while !self.have_ended() {
            look();
            std::thread::sleep(NAP);
        }
        let mut last = Duration::ZERO;
        for thread in self.working.drain(..) {
            // What panicked has said so on standard error.
            let ended = thread.join().unwrap_or_else(|_| Ok(self.run.watch.elapsed()))?;
            last = last.max(ended);
        }
        Ok(last)
    }
}

/// What one thread does: its share of the connections, on a runtime of its own.
fn work(run: &Arc<Run>, tally: &Arc<Mutex<Tally>>, thread: usize) -> io::Result<Duration> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(lane::all(run, tally, thread))?;
    Ok(run.watch.elapsed())
}

/// That someone does not want to wait.
fn interrupted() -> io::Error {
    io::Error::new(io::ErrorKind::Interrupted, "interrupted before anything was measured")
}

/// Does what comes before a run, unless `stop` is set.
fn prepare<T>(stop: &AtomicBool, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let stopped = async {
        while !stop.load(Ordering::Relaxed) {
            tokio::time::sleep(NAP).await;
        }
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            done = work => done,
            () = stopped => Err(interrupted()),
        }
    })
}

/// Whether all addresses are this machine's own.
#[must_use]
pub fn is_loopback(addresses: &[SocketAddr]) -> bool {
    !addresses.is_empty()
        && addresses.iter().all(|address| address.ip().to_canonical().is_loopback())
}
