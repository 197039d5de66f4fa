//! The gain from a second core: hits on one thread, and on two in parallel, on one object and on a thousand.
//!
//! Uses no sockets, so two cores suffice to show contention between threads that serve the same objects.

use std::{io::Write, time::Duration};

use fixture::Stored;
use forebay::{base::clock::Stopwatch, cache::store::copy_hot_responses};

mod fixture;

/// The same allocator as the program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--test");
    let time = Duration::from_millis(if smoke { 10 } else { 1_000 });
    let stored = Stored::start();
    let targets: Vec<String> = (0..1_000).map(|n| format!("/photos/{n}.jpg")).collect();
    for target in &targets {
        stored.fetch(target);
    }
    for (name, targets) in [("one object", &targets[..1]), ("1,000 objects", &targets)] {
        let ratio = |_| hits(&stored, targets, 2, time) / hits(&stored, targets, 1, time);
        let mut ratios: Vec<f64> = (0..5).map(ratio).collect();
        ratios.sort_by(f64::total_cmp);
        let ratio = ratios[2];
        let _ = writeln!(
            std::io::stdout(),
            "on {name}, two threads make {ratio:.2} times the hits of one"
        );
    }
    stored.runtime.block_on(stored.running.stop());
}

/// Counts the hits that this many threads serve together in this time.
fn hits(stored: &Stored, targets: &[String], threads: usize, time: Duration) -> f64 {
    std::thread::scope(|scope| {
        let one = || {
            copy_hot_responses();
            let (connection, mut head) = (Stored::connection(), Vec::with_capacity(4096));
            let (edge, watch) = (stored.running.edge.for_thread(), Stopwatch::start());
            let mut hits = 0_u32;
            let mut targets = targets.iter().cycle();
            while watch.elapsed() < time {
                for target in targets.by_ref().take(100) {
                    Stored::hit_of(&edge, Stored::request_for(target), &connection, &mut head);
                    hits += 1;
                }
            }
            f64::from(hits)
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or(0.0)).sum()
    })
}
