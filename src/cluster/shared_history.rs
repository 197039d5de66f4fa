//! The history of invalidations, which all nodes of a cluster have.
//!
//! It is a stream of its own, with the newest message of each invalidation. Each node reads all of it. A node that is
//! asked for an invalidation reads first what others have written until then.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType, Stream};
use futures_util::{StreamExt, future::BoxFuture};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    shared::Shared,
    stream::{ClusterStream, StreamError, consumer, next_sequence},
};
use crate::base::sha256;

/// The longest time that a request waits for the history.
const PATIENCE: Duration = Duration::from_secs(2);

/// The pause after the stream could not be read.
const PAUSE: Duration = Duration::from_secs(1);

/// Messages that are requested at a time, and how long a request lasts.
const BATCH: usize = 500;
const EXPIRES: Duration = Duration::from_secs(10);

/// The history of invalidations, which all nodes have.
#[derive(Clone, Debug)]
pub(crate) struct SharedHistory {
    shared: Arc<Shared>,
    /// The last message that this node has read.
    read: watch::Sender<u64>,
}

impl SharedHistory {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, read: watch::channel(0).0 }
    }

    /// Reads the history, from its beginning and then what is added. Calls `apply` for each message.
    pub(crate) async fn follow(
        &self,
        most: usize,
        apply: impl Fn(Vec<u8>) -> BoxFuture<'static, ()>,
    ) {
        loop {
            let connection = self.shared.connected().await;
            if let Err(error) = self.consume(&connection, most, &apply).await {
                tracing::debug!(%error, "the history of the cluster cannot be read");
            }
            sleep(PAUSE).await;
        }
    }

    async fn consume(
        &self,
        connection: &ClusterStream,
        most: usize,
        apply: &impl Fn(Vec<u8>) -> BoxFuture<'static, ()>,
    ) -> Result<(), StreamError> {
        let wanted = self.settings(most);
        let created = connection.context().get_or_create_stream(wanted).await;
        let stream = created.map_err(StreamError::read)?;
        if stream.cached_info().state.last_sequence < *self.read.borrow() {
            // It was created again.
            self.read.send_replace(0);
        }
        let from = *self.read.borrow() + 1;
        let consumer = consumer(&stream, from).await?;
        let mut delivered = 0;
        loop {
            let batch = consumer.batch().max_messages(BATCH).expires(EXPIRES).messages().await;
            let mut batch = batch.map_err(StreamError::read)?;
            while let Some(message) = batch.next().await {
                let message = message.map_err(StreamError::read)?;
                let sequence = next_sequence(&message, &mut delivered)?;
                // What no node has written is left out.
                if let Some(content) = self.shared.seal.open(&message.subject, &message.payload) {
                    apply(content).await;
                }
                self.read.send_replace(sequence);
            }
        }
    }

    /// Adds an invalidation, which `name` identifies. Resolves when the stream has it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) async fn write(&self, name: &str, invalidation: Vec<u8>) -> Result<(), String> {
        let written = async {
            let connection = self.shared.connected().await;
            let subject = format!("{}.{:032x}", self.subjects(), sha256::first_128(name));
            let sealed = self.shared.seal.seal(&subject, invalidation);
            let sealed = sealed.ok_or_else(|| "there are no random numbers".to_owned())?;
            let sent = connection.context().publish(subject, sealed.into()).await;
            let acknowledged = async { sent?.await }.await;
            acknowledged.map(|_| ()).map_err(|error| error.to_string())
        };
        timeout(PATIENCE, written).await.unwrap_or_else(|_| Err("NATS does not answer".to_owned()))
    }

    /// Waits until this node has read everything that was written until now, unless NATS does not answer.
    pub(crate) async fn catch_up(&self) {
        let caught_up = async {
            let connection = self.shared.connected().await;
            let stream: Stream = connection.context().get_stream(self.name()).await.ok()?;
            let last = stream.cached_info().state.last_sequence;
            self.read.subscribe().wait_for(|read| *read >= last).await.ok().map(|_| ())
        };
        // Then the answer is what this node knows.
        let _ = timeout(PATIENCE, caught_up).await;
    }

    fn name(&self) -> String {
        format!("FOREBAY_{}_history", self.shared.options.name)
    }

    fn subjects(&self) -> String {
        format!("fb.{}.history", self.shared.options.name)
    }

    fn settings(&self, most: usize) -> Config {
        Config {
            name: self.name(),
            subjects: vec![format!("{}.>", self.subjects())],
            storage: StorageType::File,
            num_replicas: self.shared.options.replicas,
            max_messages: i64::try_from(most).unwrap_or(i64::MAX),
            max_messages_per_subject: 1,
            discard: DiscardPolicy::Old,
            ..Config::default()
        }
    }
}
