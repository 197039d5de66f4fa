//! Load for caches: many requests for what is stored, and how fast it comes.
//!
//! A run asks for its [`Targets`] over a number of lanes (connections, and with HTTP/2 streams on
//! them), either one request after the other on each (a closed loop) or at a constant rate, whatever
//! becomes of the answers (an open loop, whose latencies count from when a request was due, and in which
//! what was due and never sent counts, too: nothing is left out because a server stands still). Each
//! thread counts for itself; once a second what it counted is taken from it.

mod answer;
mod lane;
mod line;
mod mix;
mod pace;
mod page;
mod plot;
mod report;
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

use http::HeaderMap;
pub use line::{Http, Line, Trust, TrustError};
pub use mix::Mix;
use pace::Deal;
use parking_lot::Mutex;
pub use report::Report;
pub use server::{Server, ServerError};
pub use sign::{Signer, SignerError};
use tally::Tally;
pub use tally::{Failure, Second};
pub use targets::{Pick, Target, Targets, TargetsError};
use tokio::{runtime::Builder, sync::watch};

use crate::clock::{Clock, Stopwatch};

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
    /// When so many requests were answered.
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
    phase: watch::Receiver<Phase>,
}

impl Run {
    fn is_over(&self) -> bool {
        self.phase.has_changed().unwrap_or(true)
    }

    /// Takes the right to one more request, in a closed loop.
    fn take(&self) -> bool {
        if self.is_over() {
            return false;
        }
        match self.options.until {
            Until::Time(_) => true,
            Until::Requests(_) => {
                let one_less = |left: u64| left.checked_sub(1);
                self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
            }
        }
    }

    fn give_back(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }

    /// When the run is over, once its requests are asked.
    fn end(&self) -> Duration {
        match (*self.phase.borrow(), self.options.until) {
            (Phase::Ending(at) | Phase::Abandoned(at), _) => at,
            (Phase::Asking, Until::Time(time)) => time,
            (Phase::Asking, Until::Requests(_)) => self.watch.elapsed(),
        }
    }

    fn threads(&self) -> usize {
        self.options.threads.get().min(self.options.connections.get())
    }

    fn deal(&self, thread: usize) -> Deal {
        let connections = self.options.connections.get();
        Deal { thread, threads: self.threads(), connections }
    }
}

/// How often what was counted is collected, and told.
const TICK: Duration = Duration::from_secs(1);

/// What is told while a run goes on.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
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
    mut tell: impl FnMut(Told<'_>),
) -> io::Result<Report> {
    warm::connect_once(&options, &line)?;
    if targets.is_signed() {
        tell(Told::Signing(targets.len()));
        targets.sign(stop)?;
    }
    let mut warmed = None;
    if options.warm {
        tell(Told::Warming(targets.len()));
        warmed = Some(warm::warm(&options, &line, &targets, stop)?);
    }
    let left = match options.until {
        Until::Time(_) => u64::MAX,
        Until::Requests(requests) => requests,
    };
    let ((phases, phase), begun) = (watch::channel(Phase::Asking), Clock::system().now());
    let (watch, left) = (Stopwatch::start(), AtomicU64::new(left));
    let run = Arc::new(Run { options, line, targets, watch, left, phase });
    let mut threads = Threads::start(&run)?;
    let mut report = Report::new(Arc::clone(&run), begun, warmed);
    let mut at = Duration::ZERO;
    loop {
        let is_over = threads.wait(at + TICK, stop);
        let now = run.watch.elapsed();
        let length = now.saturating_sub(at);
        tell(Told::Second(report.add(tally::collect(&threads.tallies), now, length)));
        at = now;
        if is_over {
            break;
        }
    }
    // Nobody hears it where all have ended.
    let _ = phases.send(Phase::Ending(at));
    tell(Told::Ending);
    let last = threads.join(|| {
        if stop.load(Ordering::Relaxed) {
            let _ = phases.send(Phase::Abandoned(at));
        }
    })?;
    report.finish(&tally::collect(&threads.tallies), at, last);
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
        let end = match self.run.options.until {
            Until::Time(time) => time,
            Until::Requests(_) => Duration::MAX,
        };
        loop {
            let now = self.run.watch.elapsed();
            if now >= end || stop.load(Ordering::Relaxed) || self.have_ended() {
                return true;
            }
            if now >= until {
                return false;
            }
            std::thread::sleep(NAP.min(until.min(end).saturating_sub(now)));
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

/// Whether all addresses are this machine's own.
#[must_use]
pub fn is_loopback(addresses: &[SocketAddr]) -> bool {
    !addresses.is_empty()
        && addresses.iter().all(|address| address.ip().to_canonical().is_loopback())
}
