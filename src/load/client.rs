//! Sends single requests, for commands that look at the responses.

use std::{
    io::{self, Write},
    time::Duration,
};

use http::{HeaderMap, Method, response::Parts, uri::PathAndQuery};

use super::{
    exchange_error::ExchangeError, kept_connection::KeptConnection, line::Line, requests::Requests,
};
use crate::base::clock::Stopwatch;

/// Sends requests to one server, one after the other.
pub(crate) struct Client<'a> {
    requests: Requests,
    connection: KeptConnection<'a>,
    timeout: Duration,
}

/// A response whose content went to a writer.
pub(crate) struct ClientResponse<W> {
    pub(crate) head: Parts,
    pub(crate) content: W,
    /// Time from the request to the head.
    pub(crate) first_byte: Duration,
}

impl<'a> Client<'a> {
    /// `fields` are those of every request, and `server` is the start of the URLs.
    pub(crate) fn new(line: &'a Line, fields: &HeaderMap, server: &str, timeout: Duration) -> Self {
        let requests = Requests::plain(fields, line, server);
        Self { requests, connection: KeptConnection::new(line, timeout), timeout }
    }

    /// Sends a request with further fields. Its content goes to the writer that `open` returns for its head.
    ///
    /// # Errors
    /// If there is no complete response in time, or the writer refuses the content. The kind is `NotConnected` if the server may
    /// have closed the connection before it read the request.
    pub(crate) async fn send<W: Write>(
        &mut self,
        method: &Method,
        path: &PathAndQuery,
        fields: &HeaderMap,
        open: impl Fn(&Parts) -> W,
    ) -> io::Result<ClientResponse<W>> {
        let exchange = self.connection.send_once(async |sender| {
            let mut request = self.requests.get(path);
            *request.method_mut() = method.clone();
            request.headers_mut().extend(fields.clone());
            let watch = Stopwatch::start();
            let mut received = sender.send(request).await?;
            let first_byte = watch.elapsed();
            let mut content = open(&received.head);
            let cut = |error: &dyn std::fmt::Display| ExchangeError::Truncated(error.to_string());
            while let Some(more) = received.next().await.map_err(|error| cut(&error))? {
                content.write_all(&more).map_err(|error| cut(&error))?;
            }
            Ok(ClientResponse { head: received.head, content, first_byte })
        });
        let answered = tokio::time::timeout(self.timeout, exchange).await;
        answered.unwrap_or_else(|_| {
            let message = "the server did not answer in time";
            Err(io::Error::new(io::ErrorKind::TimedOut, message))
        })
    }
}
