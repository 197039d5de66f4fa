//! Bucket event notifications, and the purges they trigger. Supported sources: Amazon S3
//! and compatible stores (MinIO, Ceph), EventBridge, SeaweedFS
//! (Amazon S3 User Guide, "Event message structure" and "EventBridge event message structure").
//!
//! Events may be duplicated or out of order. A purge only removes, so neither matters.

use std::{borrow::Cow, collections::BTreeSet};

use http::StatusCode;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Refusal, State, not_purged};
use crate::{
    cache::{
        key::CanonicalPath,
        store::{Purge, PurgeBatch, PurgeError, PurgeMode},
    },
    proxy::Distribution,
};

/// The path prefix of SeaweedFS's buckets.
const SEAWEEDFS_BUCKETS: &str = "/buckets/";

/// A changed object, or a change to everything below a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    bucket: String,
    key: String,
    is_folder: bool,
    is_removed: bool,
}

impl Change {
    /// Purges removed objects hard and changed ones soft, so unchanged content is validated and not fetched again.
    const fn mode(&self) -> PurgeMode {
        if self.is_removed { PurgeMode::Hard } else { PurgeMode::Soft }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Taken {
    /// Number of purged paths, over all distributions.
    paths: usize,
}

impl Taken {
    /// The result for messages that concern no object.
    pub(super) const fn nothing() -> Self {
        Self { paths: 0 }
    }
}

/// Purges the objects that a bucket's event names. A thousand uploads are a thousand events, and a refused sender
/// may not retry, so events do not count against the limit on changes.
pub(super) async fn take(state: &State, content: &[u8], caller: &str) -> Result<Taken, Refusal> {
    let changes = parse(content).map_err(|message| (StatusCode::BAD_REQUEST, message))?;
    let paths = purge(state, &changes, caller).await.map_err(|error| not_purged(&error))?;
    Ok(Taken { paths })
}

/// Purges objects in the distributions that have an origin on their bucket. Returns the number of paths.
async fn purge(state: &State, changes: &[Change], caller: &str) -> Result<usize, PurgeError> {
    let rules = state.edge.rules();
    let mut count = 0;
    for distribution in rules.all() {
        for mode in [PurgeMode::Soft, PurgeMode::Hard] {
            let changes = changes.iter().filter(|change| change.mode() == mode);
            let items: BTreeSet<_> =
                changes.flat_map(|change| items(distribution, change)).collect();
            if items.is_empty() {
                continue;
            }
            let purges: Vec<Purge> = items.iter().map(Item::purge).collect();
            let paths: Vec<String> = items.into_iter().map(|item| item.path).collect();
            let distribution = distribution.settings.id.to_string();
            let batch = PurgeBatch { distribution, purges, mode };
            state.purge(batch, caller, &paths).await?;
            count += paths.len();
        }
    }
    if count == 0
        && let Some(change) = changes.first()
    {
        let (bucket, key) = (&change.bucket, &change.key);
        tracing::info!(caller, bucket, key, "no distribution serves the object of this event");
    }
    Ok(count)
}

/// A path of a distribution, or a path prefix.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    path: String,
    is_folder: bool,
}

impl Item {
    fn purge(&self) -> Purge {
        let key = self.path.strip_prefix('/').unwrap_or(&self.path);
        let path = CanonicalPath::of_key(key).generous().into_owned();
        if self.is_folder { Purge::Prefix(path) } else { Purge::Exact(path) }
    }
}

/// The paths of an object in a distribution. Paths that are never stored are skipped, because each purge log entry
/// adds a check to every lookup.
fn items(distribution: &Distribution, change: &Change) -> Vec<Item> {
    let origins = distribution.origins.iter().flat_map(|group| group.members());
    let paths = origins.filter_map(|origin| origin.path_of(&change.bucket, &change.key));
    let is_stored = |path: &String| change.is_folder || distribution.stores(path);
    let item = |path| Item { path, is_folder: change.is_folder };
    paths.filter(is_stored).map(item).collect()
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Message {
    S3 {
        #[serde(rename = "Records")]
        records: Vec<Record>,
    },
    /// The test event that S3 sends when notifications are configured.
    Test {
        #[serde(rename = "Event")]
        event: String,
    },
    EventBridge {
        #[serde(rename = "detail-type")]
        kind: String,
        detail: Detail,
    },
    SeaweedFs {
        key: String,
        message: Filer,
    },
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "eventName")]
    name: String,
    s3: Detail,
}

#[derive(Deserialize)]
struct Detail {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
struct Object {
    key: String,
}

/// The old and new state of a SeaweedFS entry.
#[derive(Deserialize)]
struct Filer {
    old_entry: Option<Entry>,
    new_entry: Option<Entry>,
    #[serde(default)]
    new_parent_path: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    name: String,
    #[serde(default)]
    is_directory: bool,
}

/// Parses a message. One that concerns no object, such as a test, yields no changes.
fn parse(content: &[u8]) -> Result<Vec<Change>, String> {
    let json: Value =
        serde_json::from_slice(content).map_err(|error| format!("not JSON: {error}"))?;
    let message = Message::deserialize(json).map_err(|_| {
        "not an event: expected one from EventBridge or SeaweedFS, or {\"Records\": [{\"eventName\": \"…\", \"s3\": {\"bucket\": {\"name\": \"…\"}, \"object\": {\"key\": \"…\"}}}]}".to_owned()
    })?;
    Ok(match message {
        Message::S3 { records } => records.into_iter().flat_map(of_s3).collect(),
        Message::Test { event } if event == "s3:TestEvent" => Vec::new(),
        Message::Test { event } => {
            return Err(format!("the event `{event}` has no records"));
        }
        Message::EventBridge { kind, detail } => of_eventbridge(&kind, detail).collect(),
        Message::SeaweedFs { key, message } => of_seaweedfs(&key, message),
    })
}

/// Reads an S3 record. MinIO also reports reads, which are skipped. Keys should be form-encoded, but some senders do
/// not encode them, so the raw key is purged too. Purging a key that is not stored does no harm.
fn of_s3(record: Record) -> impl Iterator<Item = Change> {
    let name = record.name.strip_prefix("s3:").unwrap_or(&record.name);
    let is_change = !name.starts_with("ObjectAccessed:");
    let is_removed = ["ObjectRemoved:", "LifecycleExpiration:"].iter().any(|n| name.starts_with(n));
    let Detail { bucket, object } = record.s3;
    let spaced = object.key.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok().map(Cow::into_owned);
    let decoded = decoded.filter(|decoded| *decoded != object.key);
    let change =
        move |key| Change { bucket: bucket.name.clone(), key, is_folder: false, is_removed };
    decoded.into_iter().chain([object.key]).filter(move |_| is_change).map(change)
}

/// Reads an EventBridge event. Its keys are not encoded.
fn of_eventbridge(kind: &str, detail: Detail) -> impl Iterator<Item = Change> {
    let is_removed = kind == "Object Deleted";
    let Detail { bucket, object } = detail;
    let change = Change { bucket: bucket.name, key: object.key, is_folder: false, is_removed };
    kind.starts_with("Object ").then_some(change).into_iter()
}

/// Reads a SeaweedFS event. `key` is the entry's old path, or its new path if it has just been created.
fn of_seaweedfs(key: &str, message: Filer) -> Vec<Change> {
    let change = |path: &str, entry: &Entry, is_removed| {
        let path = path.strip_prefix(SEAWEEDFS_BUCKETS)?;
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let (bucket, is_folder) = (bucket.to_owned(), entry.is_directory);
        // A bucket is also a folder, with an empty key.
        let end = if is_folder && !key.is_empty() { "/" } else { "" };
        let key = format!("{key}{end}");
        // Creating a folder changes no object.
        (is_removed || !is_folder).then_some(Change { bucket, key, is_folder, is_removed })
    };
    let new = message.new_entry.map(|entry| {
        let path = match message.new_parent_path.as_str() {
            "" => key.to_owned(),
            parent => format!("{}/{}", parent.trim_end_matches('/'), entry.name),
        };
        (path, entry)
    });
    let moved = new.as_ref().is_none_or(|(path, _)| path != key);
    let old = message.old_entry.filter(|_| moved).and_then(|entry| change(key, &entry, true));
    let new = new.and_then(|(path, entry)| change(&path, &entry, false));
    old.into_iter().chain(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each change as `bucket key`, with `-` before a removal.
    fn changes(content: &str) -> Vec<String> {
        let changes = parse(content.as_bytes()).expect("an event");
        let tell = |change: Change| {
            let sign = if change.is_removed { "-" } else { "" };
            format!("{sign}{} {}", change.bucket, change.key)
        };
        changes.into_iter().map(tell).collect()
    }

    fn record(name: &str, key: &str) -> String {
        format!(
            r#"{{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"{name}",
                "s3":{{"bucket":{{"name":"media","arn":"arn:aws:s3:::media"}},
                       "object":{{"key":"{key}","eTag":"d41d8","sequencer":"0055AED6DCD90281E5"}}}}}}"#
        )
    }

    #[test]
    fn records_of_s3() {
        let records = |records: &[String]| format!(r#"{{"Records":[{}]}}"#, records.join(","));
        let both =
            [record("ObjectCreated:Put", "a.jpg"), record("ObjectRemoved:Delete", "b/c.jpg")];
        assert_eq!(changes(&records(&both)), ["media a.jpg", "-media b/c.jpg"]);
        let encoded = record("s3:ObjectCreated:CompleteMultipartUpload", "red+flower%2B%C3%A9.jpg");
        assert_eq!(
            changes(&records(&[encoded])),
            ["media red flower+é.jpg", "media red+flower%2B%C3%A9.jpg"]
        );
        let minio = records(&[record("s3:ObjectRemoved:Delete", "a.jpg")]);
        let minio = minio.replacen(
            '{',
            r#"{"EventName":"s3:ObjectRemoved:Delete","Key":"media/a.jpg","#,
            1,
        );
        assert_eq!(changes(&minio), ["-media a.jpg"]);
        assert_eq!(changes(&records(&[])), [""; 0]);
        assert_eq!(changes(&records(&[record("s3:ObjectAccessed:Get", "a.jpg")])), [""; 0]);
        assert_eq!(
            changes(r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"media"}"#),
            [""; 0]
        );
    }

    #[test]
    fn events_of_eventbridge() {
        let event = |kind: &str| {
            format!(
                r#"{{"version":"0","detail-type":"{kind}","source":"aws.s3","detail":{{
                    "bucket":{{"name":"media"}},"object":{{"key":"a+b%20c.jpg","size":5}},"reason":"PutObject"}}}}"#
            )
        };
        assert_eq!(changes(&event("Object Created")), ["media a+b%20c.jpg"]);
        assert_eq!(changes(&event("Object Deleted")), ["-media a+b%20c.jpg"]);
        assert_eq!(changes(&event("Bucket Renamed")), [""; 0]);
    }

    #[test]
    fn events_of_seaweedfs() {
        let event = |key: &str, message: &str| {
            changes(&format!(r#"{{"key":"{key}","event_type":"update","message":{{{message}}}}}"#))
        };
        let (old, new) = (r#""old_entry":{"name":"a.jpg"}"#, r#""new_entry":{"name":"a.jpg"}"#);
        let here = r#""new_parent_path":"/buckets/media/x""#;
        let there = r#""new_parent_path":"/buckets/other""#;
        let path = "/buckets/media/x/a.jpg";
        assert_eq!(event(path, new), ["media x/a.jpg"]);
        assert_eq!(event(path, &format!("{old},{new},{here}")), ["media x/a.jpg"]);
        assert_eq!(event(path, &format!("{old},{new},{there}")), ["-media x/a.jpg", "other a.jpg"]);
        assert_eq!(event(path, old), ["-media x/a.jpg"]);
        assert_eq!(event("/etc/iam", new), [""; 0]);
        let folder = r#""old_entry":{"name":"x","is_directory":true}"#;
        assert_eq!(event("/buckets/media/x", folder), ["-media x/"]);
        assert_eq!(event("/buckets/media", &folder.replace("\"x\"", "\"media\"")), ["-media "]);
        assert_eq!(event("/buckets/media/x", &folder.replace("old", "new")), [""; 0]);
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for content in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"Records":[{"eventName":"ObjectCreated:Put"}]}"#,
            r#"{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{},"object":{}}}]}"#,
            r#"{"Event":"s3:Other"}"#,
            &"[".repeat(100_000),
        ] {
            assert!(parse(content.as_bytes()).is_err(), "{content:.40}");
        }
    }
}
