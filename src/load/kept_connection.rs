//! A connection that is used for one request after the other.

use std::{io, time::Duration};

use super::{exchange_error::ExchangeError, line::Line, sender::Sender};

/// A connection for one request at a time. It is opened when it is needed, and again if the server closes it.
pub(super) struct KeptConnection<'a> {
    line: &'a Line,
    timeout: Duration,
    kept: Option<Sender>,
}

impl<'a> KeptConnection<'a> {
    /// `timeout` limits the time to connect.
    pub(super) const fn new(line: &'a Line, timeout: Duration) -> Self {
        Self { line, timeout, kept: None }
    }

    /// Sends a request with `exchange`. If it fails on a connection that was used before, which may have closed in the
    /// meantime, it is sent once more on a new one.
    pub(super) async fn send<T>(
        &mut self,
        exchange: impl AsyncFn(&mut Sender) -> Result<T, ExchangeError>,
    ) -> io::Result<T> {
        if let Some(sender) = self.kept.take()
            && let Ok(answer) = self.send_on(sender, &exchange).await
        {
            return Ok(answer);
        }
        let sender = self.line.connect(self.timeout).await?;
        self.send_on(sender, &exchange).await.map_err(io::Error::other)
    }

    /// Sends a request with `exchange`, once. An error without any response on a connection that was used before is of the kind
    /// `NotConnected`: it may have closed in the meantime.
    pub(super) async fn send_once<T>(
        &mut self,
        exchange: impl AsyncFn(&mut Sender) -> Result<T, ExchangeError>,
    ) -> io::Result<T> {
        let (sender, was_used) = match self.kept.take() {
            Some(sender) => (sender, true),
            None => (self.line.connect(self.timeout).await?, false),
        };
        let sent = self.send_on(sender, &exchange).await;
        sent.map_err(|error| {
            let has_no_response = !matches!(error, ExchangeError::Truncated(_));
            let is_stale = was_used && has_no_response;
            let kind = if is_stale { io::ErrorKind::NotConnected } else { io::ErrorKind::Other };
            io::Error::new(kind, error)
        })
    }

    async fn send_on<T>(
        &mut self,
        mut sender: Sender,
        exchange: &impl AsyncFn(&mut Sender) -> Result<T, ExchangeError>,
    ) -> Result<T, ExchangeError> {
        let answer = exchange(&mut sender).await?;
        self.kept = sender.is_ready().await.then_some(sender);
        Ok(answer)
    }
}
