//! The reference: the origin's history, and the responses that viewers may see.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;
use forebay::base::clock::{Clock, Timestamp};
use futures_util::stream;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::{Attempt, Ended};

pub(crate) const PATHS: [&str; 4] = ["/empty", "/small", "/middle", "/large"];
/// Language and device.
pub(crate) const VARIANTS: [&str; 4] = ["de-tv", "de-phone", "en-tv", "en-phone"];

/// A stale answer may be served this long after the origin failed (the error-caching minimum TTL).
const GRACE: Duration = Duration::from_secs(10);

pub(crate) type SharedWorld = Arc<Mutex<World>>;

/// One version of one object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version {
    number: usize,
    since: Timestamp,
    length: usize,
    max_age: u64,
    while_revalidate: u64,
}

/// The whole history.
pub(crate) struct World {
    clock: Clock,
    objects: HashMap<&'static str, Vec<Version>>,
    /// The oldest version of each path that purges still allow.
    floors: HashMap<&'static str, usize>,
    failing: bool,
    /// Time of the origin's last failure.
    failed: Option<Timestamp>,
    cut: bool,
    ever_cut: bool,
    /// Requests for a whole object whose version is not yet known, by path and
    /// variant.
    pub(crate) new: HashMap<(String, String), usize>,
    /// Number of cookies made; `given` holds those that viewers received.
    cookies: usize,
    pub(crate) given: HashSet<String>,
}

/// The state of the world at the start of a request.
#[derive(Debug)]
pub(crate) struct Moment {
    at: Timestamp,
    floor: usize,
}

impl World {
    pub(crate) fn new(rng: &mut Rng, clock: Clock) -> SharedWorld {
        let mut world = Self {
            clock,
            objects: HashMap::new(),
            floors: HashMap::new(),
            failing: false,
            failed: None,
            cut: false,
            ever_cut: false,
            new: HashMap::new(),
            cookies: 0,
            given: HashSet::new(),
        };
        for path in PATHS {
            world.change(path, rng);
        }
        Arc::new(Mutex::new(world))
    }

    pub(crate) fn change(&mut self, path: &'static str, rng: &mut Rng) {
        let length = match path {
            "/empty" => 0,
            "/small" => rng.usize(1..4096),
            "/middle" => rng.usize(4000..20_000),
            _ => rng.usize(20_000..60_000),
        };
        let versions = self.objects.entry(path).or_default();
        versions.push(Version {
            number: versions.len(),
            since: self.clock.now(),
            length,
            max_age: *rng.choice(&[0, 2, 10, 100]).expect("one"),
            while_revalidate: *rng.choice(&[0, 0, 5, 60]).expect("one"),
        });
    }

    fn current(&self, path: &str) -> Version {
        *self.objects[path].last().expect("a version")
    }

    pub(crate) fn purged(&mut self, paths: &[&'static str]) {
        for path in paths {
            self.floors.insert(path, self.current(path).number);
        }
    }

    pub(crate) fn toggle_failing(&mut self) -> bool {
        self.failing = !self.failing;
        self.failed = Some(self.clock.now());
        self.failing
    }

    pub(crate) fn cut_next(&mut self) {
        self.cut = true;
        self.ever_cut = true;
    }

    /// Whether one response serves all viewers that arrive together: the origin responds, its content arrives
    /// whole and is reusable.
    pub(crate) fn is_shared(&self, path: &str) -> bool {
        !self.failing && !self.cut && self.current(path).max_age > 0
    }

    pub(crate) fn moment(&self, path: &str) -> Moment {
        let floor = self.floors.get(path).copied().unwrap_or(0);
        Moment { at: self.clock.now(), floor }
    }

    /// Checks that the head of a response is allowed, and returns the version it shows.
    pub(crate) fn check(
        &self,
        begun: &Moment,
        path: &str,
        variant: &str,
        status: u16,
        tag: Option<&str>,
    ) -> Result<Option<Version>, String> {
        match status {
            200 | 206 => {}
            416 => return Ok(None),
            502 | 503 if self.failed.is_some() || self.ever_cut => return Ok(None),
            _ => return Err("not a status that this origin leads to".into()),
        }
        let tag = tag.ok_or("no entity tag")?;
        let versions = &self.objects[path];
        let shown = versions.iter().find(|version| entity_tag(path, **version, variant) == tag);
        let shown = *shown.ok_or("no version of this variant")?;
        if shown.number < begun.floor {
            return Err(format!("version {} was purged", shown.number));
        }
        let Some(next) = versions.get(shown.number + 1) else { return Ok(Some(shown)) };
        let allowed = Duration::from_secs(shown.max_age + shown.while_revalidate);
        let trouble = self.failing || self.failed.is_some_and(|failed| begun.at <= failed + GRACE);
        if begun.at > next.since + allowed && !trouble {
            let late = begun.at.since(next.since);
            return Err(format!("version {} ended {late:?} ago", shown.number));
        }
        Ok(Some(shown))
    }

    /// Checks that these are the bytes of that version; `range` is the range that a 206 must carry.
    pub(crate) fn check_bytes(
        &self,
        version: Version,
        ask: Attempt,
        range: Option<(usize, usize)>,
        content: &[u8],
        ended: Ended,
    ) -> Result<(), String> {
        let whole = bytes(ask.path, version, ask.variant);
        let wanted = match range {
            Some((first, last)) => first..(last + 1).min(whole.len()),
            None => 0..whole.len(),
        };
        let wanted = whole.get(wanted).ok_or("a range outside the object")?;
        if !wanted.starts_with(content) {
            return Err(format!("other bytes than those of version {}", version.number));
        }
        let may_be_cut = self.ever_cut || self.failed.is_some() || self.objects[ask.path].len() > 1;
        match ended {
            Ended::Complete if content.len() < wanted.len() => Err("too few bytes".into()),
            Ended::Cut if !may_be_cut => Err("cut without a reason".into()),
            _ => Ok(()),
        }
    }

    fn answer(&mut self, request: &Request<Incoming>) -> Response<BoxBody<Bytes, std::io::Error>> {
        let path = request.uri().path();
        let plain = |status: StatusCode| {
            let response = Response::builder().status(status).header("cache-control", "no-store");
            response.body(full(Bytes::new())).expect("response")
        };
        if self.failing {
            self.failed = Some(self.clock.now());
            return plain(StatusCode::SERVICE_UNAVAILABLE);
        }
        let field = |name| request.headers().get(name).map(|v| v.to_str().expect("text"));
        let language = field(header::ACCEPT_LANGUAGE).unwrap_or_default();
        let device = request.headers().get("device").map(|v| v.to_str().expect("text"));
        let variant = format!("{language}-{}", device.unwrap_or_default());
        let variant = variant.as_str();
        if field(header::IF_NONE_MATCH).or_else(|| field(header::IF_MATCH)).is_none() {
            *self.new.entry((path.to_owned(), variant.to_owned())).or_default() += 1;
        }
        let version = self.current(path);
        let tag = entity_tag(path, version, variant);
        let content = bytes(path, version, variant);
        if field(header::IF_MATCH).is_some_and(|wanted| wanted != tag) {
            return plain(StatusCode::PRECONDITION_FAILED);
        }
        self.cookies += 1;
        let fields = [
            ("etag", tag.clone()),
            ("set-cookie", format!("viewer={}", self.cookies)),
            ("vary", "Accept-Language".to_owned()),
            (
                "cache-control",
                format!(
                    "max-age={}, private=\"set-cookie\", stale-while-revalidate={}",
                    version.max_age, version.while_revalidate
                ),
            ),
        ];
        let fields: HeaderMap = fields
            .into_iter()
            .map(|(name, value)| (name.parse().expect("name"), value.parse().expect("value")))
            .collect();
        let mut response = if field(header::IF_NONE_MATCH) == Some(&tag) {
            let mut response = Response::new(full(Bytes::new()));
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            let range = field(header::RANGE).and_then(|text| range(text, content.len()));
            self.with_content(&content, range)
        };
        response.headers_mut().extend(fields);
        response
    }

    fn with_content(
        &mut self,
        content: &[u8],
        range: Option<Result<(usize, usize), ()>>,
    ) -> Response<BoxBody<Bytes, std::io::Error>> {
        let length = content.len();
        let (status, first, end) = match range {
            None => (StatusCode::OK, 0, length),
            Some(Ok((first, end))) => (StatusCode::PARTIAL_CONTENT, first, end),
            Some(Err(())) => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0),
        };
        let part = Bytes::copy_from_slice(&content[first..end]);
        let mut response = Response::builder().status(status);
        if status == StatusCode::PARTIAL_CONTENT {
            let range = format!("bytes {first}-{}/{length}", end - 1);
            response = response.header(header::CONTENT_RANGE, range);
        }
        let body = if self.cut && !part.is_empty() {
            self.cut = false;
            response = response.header(header::CONTENT_LENGTH, part.len());
            let half = part.slice(..part.len() / 2);
            let frames = [Ok(Frame::data(half)), Err(std::io::Error::other("cut"))];
            StreamBody::new(stream::iter(frames)).boxed()
        } else {
            full(part)
        };
        response.body(body).expect("response")
    }
}

fn full(bytes: Bytes) -> BoxBody<Bytes, std::io::Error> {
    Full::from(bytes).map_err(|never: Infallible| match never {}).boxed()
}

fn entity_tag(path: &str, version: Version, variant: &str) -> String {
    format!("\"{}-{}-{variant}\"", &path[1..], version.number)
}

/// Bytes that differ at each position from every other version, object or variant.
fn bytes(path: &str, version: Version, variant: &str) -> Vec<u8> {
    let mark =
        path.len() * 31 + version.number * 7 + variant.bytes().map(usize::from).sum::<usize>();
    (0..version.length)
        .map(|at| (mark * 13 + at * (mark | 1) + at / 251).to_le_bytes()[0])
        .collect()
}

/// `bytes=a-b` or `bytes=a-` as a half-open range within `length`.
fn range(text: &str, length: usize) -> Option<Result<(usize, usize), ()>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let first: usize = first.parse().ok()?;
    let last = last.parse().unwrap_or(usize::MAX - 1);
    Some(if first < length { Ok((first, (last + 1).min(length))) } else { Err(()) })
}

/// Serves the world; the task ends with the runtime.
pub(crate) async fn serve(world: SharedWorld) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("nodelay");
            let world = Arc::clone(&world);
            let service = service_fn(move |request: Request<Incoming>| {
                let response = world.lock().expect("lock").answer(&request);
                async move { Ok::<_, Infallible>(response) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}
