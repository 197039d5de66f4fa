//! A look at a cluster from outside, for `forebay doctor`.

use std::time::Duration;

use async_nats::jetstream::{
    self, Context, ErrorCode,
    context::{GetStreamError, GetStreamErrorKind, PublishErrorKind},
    message::PublishMessage,
    stream::{Config, Info},
};

use super::{
    message::Subjects,
    options::ClusterOptions,
    seal::Seal,
    stream::{StreamError, check, connect, other_replicas, settings},
};

/// How long NATS may take to answer to a message.
const ANSWER: Duration = Duration::from_secs(2);

/// What was found out about a cluster without changing anything.
pub(crate) struct Inspection {
    /// The version and address of the server.
    pub(crate) server: String,
    /// The name of the stream, if there is one.
    pub(crate) stream: Option<String>,
    /// What is wrong with its servers, and the fix.
    pub(crate) troubles: Vec<(String, String)>,
}

/// Connects to NATS, and looks at the stream.
///
/// # Errors
/// If a node could not use it.
pub(crate) async fn inspect(options: &ClusterOptions) -> Result<Inspection, StreamError> {
    let client = connect(&options.nats, &options.node()).await?;
    let context = jetstream::new(client.clone());
    let info = client.server_info();
    let server = format!("{} at {}:{}", info.version, info.host, info.port);
    let wanted = settings(options, &Subjects::of(&options.name, Seal::default()));
    let stream = match context.get_stream(&wanted.name).await {
        Ok(stream) => Some(stream),
        Err(error) if is_missing(&error) => None,
        Err(error) => return Err(StreamError::Stream(wanted.name, error.to_string())),
    };
    let Some(stream) = stream else {
        return Ok(Inspection { server, stream: None, troubles: Vec::new() });
    };
    let info = stream.cached_info();
    check(&wanted, &info.config)?;
    let mut troubles = troubles(&wanted, info);
    troubles.extend(forbidden(context, &options.name).await);
    Ok(Inspection { server, troubles, stream: Some(wanted.name) })
}

fn troubles(wanted: &Config, info: &Info) -> Vec<(String, String)> {
    let mut troubles = Vec::new();
    let (found, wanted_copies) = (info.config.num_replicas, wanted.num_replicas);
    if found != wanted_copies {
        let text = other_replicas(&wanted.name, found, wanted_copies);
        if let Some((text, fix)) = text.split_once("; ") {
            troubles.push((text.to_owned(), fix.to_owned()));
        }
    }
    let Some(cluster) = &info.cluster else { return troubles };
    let start = || "start the NATS servers that are down".to_owned();
    if cluster.leader.is_none() {
        troubles.push(("the stream has no leader, so nothing can be purged".to_owned(), start()));
    }
    for replica in cluster.replicas.iter().filter(|replica| replica.offline) {
        troubles.push((format!("the NATS server `{}` is down", replica.name), start()));
    }
    troubles
}

/// What the NATS user may not do. Nothing is written: the stream does not have the message that each one must follow.
async fn forbidden(mut context: Context, cluster: &str) -> Vec<(String, String)> {
    context.set_timeout(ANSWER);
    let mut forbidden = Vec::new();
    for kind in ["purge", "hb", "history"] {
        let subject = format!("fb.{cluster}.{kind}.doctor");
        let message = PublishMessage::build().expected_last_sequence(u64::MAX);
        let sent = async { context.send_publish(subject.clone(), message).await?.await };
        if sent.await.is_err_and(|error| error.kind() == PublishErrorKind::TimedOut) {
            forbidden.push((
                format!("NATS does not answer to `{subject}`"),
                format!(
                    "allow the user to publish to `fb.{cluster}.>` and to subscribe to `_INBOX.>`"
                ),
            ));
        }
    }
    forbidden
}

fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error)
        if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}
