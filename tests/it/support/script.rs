//! A plain origin that answers what a test tells it, and nothing else.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

type Answers = Arc<Mutex<VecDeque<Response<Full<Bytes>>>>>;

/// Gives the answers in their order; without any left it cuts the connection.
pub(crate) struct Script {
    pub address: SocketAddr,
    answers: Answers,
    seen: Arc<Mutex<Vec<Request<()>>>>,
}

impl Script {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
        let address = listener.local_addr().expect("address");
        let (answers, seen) = (Answers::default(), Arc::new(Mutex::new(Vec::new())));
        let script = Self { address, answers: Arc::clone(&answers), seen: Arc::clone(&seen) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).expect("nodelay");
                let (answers, seen) = (Arc::clone(&answers), Arc::clone(&seen));
                let service = service_fn(move |request: Request<Incoming>| {
                    seen.lock().expect("lock").push(request.map(|_| ()));
                    let answer = answers.lock().expect("lock").pop_front();
                    async move { answer.ok_or_else(|| io::Error::other("no answer left")) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        script
    }

    /// Adds an answer; fields are written as `Name: value`.
    pub(crate) fn then(&self, status: u16, fields: &[&str], content: &str) -> &Self {
        let mut response = Response::builder().status(status);
        for field in fields {
            let (name, value) = field.split_once(": ").expect("a field");
            response = response.header(name, value);
        }
        let response = response.body(Full::from(content.to_owned())).expect("response");
        self.answers.lock().expect("lock").push_back(response);
        self
    }

    /// Takes back the answer that would come next.
    pub(crate) fn pop(&self) {
        self.answers.lock().expect("lock").pop_front();
    }

    /// How many requests came.
    pub(crate) fn requests(&self) -> usize {
        self.seen.lock().expect("lock").len()
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
