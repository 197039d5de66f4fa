//! The targets of a run: a list of URLs and their order.

use std::{
    collections::HashSet,
    io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use http::{HeaderValue, uri::PathAndQuery};

use super::{
    gathered::{Gathered, LeftOut},
    interrupted,
    log_files::{for_each_line, log_files},
    logged,
    schedule::schedule,
    server::Server,
    sign::Signer,
    target::Target,
    targets_error::TargetsError,
};
use crate::{access::signed::unsigned_target, access_log::LoggedRequest, base::clock::Timestamp};

/// The choice of the next target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pick {
    /// In order, starting over at the end.
    Order,
    /// At random; each target of a log as often as the log requested it.
    Random,
    /// By Zipf's law with exponent `s`: the first target most often, the `n`th `n^s` times less.
    Zipf(f64),
}

/// All targets of a run.
pub struct Targets {
    /// Scheme and authority, without a trailing slash.
    server: String,
    /// The same with the name that requests give it.
    named: String,
    signer: Option<Signer>,
    all: Vec<Target>,
    urls: usize,
    /// Indexes into `all`, in the order of the list or log.
    order: Vec<u32>,
    /// When each of them was logged, if this is known of all.
    times: Option<Vec<Timestamp>>,
    pick: Pick,
    /// For Zipf's law: cumulative probabilities of the targets.
    chances: Vec<f64>,
    next: AtomicUsize,
    left_out: LeftOut,
}

impl Targets {
    /// The targets with these paths at `server`, a URL's scheme and authority.
    #[must_use]
    pub fn new(server: &str, paths: Vec<PathAndQuery>) -> Self {
        let mut gathered = Gathered::default();
        for path in paths {
            gathered.add(path, None);
        }
        Self::of(server, gathered)
    }

    fn of(server: &str, Gathered { all, order, times, left_out, .. }: Gathered) -> Self {
        let urls = all.iter().map(Target::path).collect::<HashSet<_>>().len();
        Self {
            server: server.trim_end_matches('/').to_owned(),
            named: server.trim_end_matches('/').to_owned(),
            urls,
            signer: None,
            all,
            times: (times.len() == order.len()).then_some(times),
            order,
            pick: Pick::Order,
            chances: Vec::new(),
            next: AtomicUsize::new(0),
            left_out,
        }
    }

    /// The targets in a text file or standard input (`-`), one path or URL per line; lines that begin with `#` are comments.
    ///
    /// # Errors
    /// When the file cannot be read, or a line is neither a path nor a URL of this server.
    pub fn from_list(server: &str, file: &Path) -> Result<Self, TargetsError> {
        let mut gathered = Gathered::default();
        for_each_line(file, |number, line| {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                return Ok(());
            }
            let parsed = if line.starts_with('/') {
                line.parse().ok()
            } else {
                let named = Server::of(line).ok();
                named.filter(|(named, _)| named.base == server).map(|(_, path)| path)
            };
            let parsed = parsed.ok_or_else(|| TargetsError::Line {
                path: file.to_owned(),
                line: number,
                reason: format!(
                    "`{line}` is neither a path (it must begin with /, with spaces written as %20) nor a URL of {server}"
                ),
            })?;
            gathered.add(parsed, None);
            Ok(())
        })?;
        Self::some(server, file, gathered)
    }

    /// The GETs in access logs with their ranges, compressed or not. A directory means
    /// the files in it and below it, `-` standard input. Lines that cannot be read are skipped if others can be read.
    ///
    /// # Errors
    /// When a file cannot be read, or is not an access log.
    pub fn from_logs(server: &str, logs: &[PathBuf]) -> Result<Self, TargetsError> {
        Self::gather(server, logs, |_| true, logged::range)
    }

    /// The objects of the successful GETs in access logs, as a whole.
    ///
    /// # Errors
    /// As for [`Self::from_logs`].
    pub(crate) fn objects_of_logs(server: &str, logs: &[PathBuf]) -> Result<Self, TargetsError> {
        Self::gather(server, logs, logged::is_success, |_| None)
    }

    fn gather(
        server: &str,
        logs: &[PathBuf],
        is_wanted: impl Fn(&LoggedRequest) -> bool,
        range: impl Fn(&LoggedRequest) -> Option<HeaderValue>,
    ) -> Result<Self, TargetsError> {
        let mut gathered = Gathered::default();
        let (mut first_error, mut any_read) = (None, false);
        for file in log_files(logs)? {
            match gathered.add_log(&file, &is_wanted, &range) {
                Ok(()) => any_read = true,
                // A directory may have other files, too.
                Err(error @ TargetsError::Line { .. }) => {
                    first_error.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = first_error.filter(|_| !any_read) {
            return Err(error);
        }
        let first = logs.first().map_or_else(|| Path::new("-"), PathBuf::as_path);
        Self::some(server, first, gathered)
    }

    /// The same targets at another server.
    #[must_use]
    pub(crate) fn at(&self, server: &str) -> Self {
        let mut gathered = Gathered::with_left_out(self.left_out);
        let same = self.all.iter().map(|it| Target::new(it.path.clone(), it.range.clone()));
        gathered.all = same.collect();
        gathered.order.clone_from(&self.order);
        Self::of(server, gathered)
    }

    /// Keeps only the targets that are listed or logged most often.
    #[must_use]
    pub fn most_frequent(mut self, most: usize) -> Self {
        let mut counts = vec![0_u32; self.all.len()];
        for place in &self.order {
            counts[*place as usize] += 1;
        }
        let mut all: Vec<(Target, u32)> = self.all.drain(..).zip(counts).collect();
        // Those with the same count stay in their order.
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let mut gathered = Gathered::with_left_out(self.left_out);
        for (target, _) in all.into_iter().take(most) {
            gathered.add(target.path, target.range);
        }
        Self::of(&self.server, gathered)
    }

    fn some(server: &str, file: &Path, gathered: Gathered) -> Result<Self, TargetsError> {
        if gathered.all.is_empty() {
            return Err(TargetsError::Nothing(file.to_owned()));
        }
        Ok(Self::of(server, gathered))
    }

    /// Puts the requests of logs in the order of time. Returns when each is due after the first one, `speed` times as fast as
    /// they were logged.
    ///
    /// # Errors
    /// When the time of a request is not known.
    pub fn schedule(&mut self, speed: f64) -> Result<Vec<Duration>, TargetsError> {
        let times = self.times.take().ok_or(TargetsError::NoTimes)?;
        let mut requests: Vec<(Timestamp, u32)> =
            times.into_iter().zip(self.order.drain(..)).collect();
        // Requests of the same time stay in their order.
        requests.sort_by_key(|(time, _)| *time);
        let times: Vec<Timestamp> = requests.iter().map(|(time, _)| *time).collect();
        self.order = requests.into_iter().map(|(_, place)| place).collect();
        Ok(schedule(&times, speed))
    }

    /// Sets the signer, which signs all URLs before a run.
    #[must_use]
    pub fn signed(self, signer: Option<Signer>) -> Self {
        Self { signer, ..self }
    }

    /// Sets how the next target is picked.
    #[must_use]
    pub fn picked(mut self, pick: Pick) -> Self {
        self.pick = pick;
        if let Pick::Zipf(exponent) = pick {
            let mut sum = 0.0;
            let places = (1..=self.all.len()).map(|place| {
                #[expect(clippy::cast_precision_loss, reason = "no list is so long")]
                let weight = (place as f64).powf(-exponent);
                sum += weight;
                sum
            });
            self.chances = places.collect();
            self.chances.iter_mut().for_each(|chance| *chance /= sum);
        }
        self
    }

    /// The number of URLs; a log may have several ranges of one.
    #[must_use]
    pub fn urls(&self) -> usize {
        self.urls
    }

    /// The number of distinct targets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are no targets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The server under test, as the start of a URL.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The server as requests name it, once URLs are signed.
    pub(crate) fn named(&self) -> &str {
        &self.named
    }

    /// The paths of all targets.
    pub(crate) fn paths(&self) -> Vec<&PathAndQuery> {
        self.all.iter().map(Target::path).collect()
    }

    /// The path of a target, and the range from a log.
    pub(crate) fn get(&self, place: usize) -> Option<(&PathAndQuery, Option<&HeaderValue>)> {
        let target = self.all.get(place)?;
        Some((&target.path, target.range.as_ref()))
    }

    pub(super) fn all(&self) -> &[Target] {
        &self.all
    }

    /// The target of the next request, or of that with a number.
    pub(super) fn next(&self, number: Option<u64>) -> &Target {
        let place = match self.pick {
            Pick::Order => {
                let number = number.and_then(|number| usize::try_from(number).ok());
                let next = number.unwrap_or_else(|| self.next.fetch_add(1, Ordering::Relaxed));
                self.order[next % self.order.len()] as usize
            }
            Pick::Random => self.order[fastrand::usize(..self.order.len())] as usize,
            Pick::Zipf(_) => {
                let chance = fastrand::f64();
                self.chances.partition_point(|up_to| *up_to < chance).min(self.all.len() - 1)
            }
        };
        &self.all[place]
    }

    /// A path, signed if there is a signer.
    pub(crate) fn signed_path(&self, path: &PathAndQuery) -> PathAndQuery {
        match &self.signer {
            Some(signer) => signer.sign(&self.named, path),
            None => path.clone(),
        }
    }

    pub(super) const fn is_signed(&self) -> bool {
        self.signer.is_some()
    }

    /// Signs all URLs on all cores: a signature takes longer than a response. If requests name another
    /// `host`, the URLs are that host's.
    ///
    /// # Errors
    /// When `stop` is set.
    pub(crate) fn sign(&mut self, host: Option<&HeaderValue>, stop: &AtomicBool) -> io::Result<()> {
        let scheme = self.server.split("://").next().unwrap_or_default();
        if let Some(host) = host.and_then(|host| host.to_str().ok()) {
            self.named = format!("{scheme}://{host}");
        }
        let Self { signer: Some(signer), named: server, all, .. } = self else { return Ok(()) };
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let (signer, server, share) = (&*signer, &server, all.len().div_ceil(cores).max(1));
        std::thread::scope(|scope| {
            for part in all.chunks_mut(share) {
                scope.spawn(move || {
                    for target in part.iter_mut().take_while(|_| !stop.load(Ordering::Relaxed)) {
                        target.path = signer.sign(server, &target.path);
                    }
                });
            }
        });
        if stop.load(Ordering::Relaxed) { Err(interrupted()) } else { Ok(()) }
    }

    /// The first URLs, without signatures, for the report.
    pub(super) fn first_urls(&self) -> Vec<String> {
        const MOST: usize = 100;
        let url = |target: &Target| {
            let path = unsigned_target(target.path.path(), target.path.query());
            format!("{}{path}", self.server)
        };
        self.all.iter().take(MOST).map(url).collect()
    }

    /// Whether a log had ranges.
    pub(super) fn has_ranges(&self) -> bool {
        self.all.iter().any(|target| target.range.is_some())
    }

    pub(crate) const fn left_out(&self) -> LeftOut {
        self.left_out
    }

    pub(super) const fn pick(&self) -> Pick {
        self.pick
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, io::Write};

    use super::*;

    const SERVER: &str = "http://127.0.0.1:8080";

    fn file(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        (folder, path)
    }

    fn paths(targets: &Targets, count: usize) -> Vec<String> {
        (0..count).map(|_| targets.next(None).path().to_string()).collect()
    }

    #[test]
    fn lists_hold_paths_and_urls_of_the_server() {
        let text =
            "\u{feff}/a\r\n# a comment\n\nHTTP://127.0.0.1:8080/b?c=d\nhttp://127.0.0.1:8080\n/a\n";
        let (_folder, list) = file("urls.txt", text.as_bytes());
        let targets = Targets::from_list(SERVER, &list).expect("a list");
        assert_eq!(targets.len(), 3);
        assert_eq!(paths(&targets, 5), ["/a", "/b?c=d", "/", "/a", "/a"]);
        for wrong in ["b", "http://other.example/b", "/a b"] {
            let (_folder, list) = file("urls.txt", format!("/a\n{wrong}\n").as_bytes());
            let error = Targets::from_list(SERVER, &list).err().expect("refused").to_string();
            assert!(error.contains("line 2") && error.contains(wrong), "{error}");
        }
        let (_folder, list) = file("urls.txt", b"# nothing\n");
        assert!(matches!(Targets::from_list(SERVER, &list), Err(TargetsError::Nothing(_))));
    }

    #[test]
    fn logs_are_asked_for_again() {
        let json = r#"{"method":"GET","path":"/a%20b","query":"x=1&Signature=REDACTED&Expires=5"}
{"method":"POST","path":"/no"}
{"method":"GET","path":"/c","query":"","status":200}
{"method":"GET","path":"*"}
{"method":"GET","pa"#;
        let cloudfront = "#Version: 1.0\n2026-11-25\t01:02:03\tX\t1\t127.0.0.1\tGET\th\t/a%2520b\t200\t-\t-\tx=1\t-\tHit\ti\th\thttp\t1\t0.001\t-\t-\t-\tHit\tHTTP/1.1\t-\t-\t1\t0.001\tHit\t-\t1\t-\t-\n";
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(cloudfront.as_bytes()).expect("packed");
        for (name, content, expected, skipped) in [
            ("access.log", json.as_bytes(), &["/a%20b?x=1", "/c"][..], [2, 1]),
            ("E1.gz", &packed.finish().expect("packed"), &["/a%20b?x=1"], [0, 0]),
        ] {
            let (_folder, log) = file(name, content);
            let targets = Targets::from_logs(SERVER, &[log]).expect("a log");
            assert_eq!(paths(&targets, expected.len()), expected, "{name}");
            let LeftOut { no_get, unreadable } = targets.left_out();
            assert_eq!((targets.len(), [no_get, unreadable]), (expected.len(), skipped), "{name}");
        }
        let (_folder, log) = file("access.log", b"127.0.0.1 - - [x] \"GET / HTTP/1.1\" 200 1\n");
        let error = Targets::from_logs(SERVER, &[log]).err().expect("refused").to_string();
        assert!(error.contains("line 1"), "{error}");
    }

    #[test]
    fn requests_of_logs_are_put_into_the_order_of_time() {
        let line = |second, path: &str| {
            format!(
                "h - - [25/Nov/2026:01:02:{second:02} +0000] \"GET {path} HTTP/1.1\" 200 1 \"-\"\n"
            )
        };
        let (_folder, first) = file("1.log", (line(5, "/c") + &line(9, "/d")).as_bytes());
        let (_other, second) = file("2.log", (line(1, "/a") + &line(1, "/b")).as_bytes());
        let mut targets = Targets::from_logs(SERVER, &[first, second]).expect("logs");
        let due = targets.schedule(2.0).expect("times");
        assert_eq!(due, [0, 250, 2000, 4000].map(Duration::from_millis));
        assert_eq!(paths(&targets, 4), ["/a", "/b", "/c", "/d"]);
        let (_folder, log) = file("access.log", b"{\"method\":\"GET\",\"path\":\"/a\"}\n");
        let mut targets = Targets::from_logs(SERVER, &[log]).expect("a log");
        assert!(matches!(targets.schedule(1.0), Err(TargetsError::NoTimes)));
    }

    #[test]
    fn ranges_of_a_log_are_asked_for_again() {
        let json = r#"{"method":"GET","path":"/a","range":"bytes=5-9"}
{"method":"GET","path":"/a","range":"bytes=5-9"}
{"method":"GET","path":"/a","range":null}
{"method":"GET","path":"/a","range":"lines=1-2"}"#;
        let line = |range| {
            format!(
                "2026-11-25\t01:02:03\tX\t1\t127.0.0.1\tGET\th\t/a\t206\t-\t-\t-\t-\tHit\ti\th\thttp\t1\t0.001\t-\t-\t-\tHit\tHTTP/1.1\t-\t-\t1\t0.001\tHit\timage/png\t5\t{range}\n"
            )
        };
        let cloudfront = line("5\t9") + &line("-\t-");
        for log in [json, &cloudfront] {
            let (_folder, log) = file("access.log", log.as_bytes());
            let targets = Targets::from_logs(SERVER, &[log]).expect("a log");
            let ranges = targets.all().iter().map(|target| target.range.as_ref());
            let expected = HeaderValue::from_static("bytes=5-9");
            assert_eq!(ranges.collect::<Vec<_>>(), [Some(&expected), None]);
        }
    }

    #[test]
    fn zipf_prefers_the_first() {
        let list = (0..1000).map(|number| format!("/{number}").parse().expect("path")).collect();
        let targets = Targets::new(SERVER, list).picked(Pick::Zipf(1.0));
        let mut counts = HashMap::new();
        for path in paths(&targets, 100_000) {
            *counts.entry(path).or_insert(0_u32) += 1;
        }
        // The sum of 1/n up to a thousand is 7.485.
        for (path, expected) in [("/0", 13_359), ("/1", 6_680), ("/9", 1_336)] {
            let count = counts.get(path).copied().unwrap_or(0);
            assert!(count.abs_diff(expected) < expected / 5, "{path}: {count}");
        }
        assert!(counts.len() > 900);
    }

    #[test]
    fn a_log_is_picked_from_by_popularity() {
        let list =
            ["/often", "/often", "/often", "/seldom"].map(|path| path.parse().expect("path"));
        let targets = Targets::new(SERVER, list.to_vec()).picked(Pick::Random);
        let often = paths(&targets, 10_000).iter().filter(|path| *path == "/often").count();
        assert!(often.abs_diff(7_500) < 400, "{often}");
    }
}
