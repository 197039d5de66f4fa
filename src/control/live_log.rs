//! The access log as it is written.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream::unfold;
use http::{Response, StatusCode, request::Parts};
use percent_encoding::percent_decode_str;
use serde_json::json;
use tokio::time::timeout;

use super::{Admin, Refusal, State, auth::Callers, reply::protected};
use crate::{
    access_log::{Filter, Following, MOST_FOLLOWERS},
    base::metrics::ResultType,
    http::{body::Body, query},
    proxy::Rules,
};

/// How often a stream checks whether the process leaves.
const LOOK: Duration = Duration::from_millis(500);

/// An empty line is sent after so many checks without a record: if the reader is gone, that fails.
const QUIET: u32 = 2;

struct Stream {
    admin: Admin,
    /// The callers when it began. If others are configured, the reader has to begin again.
    callers: Arc<Callers>,
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
        let rules = self.0.edge.rules();
        let filter = filter(parts.uri.query().unwrap_or_default(), &rules)
            .map_err(|message| (StatusCode::BAD_REQUEST, message))?;
        let unavailable = |message| (StatusCode::SERVICE_UNAVAILABLE, message);
        if self.0.draining.load(Ordering::Acquire) {
            return Err(unavailable("this process ends; connect again in a moment".to_owned()));
        }
        let following = self.0.edge.access_log.follow(filter).ok_or_else(|| {
            unavailable(format!("{MOST_FOLLOWERS} programs read the log already: end one of them"))
        })?;
        let callers = self.0.callers.load_full();
        let stream = Stream { admin: self.clone(), callers, following, quiet: 0 };
        let lines = unfold(stream, |mut stream| async move {
            let line = stream.next().await?;
            Some((Ok(line), stream))
        });
        Ok(protected("application/x-ndjson", Body::stream(None, lines)))
    }
}

impl Stream {
    fn is_over(&self) -> bool {
        let State { draining, callers, .. } = &*self.admin.0;
        draining.load(Ordering::Acquire) || !Arc::ptr_eq(&callers.load(), &self.callers)
    }

    /// The next line; `None` once the stream is over and nothing waits.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.is_over() {
                return self.following.waiting();
            }
            let lost = self.following.take_lost();
            if lost > 0 {
                return Some(format!("{}\n", json!({ "lost": lost })).into());
            }
            match timeout(LOOK, self.following.next()).await {
                Ok(line) => {
                    self.quiet = 0;
                    return line;
                }
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
fn filter(text: &str, rules: &Rules) -> Result<Filter, String> {
    let mut filter = Filter::default();
    let pairs = query::pairs(text).filter(|pair| !pair.is_empty());
    for (name, value) in pairs.map(query::name_and_value) {
        let value = percent_decode_str(value.unwrap_or_default()).decode_utf8_lossy().into_owned();
        match name {
            "distribution" => {
                if rules.by_id(&value).is_none() {
                    let all = rules.all().map(|it| &*it.settings.id);
                    let all = all.collect::<Vec<_>>().join(", ");
                    return Err(format!("there is no distribution `{value}`; use one of: {all}"));
                }
                filter.distribution = Some(value);
            }
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
