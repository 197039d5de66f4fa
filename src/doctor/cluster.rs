//! Checks of the cluster.

use super::Checks;
use crate::cluster::{ClusterOptions, Inspection, inspect};

/// Connects to NATS and looks at the stream.
pub(super) async fn examine(options: &ClusterOptions) -> Checks {
    let mut checks = Checks::of("cluster");
    match inspect(options).await {
        Ok(Inspection { server, stream }) => {
            checks.good(format!("NATS {server} accepts the connection"));
            checks.good(match stream {
                Some(stream) => format!("the stream `{stream}` has the right settings"),
                None => "the stream does not exist yet; the first node creates it".to_owned(),
            });
            checks.advise(
                "Forebay cannot see whether NATS writes each message to disk before it acknowledges it",
                "set `sync_interval: always` in the `jetstream` block of each NATS server",
            );
        }
        Err(error) => checks.bad(error.to_string(), error.advice()),
    }
    checks
}
