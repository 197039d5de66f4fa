//! The gain from a second core: hits on one thread, and on two in parallel.
//!
//! Uses no sockets, so two cores suffice to show contention between threads that serve the same object.

use std::{io::Write, time::Duration};

use fixture::Stored;
use forebay::base::clock::Stopwatch;

mod fixture;

/// The same allocator as the program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--test");
    let time = Duration::from_millis(if smoke { 10 } else { 1_000 });
    let stored = Stored::start();
    let mut ratios: Vec<f64> =
        (0..5).map(|_| hits(&stored, 2, time) / hits(&stored, 1, time)).collect();
    ratios.sort_by(f64::total_cmp);
    let _ = writeln!(std::io::stdout(), "two threads make {:.2} times the hits of one", ratios[2]);
    stored.runtime.block_on(stored.running.stop());
}

/// Counts the hits that this many threads serve together in this time.
fn hits(stored: &Stored, threads: usize, time: Duration) -> f64 {
    std::thread::scope(|scope| {
        let one = || {
            let (connection, mut head) = (Stored::connection(), Vec::with_capacity(4096));
            let (edge, watch) = (stored.running.edge.for_thread(), Stopwatch::start());
            let mut hits = 0_u32;
            while watch.elapsed() < time {
                for _ in 0..100 {
                    Stored::hit_of(&edge, Stored::request(), &connection, &mut head);
                    hits += 1;
                }
            }
            f64::from(hits)
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or(0.0)).sum()
    })
}
