//! Sends the same requests to two servers and compares the responses by what they mean.
//!
//! The reference is the server that viewers use now, such as CloudFront; the candidate is to replace it.

mod compare;
mod content_digest;
mod difference;
mod meaning;
mod probe;
mod report;
mod seen;

use std::{
    collections::HashSet,
    io,
    num::NonZeroUsize,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use compare::Compared;
use content_digest::ContentDigest;
use difference::{Class, Difference};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, response::Parts,
    uri::PathAndQuery,
};
use parking_lot::Mutex;
pub(crate) use probe::Probe;
pub(crate) use report::Report;
use seen::Seen;
use tokio::time::{Interval, MissedTickBehavior};

use crate::load::{Client, Line, Targets, prepare};

/// How to compare.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) probes: Vec<Probe>,
    /// Requests for the same object are sent one after the other; so many objects are compared at a time.
    pub(crate) connections: NonZeroUsize,
    /// The most requests in a second to each server.
    pub(crate) rate: f64,
    /// Longest wait for a response.
    pub(crate) timeout: Duration,
    /// Header fields of every request.
    pub(crate) fields: HeaderMap,
    /// Fields that are not compared.
    pub(crate) ignored: Vec<HeaderName>,
}

/// One of the two servers.
pub(crate) struct Side {
    pub(crate) line: Line,
    /// The objects, with URLs of this server; both sides have the same.
    pub(crate) targets: Targets,
}

/// Sends all requests to both sides, the reference first, until `stop` is set. `progress` gets the number of objects that are
/// done.
///
/// # Errors
/// When there is no runtime, or a server cannot be reached at all.
pub(crate) fn run(
    options: &Options,
    sides: &[Side; 2],
    stop: &AtomicBool,
    progress: impl Fn(usize),
) -> io::Result<Report> {
    for side in sides {
        let tried = prepare(stop, side.line.try_out(options.timeout));
        tried.map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", side.targets.server()))
        })?;
    }
    let comparison = Comparison {
        options,
        sides,
        pause: Duration::from_secs_f64(1.0 / options.rate),
        next: AtomicUsize::new(0),
        folders: Mutex::default(),
        report: Mutex::new(Report::default()),
        progress,
    };
    match prepare(stop, comparison.run()) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
        _ => {}
    }
    let mut report = comparison.report.into_inner();
    report.left = sides[0].targets.len().saturating_sub(report.objects);
    Ok(report)
}

struct Comparison<'a, P> {
    options: &'a Options,
    sides: &'a [Side; 2],
    /// Time between two requests to a server.
    pause: Duration,
    next: AtomicUsize,
    /// Folders in which a missing object was requested.
    folders: Mutex<HashSet<String>>,
    report: Mutex<Report>,
    progress: P,
}

/// The paths of an object at both servers: they differ in their signatures.
type Paths<'a> = [&'a PathAndQuery; 2];

impl<P: Fn(usize)> Comparison<'_, P> {
    async fn run(&self) -> io::Result<()> {
        let mut pace = tokio::time::interval(self.pause);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let pace = tokio::sync::Mutex::new(pace);
        let count = self.options.connections.get().min(self.sides[0].targets.len());
        futures_util::future::join_all((0..count).map(|_| self.lane(&pace))).await;
        Ok(())
    }

    async fn lane(&self, pace: &tokio::sync::Mutex<Interval>) {
        let Options { fields, timeout, .. } = self.options;
        let mut clients = self
            .sides
            .each_ref()
            .map(|side| Client::new(&side.line, fields, side.targets.server(), *timeout));
        loop {
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            let (Some((path, range)), Some((other, _))) =
                (self.sides[0].targets.get(next), self.sides[1].targets.get(next))
            else {
                return;
            };
            Box::pin(self.object(&mut clients, pace, [path, other], range)).await;
            let mut report = self.report.lock();
            report.objects += 1;
            (self.progress)(report.objects);
        }
    }

    /// Compares the responses to all requests for an object.
    async fn object(
        &self,
        clients: &mut [Client<'_>; 2],
        pace: &tokio::sync::Mutex<Interval>,
        paths: Paths<'_>,
        range: Option<&HeaderValue>,
    ) {
        let fields = range.map(|range| (header::RANGE, range.clone()));
        let fields = HeaderMap::from_iter(fields);
        let get = (Method::GET, fields);
        let got = Box::pin(self.ask(clients, pace, Probe::Get, paths, [get.clone(), get])).await;
        let Some(got) = got else { return };
        // A range of a log is compared as it is.
        let others = self.options.probes.iter().filter(|probe| **probe != Probe::Get);
        for probe in others.filter(|_| range.is_none()) {
            let [Some(one), Some(other)] = got.each_ref().map(|got| probe.request(got)) else {
                continue;
            };
            let missing = (*probe == Probe::Missing).then(|| paths.map(missing_beside));
            if let Some([one, _]) = &missing
                && !self.folders.lock().insert(one.path().to_owned())
            {
                continue;
            }
            let paths = missing.as_ref().map_or(paths, <[_; 2]>::each_ref);
            Box::pin(self.ask(clients, pace, *probe, paths, [one, other])).await;
        }
    }

    /// Sends a request to both servers at the same time and records how the responses differ.
    async fn ask(
        &self,
        clients: &mut [Client<'_>; 2],
        pace: &tokio::sync::Mutex<Interval>,
        probe: Probe,
        paths: Paths<'_>,
        requests: [(Method, HeaderMap); 2],
    ) -> Option<[Seen; 2]> {
        pace.lock().await.tick().await;
        let [reference, candidate] = clients;
        let [first, second] = &requests;
        let (one, other) =
            tokio::join!(see(reference, paths[0], first), see(candidate, paths[1], second));
        let is_wanted = self.options.probes.contains(&probe);
        let mut report = self.report.lock();
        match (one, other) {
            (Ok(one), Ok(other)) => {
                if is_wanted {
                    let bases = self.sides.each_ref().map(|side| side.targets.server());
                    let ignored = &self.options.ignored;
                    let seen = [&one, &other];
                    let compared = Compared { probe, seen, bases, ignored };
                    report.add(probe, paths[0].path(), compared.differences());
                    report.time([one.first_byte, other.first_byte]);
                }
                Some([one, other])
            }
            (one, other) => {
                let text = |seen: io::Result<Seen>| {
                    seen.map_or_else(|error| error.to_string(), |seen| seen.status.to_string())
                };
                let failed = Difference {
                    class: Class::Wrong,
                    place: "response".into(),
                    reason: "there is no complete response",
                    values: [text(one), text(other)],
                };
                report.add(probe, paths[0].path(), vec![failed]);
                None
            }
        }
    }
}

/// Sends a request and reads its response to the end.
async fn see(
    client: &mut Client<'_>,
    path: &PathAndQuery,
    (method, fields): &(Method, HeaderMap),
) -> io::Result<Seen> {
    let open = |head: &Parts| {
        // A part of compressed content cannot be decompressed, and some responses have fields of content, but none.
        let is_whole = *method != Method::HEAD
            && ![StatusCode::PARTIAL_CONTENT, StatusCode::NOT_MODIFIED, StatusCode::NO_CONTENT]
                .contains(&head.status);
        if is_whole { ContentDigest::of(&head.headers) } else { ContentDigest::plain() }
    };
    let response = client.send(method, path, fields, open).await?;
    let (status, fields) = (response.head.status, response.head.headers);
    let (digest, length) = response.content.finish()?;
    Ok(Seen { status, fields, digest, length, first_byte: response.first_byte })
}

/// The path of an object that does not exist, beside another one.
fn missing_beside(path: &PathAndQuery) -> PathAndQuery {
    let folder = path.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    let missing = format!("{folder}/forebay-diff-no-such-object");
    missing.parse().unwrap_or_else(|_| PathAndQuery::from_static("/forebay-diff-no-such-object"))
}
