//! A cluster's stream in NATS JetStream.

use std::{io, path::Path, sync::Arc, time::Duration};

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr,
    jetstream::{
        self, Context,
        consumer::{AckPolicy, Consumer, DeliverPolicy, pull},
        message::PublishMessage,
        stream::{
            Config, DiscardPolicy, Info, LastRawMessageErrorKind, RetentionPolicy, StorageType,
            Stream,
        },
    },
};

use super::{
    message::{Heartbeat, Message, PurgeMessage, Subjects},
    options::{ClusterOptions, NatsOptions},
    seal::Seal,
    stream_state::{Reset, StreamState},
};

/// Timeout of a request to NATS.
const REQUEST: Duration = Duration::from_secs(2);

/// How often the connection is checked.
const PING: Duration = Duration::from_secs(2);

/// The messages that a stream keeps: one for each purged path, prefix and tag.
const MAX_MESSAGES: i64 = 1_000_000;

/// From here on, a stream counts as full: nodes must know it before messages are discarded.
const ALMOST_FULL: u64 = 900_000;

/// How long a heartbeat stays in the stream. Far longer than a lease, so that clocks do not matter.
const HEARTBEAT_LIFE: Duration = Duration::from_hours(24);

/// A consumer that is not used for this long is removed by the server.
const IDLE: Duration = Duration::from_mins(1);

/// The reason why NATS cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("cannot connect to NATS at {0}: {1}")]
    Connect(String, async_nats::ConnectError),
    #[error("cannot read the credentials for NATS in `{0}`: {1}")]
    Credentials(String, io::Error),
    #[error("`{0}` is not the URL of a NATS server")]
    Url(String),
    #[error("NATS refused to create or read the stream `{0}`: {1}")]
    Stream(String, String),
    #[error("the stream `{0}` has other settings: {1}")]
    Settings(String, String),
    #[error("an error in Forebay; please report the panic above")]
    Panic,
    #[error("the stream cannot be read: {0}")]
    Read(String),
    #[error("this machine has no random numbers to seal a message with")]
    Random,
    #[error("the disk cache was opened or reset too often")]
    Exhausted,
    #[error("the stream cannot be written: {0}")]
    Write(#[from] jetstream::context::PublishError),
}

impl StreamError {
    #[expect(clippy::needless_pass_by_value, reason = "the argument of `map_err`")]
    pub(super) fn read(error: impl ToString) -> Self {
        Self::Read(error.to_string())
    }

    /// The fix for it.
    pub(crate) fn advice(&self) -> Option<String> {
        Some(match self {
            Self::Connect(_, error) if error.kind() == ConnectErrorKind::AuthorizationViolation => {
                "check `user` and `password_file`, or `credentials_file`, in `cluster.nats`".into()
            }
            Self::Connect(_, error) if error.kind() == ConnectErrorKind::Tls => {
                "check `ca_file` and `certificate` in `cluster.nats`, and that the servers speak TLS; without TLS, their URLs begin with `nats://`".into()
            }
            Self::Connect(..) | Self::Url(_) => {
                "check `cluster.nats`: the servers, credentials and certificates; and that NATS runs".into()
            }
            Self::Credentials(..) => {
                "check `password_file` and `credentials_file` in `cluster.nats`".into()
            }
            Self::Stream(..) => {
                "use NATS 2.11 or later with JetStream, and at least `cluster.replicas` servers: with one server, set `replicas = 1` in `[cluster]`".into()
            }
            Self::Settings(name, _) => {
                format!("set them with `nats stream edit {name}`; or delete it with `nats stream rm {name}`: Forebay creates it again, and everything stored becomes invalid")
            }
            Self::Exhausted => "run `forebay cache clear` while Forebay is stopped".into(),
            Self::Read(_) | Self::Write(_) | Self::Random | Self::Panic => return None,
        })
    }
}

/// A connection to a stream.
#[derive(Clone, Debug)]
pub(super) struct ClusterStream {
    context: Context,
    stream: Stream,
    subjects: Subjects,
    /// The settings that it must have.
    wanted: Arc<Config>,
}

impl ClusterStream {
    /// Connects, and creates the stream if there is none.
    pub(super) async fn open(
        options: &ClusterOptions,
        node: &str,
        seal: Seal,
    ) -> Result<Self, StreamError> {
        let client = connect(&options.nats, node).await?;
        let mut context = jetstream::new(client);
        context.set_timeout(REQUEST);
        let subjects = Subjects::of(&options.name, seal);
        let wanted = settings(options, &subjects);
        let stream = context.get_or_create_stream(wanted.clone()).await;
        let refused = |error: String| StreamError::Stream(wanted.name.clone(), error);
        let stream = stream.map_err(|error| refused(error.to_string()))?;
        let found = &stream.cached_info().config;
        check(&wanted, found)?;
        if found.num_replicas != wanted.num_replicas {
            tracing::warn!(
                "{}",
                other_replicas(&wanted.name, found.num_replicas, wanted.num_replicas)
            );
        }
        Ok(Self { context, stream, subjects, wanted: Arc::new(wanted) })
    }

    /// The state of the stream.
    ///
    /// # Errors
    /// If it cannot be read, or has other settings now.
    pub(super) async fn state(&self) -> Result<StreamState, StreamError> {
        let info = self.stream.get_info().await.map_err(StreamError::read)?;
        check(&self.wanted, &info.config)?;
        Ok(state(&info))
    }

    /// The last purge of everything in the stream.
    pub(super) async fn reset(&self) -> Result<Option<Reset>, StreamError> {
        let subject = self.subjects.of_purge(&PurgeMessage::everything(0));
        match self.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => {
                let read = self.subjects.read(&subject, &message.payload);
                let number = match read {
                    Some(Message::Purge(purge)) => purge.reset().unwrap_or(0),
                    _ => 0,
                };
                Ok(Some(Reset { sequence: message.sequence, number }))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(StreamError::read(error)),
        }
    }

    /// Reads the stream from a message on.
    pub(super) async fn consumer(&self, from: u64) -> Result<Consumer<pull::Config>, StreamError> {
        consumer(&self.stream, from).await
    }

    pub(super) const fn context(&self) -> &Context {
        &self.context
    }

    pub(super) const fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    /// Writes a heartbeat. Resolves when the stream has it.
    pub(super) async fn send_heartbeat(&self, heartbeat: &Heartbeat) -> Result<(), StreamError> {
        let subject = self.subjects.of_heartbeat(&heartbeat.member);
        let payload = self.subjects.payload(&subject, heartbeat).ok_or(StreamError::Random)?;
        let message = PublishMessage::build().payload(payload).ttl(HEARTBEAT_LIFE);
        self.context.send_publish(subject, message).await?.await?;
        Ok(())
    }

    /// Writes a purge. Resolves with its sequence number when the stream has it. A message with the same `id` is not
    /// written again.
    pub(super) async fn send_purge(
        &self,
        purge: &PurgeMessage,
        id: &str,
    ) -> Result<u64, StreamError> {
        let subject = self.subjects.of_purge(purge);
        let payload = self.subjects.payload(&subject, purge).ok_or(StreamError::Random)?;
        let message = PublishMessage::build().payload(payload).message_id(id);
        let acknowledged = self.context.send_publish(subject, message).await?;
        Ok(acknowledged.await?.sequence)
    }
}

/// Reads a stream from a message on.
pub(super) async fn consumer(
    stream: &Stream,
    from: u64,
) -> Result<Consumer<pull::Config>, StreamError> {
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from.max(1) },
        ack_policy: AckPolicy::None,
        inactive_threshold: IDLE,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    };
    stream.create_consumer(config).await.map_err(StreamError::read)
}

/// The sequence number of a message in the stream, which is the next one after `delivered` messages of a consumer.
///
/// # Errors
/// If one before it was lost on its way: the server does not deliver it again.
pub(super) fn next_sequence(
    message: &jetstream::Message,
    delivered: &mut u64,
) -> Result<u64, StreamError> {
    let info = message.info().map_err(StreamError::read)?;
    *delivered += 1;
    if info.consumer_sequence == *delivered {
        Ok(info.stream_sequence)
    } else {
        Err(StreamError::read("a message was lost on its way"))
    }
}

pub(super) async fn connect(options: &NatsOptions, node: &str) -> Result<Client, StreamError> {
    let mut connect = ConnectOptions::new()
        .name(format!("forebay {node}"))
        .connection_timeout(REQUEST)
        .request_timeout(Some(REQUEST))
        .ping_interval(PING)
        .event_callback(|event| async move {
            match event {
                Event::ServerError(error) => tracing::warn!("NATS says: {error}"),
                event => tracing::debug!(%event, "NATS"),
            }
        });
    let unreadable =
        |path: &Path, error| StreamError::Credentials(path.display().to_string(), error);
    if let Some((user, path)) = &options.user {
        let password = tokio::fs::read_to_string(path).await;
        let password = password.map_err(|error| unreadable(path, error))?;
        if password.trim().is_empty() {
            return Err(unreadable(path, io::Error::other("it is empty")));
        }
        connect = connect.user_and_password(user.clone(), password.trim_end().to_owned());
    }
    if let Some(path) = &options.credentials {
        let read = connect.credentials_file(path).await;
        connect = read.map_err(|error| unreadable(path, error))?;
    }
    // Otherwise a server decides.
    connect = connect.require_tls(options.ca.is_some() || options.certificate.is_some());
    if let Some(path) = &options.ca {
        connect = connect.add_root_certificates(path.clone());
    }
    if let Some((certificate, key)) = &options.certificate {
        connect = connect.add_client_certificate(certificate.clone(), key.clone());
    }
    let servers: Result<Vec<ServerAddr>, _> = options
        .servers
        .iter()
        .map(|url| url.parse().map_err(|_| StreamError::Url(url.clone())))
        .collect();
    let connected = connect.connect(servers?).await;
    connected.map_err(|error| StreamError::Connect(options.servers.join(", "), error))
}

pub(super) fn settings(options: &ClusterOptions, subjects: &Subjects) -> Config {
    Config {
        name: format!("FOREBAY_{}", options.name),
        subjects: subjects.all(),
        storage: StorageType::File,
        num_replicas: options.replicas,
        max_messages: MAX_MESSAGES,
        max_messages_per_subject: 1,
        discard: DiscardPolicy::Old,
        deny_delete: true,
        deny_purge: true,
        allow_message_ttl: true,
        ..Config::default()
    }
}

pub(super) fn other_replicas(stream: &str, found: usize, wanted: usize) -> String {
    format!(
        "the stream `{stream}` has {found} copies, and `cluster.replicas` says {wanted}; change it with `nats stream edit {stream} --replicas {wanted}`"
    )
}

pub(super) fn check(wanted: &Config, found: &Config) -> Result<(), StreamError> {
    let differences = differences(wanted, found);
    if differences.is_empty() {
        return Ok(());
    }
    Err(StreamError::Settings(wanted.name.clone(), differences.join(", ")))
}

/// The settings that would lose purges.
fn differences(wanted: &Config, found: &Config) -> Vec<String> {
    let differs = |name: &str, wanted: String, found: String| {
        (wanted != found).then(|| format!("`{name}` is {found} instead of {wanted}"))
    };
    let number =
        |name: &str, wanted: i64, found: i64| differs(name, wanted.to_string(), found.to_string());
    let flag = |name: &str, found: bool| differs(name, true.to_string(), found.to_string());
    let has_sources =
        found.mirror.is_some() || found.sources.is_some() || found.subject_transform.is_some();
    let retention = format!("{:?}", RetentionPolicy::Limits);
    let all = [
        differs("subjects", format!("{:?}", wanted.subjects), format!("{:?}", found.subjects)),
        differs("storage", format!("{:?}", wanted.storage), format!("{:?}", found.storage)),
        number("max_msgs_per_subject", 1, found.max_messages_per_subject),
        number("max_msgs", MAX_MESSAGES, found.max_messages),
        differs("max_age", "0ns".into(), format!("{:?}", found.max_age)),
        number("max_bytes", -1, found.max_bytes),
        differs("retention", retention, format!("{:?}", found.retention)),
        flag("deny_delete", found.deny_delete),
        has_sources.then(|| "it gets its messages from another stream".to_owned()),
        flag("deny_purge", found.deny_purge),
        flag("allow_msg_ttl", found.allow_message_ttl),
    ];
    all.into_iter().flatten().collect()
}

fn state(info: &Info) -> StreamState {
    StreamState {
        name: format!("{} {}", info.config.name, info.created.unix_timestamp_nanos()),
        first: info.state.first_sequence,
        last: info.state.last_sequence,
        is_full: info.state.messages >= ALMOST_FULL,
    }
}
