//! The access log as it is written.

use std::{net::IpAddr, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use futures_util::stream::unfold;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use percent_encoding::percent_decode_str;
use serde_json::json;
use tokio::time::timeout;

use super::{Admin, Refusal};
use crate::{
    access_log::{Filter, Following},
    base::metrics::ResultType,
    http::{body::Body, query},
};

/// How often a stream looks whether the process ends.
const LOOK: Duration = Duration::from_millis(500);

/// An empty line is sent after so many looks without a record: if the reader is gone, that fails.
const QUIET: u32 = 20;

struct Stream {
    admin: Admin,
    following: Following,
    quiet: u32,
}

impl Admin {
    /// Streams the records that a request's query selects, one JSON object on each line.
    pub(super) fn stream_log(
        &self,
        parts: &Parts,
        client: IpAddr,
    ) -> Result<Response<Body>, Refusal> {
        self.0.may_read(parts, client)?;
        let filter = filter(parts.uri.query().unwrap_or_default())
            .map_err(|message| (StatusCode::BAD_REQUEST, message))?;
        let following = self.0.edge.access_log.follow(filter).ok_or_else(|| {
            let message = "16 programs read the log already".to_owned();
            (StatusCode::SERVICE_UNAVAILABLE, message)
        })?;
        let stream = Stream { admin: self.clone(), following, quiet: 0 };
        let lines = unfold(stream, |mut stream| async move {
            let line = stream.next().await?;
            Some((Ok(line), stream))
        });
        let mut response = Response::new(Body::stream(None, lines));
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

impl Stream {
    /// The next line; `None` once the process no longer serves.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let lost = self.following.take_lost();
            if lost > 0 {
                return Some(format!("{}\n", json!({ "lost": lost })).into());
            }
            match timeout(LOOK, self.following.next()).await {
                Ok(line) => {
                    self.quiet = 0;
                    return line;
                }
                Err(_) if self.admin.0.draining.load(Ordering::Acquire) => return None,
                Err(_) => self.quiet += 1,
            }
            if self.quiet == QUIET {
                self.quiet = 0;
                return Some(Bytes::from_static(b"\n"));
            }
        }
    }
}

/// The filter in a query, such as `status=5xx&path=/photos/`.
fn filter(text: &str) -> Result<Filter, String> {
    let mut filter = Filter::default();
    let pairs = query::pairs(text).filter(|pair| !pair.is_empty());
    for (name, value) in pairs.map(query::name_and_value) {
        let value = percent_decode_str(value.unwrap_or_default()).decode_utf8_lossy().into_owned();
        match name {
            "distribution" => filter.distribution = Some(value),
            "path" => filter.path = Some(value),
            "status" => {
                let statuses = Filter::statuses(&value);
                filter.statuses =
                    Some(statuses.ok_or_else(|| {
                        format!("`{value}` is no status: write 404, 5xx or 4xx-5xx")
                    })?);
            }
            "result" => {
                let mut all = ResultType::ALL.into_iter();
                let found = all.find(|result| result.name().eq_ignore_ascii_case(&value));
                let names = ResultType::ALL.map(ResultType::name).join(", ");
                filter.result =
                    Some(found.ok_or_else(|| format!("`{value}` is no result: use {names}"))?);
            }
            other => {
                return Err(format!(
                    "`{other}` is no filter: use distribution, path, status or result"
                ));
            }
        }
    }
    Ok(filter)
}
