//! One request after the other on a connection.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Uri, header,
    uri::{self, Authority, Scheme},
};
use http_body_util::{BodyExt, Empty};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::{
    Failure, Mix, Options, Run, Until,
    answer::{Answer, Known, is_hit},
    line::{Http, Line, Sender},
    pace::{Pace, Timer},
    tally::Tally,
    targets::{Target, Targets},
};

/// How long nobody tries anew where no connection came about.
const PAUSE: Duration = Duration::from_millis(100);

/// Asks on so many connections until the run is over.
pub(super) async fn all(run: &Arc<Run>, tally: &Arc<Mutex<Tally>>, connections: usize) {
    let mut lanes = JoinSet::new();
    #[expect(clippy::cast_precision_loss, reason = "no machine has so many connections")]
    let share = connections as f64 / run.options.connections.get() as f64;
    let pace = run.options.rate.map(|rate| Arc::new(Pace::new(rate * share)));
    for _ in 0..connections {
        lanes.spawn(connection(Arc::clone(run), Arc::clone(tally), pace.clone()));
    }
    while lanes.join_next().await.is_some() {}
}

async fn connection(run: Arc<Run>, tally: Arc<Mutex<Tally>>, pace: Option<Arc<Pace>>) {
    while !run.is_over() {
        let connected = tokio::time::timeout(run.options.timeout, run.line.connect()).await;
        let Ok(Ok(sender)) = connected else {
            if !run.take() {
                return;
            }
            tally.lock().fail(Failure::Connect);
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let mut lanes = JoinSet::new();
        for sender in sender.shared(run.line.streams(run.options.streams.get())) {
            let lane =
                Lane { run: Arc::clone(&run), tally: Arc::clone(&tally), pace: pace.clone() };
            lanes.spawn(lane.ask(sender));
        }
        while lanes.join_next().await.is_some() {}
    }
}

struct Lane {
    run: Arc<Run>,
    tally: Arc<Mutex<Tally>>,
    pace: Option<Arc<Pace>>,
}

impl Lane {
    /// Asks until the run is over or the connection is of no use any more.
    async fn ask(self, mut sender: Sender) {
        let Self { run, tally, pace } = &self;
        let requests = Requests::new(&run.options, &run.line, &run.targets);
        let Ok(timer) = pace.as_ref().map(|_| Timer::new()).transpose() else {
            tally.lock().fail(Failure::Connect);
            return;
        };
        while sender.is_ready().await && run.take() {
            let due = match (pace, &timer) {
                (Some(pace), Some(timer)) => {
                    let due = pace.take();
                    if run.is_after_end(due) || timer.wait(run.watch, due).await.is_err() {
                        return;
                    }
                    due
                }
                _ => run.watch.elapsed(),
            };
            let target = run.targets.next();
            let exchange = exchange(&mut sender, requests.request(&run.targets, target), target);
            match tokio::time::timeout(run.options.timeout, exchange).await {
                Ok(Ok(answer)) => {
                    let latency = run.watch.elapsed().saturating_sub(due);
                    tally.lock().answer(&answer, latency);
                }
                // It did not go out: the server closed the connection before.
                Ok(Err(error)) if error.is_canceled() => return run.give_back(),
                Ok(Err(_)) => return tally.lock().fail(Failure::Cut),
                Err(_) => return tally.lock().fail(Failure::Timeout),
            }
        }
    }
}

impl Run {
    fn is_over(&self) -> bool {
        self.over.load(std::sync::atomic::Ordering::Relaxed)
            || self.left.load(std::sync::atomic::Ordering::Relaxed) == 0
    }

    fn is_after_end(&self, moment: Duration) -> bool {
        matches!(self.options.until, Until::Time(time) if moment >= time)
    }

    fn give_back(&self) {
        if matches!(self.options.until, Until::Requests(_)) {
            self.left.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

pub(super) async fn exchange(
    sender: &mut Sender,
    request: Request<Empty<Bytes>>,
    target: &Target,
) -> hyper::Result<Answer> {
    let (head, mut body) = sender.send(request).await?.into_parts();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    if target.known.get().is_none()
        && let Some(known) = Known::of(head.status, &head.headers)
    {
        // Whoever was first has told the same.
        let _ = target.known.set(known);
    }
    Ok(Answer { status: head.status, bytes, hit: is_hit(&head.headers) })
}

/// What all requests of a run have in common.
pub(super) struct Requests {
    mix: Mix,
    fields: HeaderMap,
    /// With HTTP/2 each request names them.
    server: Option<(Scheme, Authority)>,
}

impl Requests {
    pub(super) fn new(options: &Options, line: &Line, targets: &Targets) -> Self {
        let mut fields = options.fields.clone();
        let uri: Uri = targets.server().parse().unwrap_or_default();
        let authority = uri.authority().cloned();
        let scheme = if line.is_encrypted() { Scheme::HTTPS } else { Scheme::HTTP };
        if let (Http::One, Some(authority)) = (line.http(), &authority)
            && let Ok(host) = HeaderValue::try_from(authority.as_str())
        {
            fields.entry(header::HOST).or_insert(host);
        }
        let server = authority.filter(|_| line.http() == Http::Two);
        Self { mix: options.mix, fields, server: server.map(|authority| (scheme, authority)) }
    }

    pub(super) fn request(&self, targets: &Targets, target: &Target) -> Request<Empty<Bytes>> {
        let mut uri = uri::Parts::default();
        uri.path_and_query = Some(targets.path(target).clone());
        if let Some((scheme, authority)) = &self.server {
            (uri.scheme, uri.authority) = (Some(scheme.clone()), Some(authority.clone()));
        }
        let mut request = Request::new(Empty::new());
        // A path alone is a URI, and so are all three parts.
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        *request.headers_mut() = self.fields.clone();
        self.mix.apply(target.known.get(), request.headers_mut());
        request
    }
}
