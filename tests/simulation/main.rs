//! Random histories against a naive reference: an origin that changes, fails and cuts its responses,
//! viewers that arrive together and leave early, purges, time, and a store that is too small. With a disk cache, the
//! process also stops, is killed or loses power, and starts again.
//!
//! Invariants: a response carries exact bytes of one version and of the requested
//! language (selected by `Vary`) and device (part of the key), and no header of
//! another viewer's; it is not older than a purge, nor staler than the origin allowed; viewers that
//! arrive together share one origin request; the store keeps within its bound.
//!
//! `FOREBAY_SEEDS=10000` runs that many histories, `FOREBAY_SECONDS=600` as many as fit in ten minutes, and
//! `FOREBAY_SEED=42` one of them, with a line for each step.

#![allow(clippy::panic, clippy::print_stdout, reason = "a test that tells what it does")]

mod world;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;
use forebay::{
    access::restrict::Networks,
    access_log::{self, AccessLog},
    aws::Credentials,
    base::{
        clock::{Clock, Stopwatch, Timestamp},
        metrics::{DiskMetrics, Metrics},
    },
    cache::{
        disk::DiskOptions,
        store::{
            Eviction, Options, Purge, PurgeBatch, PurgeMode, Store, copy_hot_responses,
            drop_idle_copies,
        },
    },
    config::Config,
    http::body::Body,
    origin::{Group, Origin},
    proxy::{Connection, Distribution, Edge, Hosts, Rules},
};
use futures_util::future::join_all;
use http::{Request, Response};
use http_body_util::BodyExt;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use world::{PATHS, SharedWorld, VARIANTS, World};

/// Bytes of a slice, and of the whole store.
const SLICE: u32 = 4096;
const MEMORY: u64 = 192 << 10;

/// Steps of one history.
const STEPS: usize = 40;

/// One GET: its request, and whether the viewer stays to the end.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    path: &'static str,
    /// Language and device.
    variant: &'static str,
    range: Option<(usize, usize)>,
    leaves: bool,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stop,
    Kill,
    PowerFailure,
}

struct History {
    seed: u64,
    rng: Rng,
    clock: Clock,
    edge: Arc<Edge>,
    connection: Arc<Connection>,
    world: SharedWorld,
    origin: String,
    is_traced: bool,
    /// Flips a bit of each answer before it is checked.
    corrupts: bool,
    store: Options,
    /// The directory of the disk cache, if there is one, and the file with its key.
    disk: Option<TempDir>,
    key_file: Option<PathBuf>,
    disk_metrics: DiskMetrics,
}

impl History {
    fn new(seed: u64, runtime: &Runtime, is_traced: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let clock = Clock::manual(Timestamp::from_secs(1_700_000_000));
        let world = World::new(&mut rng, clock.clone());
        let origin = runtime.block_on(world::serve(Arc::clone(&world)));
        let eviction = if rng.bool() { Eviction::Lru } else { Eviction::TinyLfu };
        let read_ahead = rng.u32(0..4);
        let store = Options { memory: MEMORY, eviction, slice: SLICE, read_ahead };
        let origin = origin.to_string();
        let edge = edge(&origin, Store::new(store), &clock);
        let connection = Connection::new([127, 0, 0, 1].into(), false);
        Self {
            seed,
            rng,
            clock,
            edge,
            connection,
            world,
            origin,
            is_traced,
            corrupts: false,
            store,
            disk: None,
            key_file: None,
            disk_metrics: DiskMetrics::default(),
        }
    }

    /// The same with a disk cache, which begins empty.
    fn on_disk(self) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let edge = edge(&self.origin, self.store_in(&folder), &self.clock);
        Self { edge, disk: Some(folder), ..self }
    }

    /// The same with an encrypted disk cache.
    fn encrypted(mut self, key_file: &Path) -> Self {
        self.key_file = Some(key_file.to_owned());
        self.on_disk()
    }

    /// A store with a disk cache that is larger than the memory, and too small for everything.
    fn store_in(&self, folder: &TempDir) -> Store {
        let disk = DiskOptions {
            capacity: 512 << 10,
            segment: 64 << 10,
            encryption_key_file: self.key_file.clone(),
            ..DiskOptions::new(folder.path().to_owned(), 1 << 30)
        };
        let metrics = self.disk_metrics.clone();
        Store::on_disk(self.store, disk, self.clock.clone(), metrics).expect("a new folder")
    }

    /// Starts the process again after it stopped, was killed when everything had been written, or lost power.
    async fn restart(&mut self) {
        let Some(folder) = self.disk.take() else { return };
        let end = *self.rng.choice(&[End::Stop, End::Kill, End::PowerFailure]).expect("one");
        self.tell(|| format!("{end:?}, and a start"));
        if end == End::Stop {
            self.edge.store().close_disk(Duration::from_secs(5));
        } else {
            self.edge.store().flush_disk().await;
        }
        let copy = tempfile::tempdir().expect("folder");
        for entry in std::fs::read_dir(folder.path()).expect("folder") {
            let entry = entry.expect("entry");
            let path = copy.path().join(entry.file_name());
            std::fs::copy(entry.path(), &path).expect("copied");
            if end == End::PowerFailure && path.to_string_lossy().contains("seg-") {
                self.lose_sectors(&path);
            }
        }
        self.edge = edge(&self.origin, self.store_in(&copy), &self.clock);
        self.connection = Connection::new([127, 0, 0, 1].into(), false);
        self.disk = Some(copy);
        let index = || self.edge.store().disk_usage().map_or(0, |disk| disk.to_recover);
        while index() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Segments are never synchronized, so a power failure loses any of their sectors, which are zeros then.
    fn lose_sectors(&mut self, path: &Path) {
        let mut bytes = std::fs::read(path).expect("read");
        let lost = self.rng.u32(0..4);
        for sector in bytes.chunks_mut(512) {
            if self.rng.u32(0..16) < lost {
                sector.fill(0);
            }
        }
        std::fs::write(path, bytes).expect("written");
    }

    fn tell(&self, text: impl FnOnce() -> String) {
        if self.is_traced {
            println!("{} {}", self.clock.now().as_millis() % 10_000_000, text());
        }
    }

    async fn run(&mut self) {
        copy_hot_responses();
        for _ in 0..STEPS {
            self.step().await;
            let used = self.edge.store().usage().bytes;
            assert!(used <= MEMORY, "seed {}: {used} bytes are alive", self.seed);
            if self.disk.is_some() && self.rng.u32(0..8) == 0 {
                self.restart().await;
            }
        }
    }

    async fn step(&mut self) {
        match self.rng.u32(0..100) {
            0..45 => {
                let ask = self.ask();
                self.get(ask).await;
            }
            45..62 => {
                let asks: Vec<Attempt> = (0..self.rng.usize(2..6)).map(|_| self.ask()).collect();
                join_all(asks.into_iter().map(|ask| self.get(ask))).await;
            }
            62..68 => self.crowd().await,
            68..80 => {
                let seconds = *self.rng.choice(&[1, 3, 5, 11, 30, 1000]).expect("one");
                self.tell(|| format!("{seconds} s pass"));
                self.clock.advance(Duration::from_secs(seconds));
                drop_idle_copies();
            }
            80..89 => {
                let path = *self.rng.choice(&PATHS).expect("one");
                self.tell(|| format!("{path} changes"));
                self.world.lock().expect("lock").change(path, &mut self.rng);
            }
            89..94 => self.purge().await,
            94..96 => {
                self.tell(|| "a reload".into());
                self.edge.set_rules(rules(&self.edge, &self.origin, &self.clock));
            }
            96..98 => {
                let failing = self.world.lock().expect("lock").toggle_failing();
                self.tell(|| format!("the origin fails: {failing}"));
            }
            _ => {
                self.tell(|| "the next content will be cut".into());
                self.world.lock().expect("lock").cut_next();
            }
        }
    }

    fn ask(&mut self) -> Attempt {
        let range = self.rng.bool().then(|| {
            let first = self.rng.usize(0..30_000);
            (first, first + self.rng.usize(0..9000))
        });
        Attempt {
            path: self.rng.choice(&PATHS).expect("one"),
            variant: self.rng.choice(&VARIANTS).expect("one"),
            range,
            leaves: self.rng.u32(0..6) == 0,
        }
    }

    async fn purge(&mut self) {
        let path = *self.rng.choice(&PATHS).expect("one");
        let all = self.rng.bool();
        self.tell(|| format!("purge {} {path}", if all { "all" } else { "only" }));
        let purge = if all { Purge::Prefix("/".to_owned()) } else { Purge::Exact(path.to_owned()) };
        self.purge_now(purge).await;
        self.world.lock().expect("lock").purged(if all {
            &PATHS
        } else {
            std::slice::from_ref(&path)
        });
    }

    async fn purge_now(&self, purge: Purge) {
        let batch = PurgeBatch {
            distribution: "media".to_owned(),
            purges: vec![purge],
            mode: PurgeMode::Hard,
        };
        self.edge.store().purge(batch).await.expect("the log can be written");
    }

    /// Sends many requests for the same object at once after a purge.
    async fn crowd(&mut self) {
        let ask = Attempt { range: None, leaves: false, ..self.ask() };
        self.purge_now(Purge::Exact(ask.path.to_owned())).await;
        let key = (ask.path.to_owned(), ask.variant.to_owned());
        let (before, shared) = {
            let mut world = self.world.lock().expect("lock");
            world.purged(&[ask.path]);
            (world.new.get(&key).copied().unwrap_or(0), world.is_shared(ask.path))
        };
        self.tell(|| format!("a crowd asks for {ask:?}"));
        join_all((0..5).map(|_| self.get(ask))).await;
        let asked = self.world.lock().expect("lock").new.get(&key).copied().unwrap_or(0) - before;
        assert!(!shared || asked <= 1, "seed {}: {asked} requests for {ask:?}", self.seed);
    }

    async fn get(&self, ask: Attempt) {
        let begun = self.world.lock().expect("lock").moment(ask.path);
        let (language, device) = ask.variant.split_once('-').expect("two");
        let mut request = Request::builder()
            .uri(ask.path)
            .header("host", "media")
            .header("accept-language", language)
            .header("device", device);
        if let Some((first, last)) = ask.range {
            request = request.header("range", format!("bytes={first}-{last}"));
        }
        let request = request.body(Body::empty()).expect("request");
        let edge = Arc::clone(&self.edge);
        let response = edge.handle(request, None, &self.connection).await;
        let (head, mut content, ended) = read(response, ask.leaves).await;
        if let (true, Some(byte)) = (self.corrupts, content.last_mut()) {
            *byte ^= 1;
        }
        let status = head.status.as_u16();
        let tag = head.headers.get("etag").map(|tag| tag.to_str().expect("text").to_owned());
        self.tell(|| format!("{ask:?} → {status} {tag:?}, {} bytes, {ended:?}", content.len()));
        let mut world = self.world.lock().expect("lock");
        if let Some(cookie) = head.headers.get("set-cookie") {
            let fresh = world.given.insert(cookie.to_str().expect("text").to_owned());
            assert!(fresh, "seed {}: {ask:?} got the cookie of another", self.seed);
        }
        let trouble = world.check(&begun, ask.path, ask.variant, status, tag.as_deref());
        let trouble = trouble.and_then(|version| {
            let Some(version) = version else { return Ok(()) };
            let range = ask.range.filter(|_| status == 206);
            world.check_bytes(version, ask, range, &content, ended)
        });
        if let Err(what) = trouble {
            panic!("seed {}: {ask:?} got {status} {tag:?}: {what}", self.seed);
        }
    }
}

/// The end of reading a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Complete,
    Cut,
    Left,
}

async fn read(response: Response<Body>, leaves: bool) -> (http::response::Parts, Vec<u8>, Ended) {
    let (head, mut body) = response.into_parts();
    let mut content = Vec::new();
    loop {
        match body.frame().await {
            None => return (head, content, Ended::Complete),
            Some(Err(_)) => return (head, content, Ended::Cut),
            Some(Ok(frame)) => content.extend_from_slice(&frame.into_data().unwrap_or_default()),
        }
        if leaves {
            return (head, content, Ended::Left);
        }
    }
}

/// An edge in front of an origin.
fn edge(origin: &str, store: Store, clock: &Clock) -> Arc<Edge> {
    let metrics = Metrics::new();
    let log = access_log::Options { format: None, ..access_log::Options::default() };
    let log = AccessLog::open(&log, metrics.log_dropped.clone()).expect("no log");
    let edge = Edge::new(Arc::new(store), clock.clone(), metrics, Arc::new(log));
    edge.set_rules(rules(&edge, origin, clock));
    edge
}

/// Rules that forward every varying request header to the origin.
fn rules(edge: &Edge, origin: &str, clock: &Clock) -> Rules {
    let text = format!(
        r#"
[listen]
http = "127.0.0.1:0"
[[cache_policy]]
name = "own"
min_ttl = 0
default_ttl = 0
headers = ["Device"]
[[origin_request_policy]]
name = "language"
headers = {{ whitelist = ["Accept-Language"] }}
[[distribution]]
id = "media"
aliases = ["*"]
[[distribution.origin]]
id = "origin"
url = "http://{origin}"
signing = "never"
[distribution.default_behavior]
origin = "origin"
cache_policy = "own"
origin_request_policy = "language"
"#
    );
    let config = Config::compile("simulation.toml", &text, Path::new("")).expect("no faults");
    let options = config.distributions.into_iter().next().expect("one");
    let origins = options.origins.into_iter().map(|origin| {
        let metrics = edge.metrics().origin("media", "origin");
        let origin = Origin::new(origin, Credentials::new(), clock.clone(), metrics);
        Arc::new(Group::single(Arc::new(origin.expect("origin"))))
    });
    let origins = origins.collect();
    let metrics = edge.metrics().distribution("media");
    let distribution = Distribution::new(options.settings, origins, None, metrics);
    let mut hosts = Hosts::default();
    hosts.add(&Arc::new(distribution), &options.aliases);
    Rules::new(hosts, None, Networks::default(), None)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// The checker works: it detects a single wrong bit.
#[test]
#[should_panic(expected = "other bytes than those of version")]
fn a_wrong_bit_is_noticed() {
    for seed in 0..20 {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let mut history = History { corrupts: true, ..History::new(seed, &runtime, false) };
        runtime.block_on(history.run());
    }
}

#[test]
fn random_histories_break_no_promise() {
    all_histories(200, |history| history, |_| {});
}

#[test]
fn random_histories_with_restarts_break_no_promise() {
    histories_with_restarts(History::on_disk);
}

#[test]
fn random_histories_of_an_encrypted_cache_break_no_promise() {
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), "a2V5LWtleS1rZXkta2V5LWtleS1rZXkta2V5LWtleSE=\n").expect("written");
    histories_with_restarts(|history| history.encrypted(file.path()));
}

fn histories_with_restarts(prepare: impl Fn(History) -> History) {
    let (mut histories, mut reads) = (0, 0);
    all_histories(40, prepare, |history| {
        histories += 1;
        reads += history.disk_metrics.reads.get();
    });
    assert!(reads > 3 * histories, "only {reads} reads from disk");
}

fn all_histories(
    usual: u64,
    prepare: impl Fn(History) -> History,
    mut ended: impl FnMut(&History),
) {
    let one = number("FOREBAY_SEED");
    let seeds = one.map_or(0..number("FOREBAY_SEEDS").unwrap_or(usual), |seed| seed..seed + 1);
    let longest = number("FOREBAY_SECONDS").map(Duration::from_secs);
    let seeds = if longest.is_some() { 0..u64::MAX } else { seeds };
    let watch = Stopwatch::start();
    for seed in seeds {
        if longest.is_some_and(|longest| watch.elapsed() > longest) {
            println!("{seed} histories");
            return;
        }
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let mut history = prepare(History::new(seed, &runtime, one.is_some()));
        runtime.block_on(history.run());
        ended(&history);
    }
}
