//! A plain origin that sends only scripted responses.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::watch};

type Rule = Box<dyn Fn(&Request<()>) -> (u16, &'static str) + Send>;

#[derive(Default)]
struct Answers {
    queued: VecDeque<Response<Full<Bytes>>>,
    /// The rule for responses when the queue is empty.
    rule: Option<Rule>,
}

/// Sends the queued responses in order, then those of a rule; without either it cuts the connection.
pub(crate) struct Script {
    pub address: SocketAddr,
    answers: Arc<Mutex<Answers>>,
    seen: Arc<Mutex<Vec<Request<()>>>>,
    held: watch::Sender<bool>,
}

impl Script {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
        let address = listener.local_addr().expect("address");
        let answers = Arc::new(Mutex::new(Answers::default()));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (held, _) = watch::channel(false);
        let script = Self { address, answers, seen, held };
        let (answers, seen) = (Arc::clone(&script.answers), Arc::clone(&script.seen));
        let holding = script.held.subscribe();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).expect("nodelay");
                let (answers, seen) = (Arc::clone(&answers), Arc::clone(&seen));
                let holding = holding.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answers, seen) = (Arc::clone(&answers), Arc::clone(&seen));
                    answer(request, answers, seen, holding.clone())
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        script
    }

    /// Queues a response; fields are written as `Name: value`.
    pub(crate) fn then(&self, status: u16, fields: &[&str], content: &str) -> &Self {
        let mut response = Response::builder().status(status);
        for field in fields {
            let (name, value) = field.split_once(": ").expect("a field");
            response = response.header(name, value);
        }
        let response = response.body(Full::from(content.to_owned())).expect("response");
        self.answers.lock().expect("lock").queued.push_back(response);
        self
    }

    /// Computes status and content once the queue is empty, cacheable for an hour.
    pub(crate) fn answer_when(
        &self,
        rule: impl Fn(&Request<()>) -> (u16, &'static str) + Send + 'static,
    ) {
        self.answers.lock().expect("lock").rule = Some(Box::new(rule));
    }

    /// Holds back responses until [`Script::release`].
    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }

    pub(crate) fn release(&self) {
        self.held.send_replace(false);
    }

    /// Removes the next response from the queue.
    pub(crate) fn pop(&self) {
        self.answers.lock().expect("lock").queued.pop_front();
    }

    /// Number of requests received.
    pub(crate) fn requests(&self) -> usize {
        self.seen.lock().expect("lock").len()
    }

    /// Waits until this many requests have arrived.
    pub(crate) async fn asked(&self, times: usize) {
        super::time::eventually(|| self.requests() >= times).await;
    }

    /// The target of the last request: path and query.
    pub(crate) fn last_target(&self) -> String {
        self.seen.lock().expect("lock").last().expect("a request").uri().to_string()
    }

    /// The fields of the last request.
    pub(crate) fn last(&self) -> HeaderMap {
        self.seen.lock().expect("lock").last().expect("a request").headers().clone()
    }
}

async fn answer(
    request: Request<Incoming>,
    answers: Arc<Mutex<Answers>>,
    seen: Arc<Mutex<Vec<Request<()>>>>,
    mut holding: watch::Receiver<bool>,
) -> io::Result<Response<Full<Bytes>>> {
    let (parts, content) = request.into_parts();
    let request = Request::from_parts(parts, ());
    seen.lock().expect("lock").push(request.clone());
    let _ = content.collect().await;
    holding.wait_for(|held| !held).await.map_err(io::Error::other)?;
    let mut answers = answers.lock().expect("lock");
    if let Some(queued) = answers.queued.pop_front() {
        return Ok(queued);
    }
    let Some(rule) = &answers.rule else { return Err(io::Error::other("no answer left")) };
    let (status, content) = rule(&request);
    let response = Response::builder().status(status).header("cache-control", "max-age=3600");
    response.body(Full::from(content)).map_err(io::Error::other)
}
