//! Checks of the cluster.

use super::Checks;
use crate::cluster::{ClusterOptions, Inspection, inspect};

/// Connects to NATS and looks at the stream.
pub(super) async fn examine(options: &ClusterOptions) -> Checks {
    let mut checks = Checks::of("cluster");
    match inspect(options).await {
        Ok(Inspection { server, stream, troubles }) => {
            checks.good(format!("NATS {server} accepts the connection"));
            checks.good(match stream {
                Some(stream) => format!("the stream `{stream}` has the right settings"),
                None => "the stream does not exist yet; the first node creates it".to_owned(),
            });
            for (text, fix) in troubles {
                checks.bad(text, fix);
            }
            checks.advise(
                "Forebay cannot see whether NATS writes each message to disk before it acknowledges it",
                "set `sync_interval: always` in the `jetstream` block of each NATS server",
            );
        }
        Err(error) => {
            let advice = error.advice().unwrap_or_else(|| "see the log of the NATS servers".into());
            checks.bad(error.to_string(), advice);
        }
    }
    checks
}
