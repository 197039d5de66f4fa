//! Events from an SQS queue: received with long polls, and deleted once their purges are in force
//! (Amazon SQS API Reference, JSON protocol).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{State, events};
use crate::{
    aws::describe,
    outbound::{Address, Service},
};

/// How long SQS waits for a message before it returns none. This is its maximum.
const WAIT_SECONDS: u32 = 20;

/// Maximum number of messages per response, as limited by SQS.
const BATCH: u32 = 10;

/// Shortest and longest backoff after a failure.
const PAUSE: std::ops::Range<Duration> = Duration::from_secs(1)..Duration::from_secs(60);

/// A queue that receives S3's events, directly or through an SNS topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// The queue's URL in SQS, such as `https://sqs.eu-central-1.amazonaws.com/111122223333/changes`.
    pub url: String,
    /// The address of SQS.
    pub address: Address,
    /// The queue's region.
    pub region: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Received {
    messages: Vec<Waiting>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Waiting {
    message_id: String,
    receipt_handle: String,
    body: String,
}

/// A queue and the client that polls it.
struct Consumer {
    state: Arc<State>,
    queue: Queue,
    service: Service,
}

/// Polls the queue for as long as the process runs. Returns only if no SQS client can be
/// created.
pub(super) async fn consume(state: Arc<State>, queue: Queue) {
    let service = match Service::at(queue.address.clone(), "sqs", &queue.region, None) {
        Ok(service) => service,
        Err(error) => {
            return tracing::error!(%error, queue = queue.url, "cannot poll the queue");
        }
    };
    let consumer = Consumer { state, queue, service };
    let mut pause = PAUSE.start;
    loop {
        match consumer.round().await {
            Ok(()) => pause = PAUSE.start,
            Err(reason) => {
                tracing::error!(
                    queue = consumer.queue.url,
                    reason,
                    "cannot receive events from the queue"
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.end);
            }
        }
    }
}

impl Consumer {
    /// Receives messages, applies them, and deletes those it understood. SQS redelivers the others until
    /// the queue's redrive policy removes them.
    async fn round(&self) -> Result<(), String> {
        let wanted = json!({
            "QueueUrl": self.queue.url,
            "MaxNumberOfMessages": BATCH,
            "WaitTimeSeconds": WAIT_SECONDS,
        });
        let received = self.call("ReceiveMessage", &wanted).await?;
        let received: Received = serde_json::from_slice(&received).map_err(|e| e.to_string())?;
        let mut done = Vec::new();
        for message in &received.messages {
            let body = unwrapped(&message.body);
            match events::take(&self.state, body.as_bytes(), &self.queue.url).await {
                Ok(_) => done.push(message),
                Err((_, reason)) => tracing::warn!(
                    queue = self.queue.url,
                    message = message.message_id,
                    reason,
                    "a message is not an event and stays in the queue"
                ),
            }
        }
        if done.is_empty() {
            return Ok(());
        }
        let entry = |(place, message): (usize, &&Waiting)| json!({ "Id": place.to_string(), "ReceiptHandle": message.receipt_handle });
        let entries: Vec<Value> = done.iter().enumerate().map(entry).collect();
        let unwanted = json!({ "QueueUrl": self.queue.url, "Entries": entries });
        let deleted = self.call("DeleteMessageBatch", &unwanted).await?;
        let deleted: Value = serde_json::from_slice(&deleted).map_err(|e| e.to_string())?;
        let failed = deleted.get("Failed").and_then(Value::as_array).map_or(0, Vec::len);
        if failed > 0 {
            // SQS redelivers these, and they purge again.
            tracing::warn!(
                queue = self.queue.url,
                failed,
                "SQS did not delete some messages and will deliver them again"
            );
        }
        Ok(())
    }

    async fn call(&self, action: &str, content: &Value) -> Result<Bytes, String> {
        let keys = self.state.credentials.current().ok_or("no AWS credentials are loaded")?;
        let mut fields = HeaderMap::new();
        let json = HeaderValue::from_static("application/x-amz-json-1.0");
        fields.insert(header::CONTENT_TYPE, json);
        let action = HeaderValue::try_from(format!("AmazonSQS.{action}"));
        fields.insert("x-amz-target", action.map_err(|error| error.to_string())?);
        let content = Bytes::from(content.to_string());
        let answer = self.service.call(Some(&keys), (Method::POST, "/"), fields, content).await;
        let answer = answer.map_err(|error| describe(&error))?;
        match answer.status {
            StatusCode::OK => Ok(answer.content),
            status => Err(refusal(status, &answer.content)),
        }
    }
}

/// Describes an error from SQS and its fix.
fn refusal(status: StatusCode, content: &[u8]) -> String {
    let error: Value = serde_json::from_slice(content).unwrap_or_default();
    let kind = error.get("__type").and_then(Value::as_str).unwrap_or_default();
    let kind = kind.rsplit('#').next().unwrap_or_default();
    let advice = match kind {
        kind if kind.contains("AccessDenied") => {
            "allow sqs:ReceiveMessage and sqs:DeleteMessage on the queue"
        }
        kind if kind.contains("QueueDoesNotExist") || kind.contains("NonExistentQueue") => {
            "check the URL and the region of the queue"
        }
        "InvalidClientTokenId" | "UnrecognizedClientException" | "SignatureDoesNotMatch" => {
            "check which credentials are in use"
        }
        _ => "see SQS's list of errors",
    };
    format!("SQS answered {status} {kind}: {advice}")
}

/// S3's event, unwrapped from its SNS notification if it has one.
fn unwrapped(body: &str) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Notification {
        r#type: String,
        message: String,
    }
    match serde_json::from_str::<Notification>(body) {
        Ok(wrapped) if wrapped.r#type == "Notification" => wrapped.message,
        _ => body.to_owned(),
    }
}
