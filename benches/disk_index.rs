//! The index of the disk cache and the log of purges: time of a restart, memory for an object, latency of purges.
//!
//! `cargo bench --bench disk_index -- 16000000` writes that many objects.

use std::{io::Write, path::Path, process::Command, sync::Arc, time::Duration};

use filling::put;
use forebay::{
    base::{
        clock::{Clock, Stopwatch, Timestamp},
        metrics::DiskMetrics,
    },
    cache::{
        disk::DiskOptions,
        store::{Options, Purge, PurgeBatch, PurgeMode, Store},
    },
};
use http::{HeaderMap, HeaderValue, header};
use tokio::runtime::Runtime;

mod filling;

/// The same allocator as the program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Bytes of an object.
const LENGTH: usize = 100;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[1..] {
        ["--fill", folder, count] => fill(Path::new(folder), count.parse().expect("a number")),
        ["--restart", folder] => restart(Path::new(folder)),
        rest => {
            let is_test = rest.contains(&"--test");
            let count = rest.iter().find_map(|argument| argument.parse().ok());
            let count: u32 = if is_test { 1_000 } else { count.unwrap_or(1_000_000) };
            let folder = tempfile::tempdir().expect("folder");
            let path = folder.path().to_str().expect("text");
            // Each in a process of its own: the memory of the second is that of the index.
            repeat(&["--fill", path, &count.to_string()]);
            repeat(&["--restart", path]);
            for together in [1, 16, 256] {
                purges(folder.path(), together, if is_test { 2 } else { 20_000 / together + 200 });
            }
        }
    }
}

/// Runs this program with other arguments.
fn repeat(arguments: &[&str]) {
    let program = std::env::current_exe().expect("this program");
    assert!(Command::new(program).args(arguments).status().expect("started").success());
}

fn report(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn open(folder: &Path) -> Arc<Store> {
    let options = Options { memory: 256 << 20, ..Options::default() };
    let disk = DiskOptions::new(folder.to_owned(), 32 << 30);
    let opened = Store::on_disk(options, disk, Clock::manual(NOW), DiskMetrics::default());
    Arc::new(opened.expect("opened"))
}

/// Fills a cache.
fn fill(folder: &Path, count: u32) {
    let runtime = Runtime::new().expect("runtime");
    let mut fields = HeaderMap::new();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
    fields.insert(header::ETAG, HeaderValue::from_static("\"cd518598a07b9d1f2d4b75c8a1518325\""));
    let store = open(folder);
    let watch = Stopwatch::start();
    for number in 0..count {
        put(&store, number, &fields, LENGTH, NOW);
        if number % 10_000 == 0 {
            runtime.block_on(store.flush_disk());
        }
    }
    store.close_disk(Duration::from_secs(5));
    report(&format!("{count} objects written in {:.1} s", watch.elapsed().as_secs_f64()));
}

/// Opens a filled cache, and measures until its index is read.
fn restart(folder: &Path) {
    let before = resident_kib();
    let watch = Stopwatch::start();
    let store = open(folder);
    let opened = watch.elapsed();
    let used = loop {
        let used = store.disk_usage().expect("a disk cache");
        if used.to_recover == 0 {
            break used;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let read = watch.elapsed();
    let each = resident_kib().saturating_sub(before) * 1024 / used.entries.max(1);
    report(&format!(
        "{} objects in {} MiB of files: served after {:.1} ms, index read after {:.3} s, {each} bytes of memory each",
        used.entries,
        used.bytes >> 20,
        opened.as_secs_f64() * 1e3,
        read.as_secs_f64(),
    ));
    store.close_disk(Duration::from_secs(5));
}

fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("RSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Purges paths, `together` at a time.
fn purges(folder: &Path, together: u32, rounds: u32) {
    let runtime = Runtime::new().expect("runtime");
    let store = open(folder);
    let watch = Stopwatch::start();
    let mut times: Vec<Duration> = runtime.block_on(async {
        let tasks = (0..together).map(|task| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut times = Vec::new();
                for round in 0..rounds {
                    let watch = Stopwatch::start();
                    let purge = Purge::Exact(format!("/photos/{task}/{round}.jpg"));
                    let (distribution, mode) = ("media".to_owned(), PurgeMode::Hard);
                    let batch = PurgeBatch { distribution, purges: vec![purge], mode };
                    store.purge(batch).await.expect("purged");
                    times.push(watch.elapsed());
                }
                times
            })
        });
        let tasks: Vec<_> = tasks.collect();
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await.expect("purges"));
        }
        times
    });
    let seconds = watch.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
    report(&format!(
        "purges, {together} at a time: {:.0} a second, median {:.2} ms, p99 {:.2} ms",
        f64::from(together * rounds) / seconds,
        at(50),
        at(99)
    ));
    store.close_disk(Duration::from_secs(5));
}
