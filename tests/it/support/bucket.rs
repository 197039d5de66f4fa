//! An in-process bucket: it verifies SigV4, counts requests, and sends only as many
//! bytes as the test allows.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::{
    S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    auth::SimpleAuth,
    dto::{
        ETag, ETagCondition, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput,
        StreamingBlob, Timestamp,
    },
    service::S3ServiceBuilder,
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

pub(crate) const NAME: &str = "media";
pub(crate) const ACCESS_KEY: &str = "AKIDTEST";
pub(crate) const SECRET_KEY: &str = "secret";

/// Bytes that a body sends between two checks of the gate.
const CHUNK: usize = 16 << 10;

#[derive(Clone)]
pub(crate) struct Object {
    pub content: Bytes,
    pub cache_control: Option<String>,
    pub modified: SystemTime,
}

/// One GET as received by the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub key: String,
    pub range: Option<String>,
    pub if_match: bool,
    pub if_none_match: bool,
}

pub(crate) struct Bucket {
    pub address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    objects: Mutex<HashMap<String, Object>>,
    gets: Mutex<Vec<Got>>,
    heads: Mutex<usize>,
    /// The byte limit of each body.
    gate: watch::Sender<usize>,
    /// The byte count after which every body breaks off.
    cut: Mutex<Option<usize>>,
    /// Whether only the next body breaks off.
    cut_once: AtomicBool,
    may_list: AtomicBool,
    error: Mutex<Option<S3ErrorCode>>,
}

impl Bucket {
    pub(crate) async fn start() -> Self {
        let state = Arc::new(State {
            objects: Mutex::default(),
            gets: Mutex::default(),
            heads: Mutex::default(),
            gate: watch::Sender::new(usize::MAX),
            cut: Mutex::default(),
            cut_once: AtomicBool::new(false),
            may_list: AtomicBool::new(true),
            error: Mutex::default(),
        });
        let mut builder = S3ServiceBuilder::new(Server(Arc::clone(&state)));
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
        let address = listener.local_addr().expect("address");
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).expect("nodelay");
                tokio::spawn(
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone()),
                );
            }
        });
        Self { address, state, accepting }
    }

    pub(crate) fn keys() -> Credentials {
        Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test")
    }

    pub(crate) fn put(&self, key: &str, content: impl Into<Bytes>) {
        self.put_with(key, content, None);
    }

    pub(crate) fn put_with(
        &self,
        key: &str,
        content: impl Into<Bytes>,
        cache_control: Option<&str>,
    ) {
        let mut objects = self.state.objects.lock().expect("lock");
        // Versions are a second apart, so that Last-Modified differs too.
        let version = u64::try_from(objects.len()).expect("few") + 1;
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + version);
        let modified =
            objects.get(key).map_or(modified, |old| old.modified + Duration::from_secs(1));
        let cache_control = cache_control.map(str::to_owned);
        objects.insert(key.to_owned(), Object { content: content.into(), cache_control, modified });
    }

    pub(crate) fn gets(&self) -> Vec<Got> {
        self.state.gets.lock().expect("lock").clone()
    }

    pub(crate) fn heads(&self) -> usize {
        *self.state.heads.lock().expect("lock")
    }

    /// Stops bodies after this many bytes until the gate opens further.
    pub(crate) fn gate(&self, bytes: usize) {
        self.state.gate.send_replace(bytes);
    }

    pub(crate) fn cut_bodies_after(&self, bytes: Option<usize>) {
        *self.state.cut.lock().expect("lock") = bytes;
    }

    /// Cuts only the next body, after this many bytes.
    pub(crate) fn cut_next_body_after(&self, bytes: usize) {
        self.state.cut_once.store(true, Ordering::Relaxed);
        self.cut_bodies_after(Some(bytes));
    }

    /// Without `s3:ListBucket`, AWS does not reveal that an object is missing.
    pub(crate) fn forbid_listing(&self) {
        self.state.may_list.store(false, Ordering::Relaxed);
    }

    pub(crate) fn fail_with(&self, code: Option<S3ErrorCode>) {
        *self.state.error.lock().expect("lock") = code;
    }

    /// Waits until the bucket has received this many GETs.
    pub(crate) async fn asked(&self, times: usize) {
        super::time::eventually(|| self.gets().len() >= times).await;
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Server(Arc<State>);

impl Server {
    fn find(&self, key: &str) -> S3Result<Object> {
        if let Some(code) = self.0.error.lock().expect("lock").clone() {
            return Err(S3Error::new(code));
        }
        let missing = if self.0.may_list.load(Ordering::Relaxed) {
            S3ErrorCode::NoSuchKey
        } else {
            S3ErrorCode::AccessDenied
        };
        let found = self.0.objects.lock().expect("lock").get(key).cloned();
        found.ok_or_else(|| S3Error::new(missing))
    }

    fn body(&self, content: Bytes) -> StreamingBlob {
        let mut gate = self.0.gate.subscribe();
        let mut cuts = self.0.cut.lock().expect("lock");
        let cut = *cuts;
        if self.0.cut_once.swap(false, Ordering::Relaxed) {
            *cuts = None;
        }
        drop(cuts);
        gate.mark_changed();
        StreamingBlob::wrap(futures_util::stream::unfold(
            (content, 0_usize, gate),
            move |(mut rest, sent, mut gate)| async move {
                if rest.is_empty() {
                    return None;
                }
                if cut.is_some_and(|cut| sent >= cut) {
                    return Some((Err(std::io::Error::other("cut")), (Bytes::new(), sent, gate)));
                }
                gate.wait_for(|open| *open > sent).await.expect("gate");
                let open = *gate.borrow() - sent;
                let chunk = rest.split_to(rest.len().min(CHUNK).min(open));
                let sent = sent + chunk.len();
                Some((Ok(chunk), (rest, sent, gate)))
            },
        ))
    }
}

pub(crate) fn etag(content: &Bytes) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn matches(condition: &ETagCondition, etag: &ETag) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(tag) => tag.weak_cmp(etag),
    }
}

#[async_trait::async_trait]
impl S3 for Server {
    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let is_text =
            std::path::Path::new(&input.key).extension().is_some_and(|ending| ending == "css");
        let range = request.headers.get("range").map(|v| v.to_str().expect("text").to_owned());
        self.0.gets.lock().expect("lock").push(Got {
            key: input.key.clone(),
            range,
            if_match: input.if_match.is_some(),
            if_none_match: input.if_none_match.is_some(),
        });
        // Each version of an object is a separate object of this bucket, named `key@version`.
        let key = match &input.version_id {
            Some(version) if version == "invalid" => {
                return Err(S3Error::new(S3ErrorCode::InvalidArgument));
            }
            Some(version) => format!("{}@{version}", input.key),
            None => input.key,
        };
        let object = self.find(&key)?;
        let tag = ETag::Strong(etag(&object.content));
        if input.if_match.as_ref().is_some_and(|condition| !matches(condition, &tag)) {
            return Err(S3Error::new(S3ErrorCode::PreconditionFailed));
        }
        if input.if_none_match.as_ref().is_some_and(|condition| matches(condition, &tag)) {
            let mut error = S3Error::new(S3ErrorCode::NotModified);
            let modified = httpdate::fmt_http_date(object.modified);
            let modified = (http::header::LAST_MODIFIED, modified.parse().expect("value"));
            error.set_headers(http::HeaderMap::from_iter([modified]));
            return Err(error);
        }
        let length = object.content.len() as u64;
        let (bytes, content_range) = match input.range {
            None => (0..length, None),
            Some(range) => {
                let bytes = range.check(length)?;
                let text = format!("bytes {}-{}/{length}", bytes.start, bytes.end - 1);
                (bytes, Some(text))
            }
        };
        let content_type = if is_text { "text/css" } else { "image/png" };
        let [start, end] = [bytes.start, bytes.end].map(|at| usize::try_from(at).expect("fits"));
        let content = object.content.slice(start..end);
        Ok(S3Response::new(GetObjectOutput {
            content_length: Some(i64::try_from(content.len()).expect("fits")),
            body: Some(self.body(content)),
            content_range,
            content_type: input.response_content_type.or(Some(content_type.into())),
            content_disposition: input.response_content_disposition,
            cache_control: object.cache_control,
            e_tag: Some(tag),
            last_modified: Some(Timestamp::from(object.modified)),
            metadata: Some([("uploader".to_owned(), "alice".to_owned())].into()),
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        *self.0.heads.lock().expect("lock") += 1;
        let key = match &request.input.version_id {
            Some(version) if version == "invalid" => {
                return Err(S3Error::new(S3ErrorCode::InvalidArgument));
            }
            Some(version) => format!("{}@{version}", request.input.key),
            None => request.input.key,
        };
        let object = self.find(&key)?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: i64::try_from(object.content.len()).ok(),
            content_type: Some("image/png".into()),
            e_tag: Some(ETag::Strong(etag(&object.content))),
            last_modified: Some(Timestamp::from(object.modified)),
            ..HeadObjectOutput::default()
        }))
    }
}
