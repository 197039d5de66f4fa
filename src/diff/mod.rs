//! Sends the same requests to two servers and compares the responses by what they mean.
//!
//! The reference is the server that viewers use now, such as CloudFront; the candidate will replace it.

mod compare;
mod content_digest;
mod difference;
mod meaning;
mod probe;
mod report;
mod response;

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
use response::Response;

use crate::{
    access::signed::unsigned_target,
    load::{Client, Line, RateLimit, Targets, prepare},
};

/// How to compare.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) probes: Vec<Probe>,
    /// The number of objects that are compared in parallel; the requests for one are sent one after the other.
    pub(crate) connections: NonZeroUsize,
    /// The most requests in a second to each server.
    pub(crate) rate: f64,
    /// Longest wait for a response.
    pub(crate) timeout: Duration,
    /// Header fields of every request.
    pub(crate) fields: HeaderMap,
    /// The site that requests for CORS come from.
    pub(crate) origin: HeaderValue,
    /// Fields that are not compared.
    pub(crate) ignored: Vec<HeaderName>,
    /// Whether the pages of errors must be the same.
    pub(crate) with_error_pages: bool,
}

/// One of the two servers.
pub(crate) struct Side {
    pub(crate) line: Line,
    /// The objects, with URLs of this server; both sides have the same.
    pub(crate) targets: Targets,
}

/// Sends all requests to both sides until `stop` is set; the first side is the reference. `progress` gets the number of objects
/// that are done.
///
/// # Errors
/// When a server cannot be reached at all, or there is no runtime.
pub(crate) fn run(
    options: &Options,
    sides: &[Side; 2],
    stop: &AtomicBool,
    progress: impl Fn(usize),
) -> io::Result<Report> {
    for (side, name) in sides.iter().zip(["reference", "candidate"]) {
        let tried = prepare(stop, side.line.try_out(options.timeout));
        tried.map_err(|error| {
            let server = side.targets.server();
            io::Error::new(error.kind(), format!("the {name}, {server}: {error}"))
        })?;
    }
    let comparison = Comparison {
        options,
        sides,
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
    report.finish(&options.probes);
    report.left = sides[0].targets.len().saturating_sub(report.objects);
    Ok(report)
}

struct Comparison<'a, P> {
    options: &'a Options,
    sides: &'a [Side; 2],
    next: AtomicUsize,
    /// Folders in which a missing object was requested.
    folders: Mutex<HashSet<String>>,
    report: Mutex<Report>,
    progress: P,
}

/// A request: its method and fields, for both servers.
type Request = (Method, HeaderMap);

/// The paths of an object at both servers: they differ in their signatures.
type Paths<'a> = [&'a PathAndQuery; 2];

impl<P: Fn(usize)> Comparison<'_, P> {
    async fn run(&self) -> io::Result<()> {
        let limit = RateLimit::new(self.options.rate);
        let count = self.options.connections.get().min(self.sides[0].targets.len());
        futures_util::future::join_all((0..count).map(|_| self.lane(&limit))).await;
        Ok(())
    }

    async fn lane(&self, limit: &RateLimit) {
        let Options { fields, timeout, .. } = self.options;
        let clients = self
            .sides
            .each_ref()
            .map(|side| Client::new(&side.line, fields, side.targets.server(), *timeout));
        let mut lane = Lane { comparison: self, limit, clients };
        loop {
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            let (Some((path, range)), Some((other, _))) =
                (self.sides[0].targets.get(next), self.sides[1].targets.get(next))
            else {
                return;
            };
            Box::pin(lane.object([path, other], range)).await;
            let mut report = self.report.lock();
            report.objects += 1;
            (self.progress)(report.objects);
        }
    }

    /// The paths of an object that does not exist, beside another one; `None` if it was requested before.
    fn missing_beside(&self, [path, _]: Paths<'_>) -> Option<[PathAndQuery; 2]> {
        let folder = path.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        let missing: PathAndQuery = format!("{folder}/forebay-diff-no-such-object").parse().ok()?;
        let is_new = self.folders.lock().insert(folder.to_owned());
        let signed = || self.sides.each_ref().map(|side| side.targets.signed_path(&missing));
        is_new.then(signed)
    }
}

/// Compares one object after the other.
struct Lane<'a, P> {
    comparison: &'a Comparison<'a, P>,
    limit: &'a RateLimit,
    clients: [Client<'a>; 2],
}

impl<P: Fn(usize)> Lane<'_, P> {
    /// Compares the responses to all requests for an object.
    async fn object(&mut self, paths: Paths<'_>, range: Option<&HeaderValue>) {
        let Options { probes, origin, .. } = self.comparison.options;
        let fields = range.map(|range| (header::RANGE, range.clone()));
        let get = (Method::GET, HeaderMap::from_iter(fields));
        let Some(got) = self.compare(Probe::Get, paths, [get.clone(), get]).await else { return };
        self.comparison.report.lock().note_get(&got[0]);
        // A range of a log is compared as it is.
        let others = probes.iter().filter(|probe| **probe != Probe::Get && range.is_none());
        for probe in others {
            let [Some(one), Some(other)] = got.each_ref().map(|got| probe.request(got, origin))
            else {
                continue;
            };
            if *probe == Probe::Missing {
                if let Some(missing) = self.comparison.missing_beside(paths) {
                    self.compare(*probe, missing.each_ref(), [one, other]).await;
                }
            } else {
                self.compare(*probe, paths, [one, other]).await;
            }
        }
    }

    /// Sends a request to both servers at the same time and records how the responses differ.
    async fn compare(
        &mut self,
        probe: Probe,
        paths: Paths<'_>,
        requests: [Request; 2],
    ) -> Option<[Response; 2]> {
        let Comparison { options, report, .. } = self.comparison;
        let [reference, candidate] = &mut self.clients;
        self.limit.wait().await;
        let (one, other) = Box::pin(async {
            tokio::join!(
                fetch(reference, self.limit, paths[0], &requests[0]),
                fetch(candidate, self.limit, paths[1], &requests[1])
            )
        })
        .await;
        let range = requests[0].1.get(header::RANGE).filter(|_| probe == Probe::Get);
        let url = url(paths[0], range);
        let (one, other) = match (one, other) {
            (Ok(one), Ok(other)) => (one, other),
            (one, other) => {
                let class = if one.is_ok() { Class::Wrong } else { Class::NotCompared };
                let text = |response: io::Result<Response>| match response {
                    Ok(response) => response.status.to_string(),
                    Err(error) => error.to_string(),
                };
                let difference = Difference {
                    class,
                    aspect: "response".into(),
                    reason: "a server gave no complete response",
                    values: [Some(text(one)), Some(text(other))],
                };
                report.lock().add(probe, &url, vec![difference]);
                return None;
            }
        };
        let is_wanted = options.probes.contains(&probe);
        if is_wanted || probe == Probe::Get {
            let bases = self.comparison.sides.each_ref().map(|side| side.targets.named());
            let compared = |responses, bases| Compared {
                probe,
                responses,
                bases,
                ignored: &options.ignored,
                with_error_pages: options.with_error_pages,
                accepts_encodings: probe == Probe::AcceptEncoding
                    || options.fields.contains_key(header::ACCEPT_ENCODING),
            };
            let mut differences = compared([&one, &other], bases).differences();
            if differences.iter().any(|it| it.class == Class::Wrong) {
                // The reference may differ from itself.
                self.limit.wait().await;
                let again = fetch(&mut self.clients[0], self.limit, paths[0], &requests[0]).await;
                if let Ok(again) = again {
                    let own = compared([&one, &again], [bases[0]; 2]).differences();
                    for difference in &mut differences {
                        difference.excuse(&own);
                    }
                }
            }
            if !is_wanted {
                // Other requests are made from these.
                differences.retain(|it| ["status", "etag", "last-modified"].contains(&&*it.aspect));
            }
            let mut report = report.lock();
            report.add(probe, &url, differences);
            report.time([one.first_byte, other.first_byte]);
        }
        Some([one, other])
    }
}

/// Sends a request and reads its response to the end. If the server closed the connection before it answered, the request is
/// sent once more.
async fn fetch(
    client: &mut Client<'_>,
    limit: &RateLimit,
    path: &PathAndQuery,
    (method, fields): &Request,
) -> io::Result<Response> {
    let open = |head: &Parts| {
        // A part of compressed content cannot be decompressed, and some responses have fields of content, but none.
        let is_whole = *method != Method::HEAD
            && ![StatusCode::PARTIAL_CONTENT, StatusCode::NOT_MODIFIED, StatusCode::NO_CONTENT]
                .contains(&head.status);
        if is_whole { ContentDigest::of(&head.headers) } else { ContentDigest::plain() }
    };
    let mut sent = client.send(method, path, fields, open).await;
    if sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotConnected) {
        limit.wait().await;
        sent = client.send(method, path, fields, open).await;
    }
    let sent = sent?;
    let (status, fields) = (sent.head.status, sent.head.headers);
    Ok(Response { status, fields, contents: sent.content.finish(), first_byte: sent.first_byte })
}

/// A path without its signature, and the range from a log.
fn url(path: &PathAndQuery, range: Option<&HeaderValue>) -> String {
    let target = unsigned_target(path.path(), path.query());
    let range = range.and_then(|range| range.to_str().ok());
    match range {
        Some(range) => format!("{target} ({range})"),
        None => target,
    }
}
