//! The edge under test, on free ports, with a clock that tests control.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use forebay::{
    app::{self, CredentialSource, Running},
    aws::Credentials,
    base::clock::Clock,
    config::Config,
};

use super::{
    bucket::{Bucket, NAME},
    script::Script,
    viewer::{Answer, PATIENCE, Viewer},
};

pub(crate) struct Edge {
    pub running: Option<Running>,
    pub clock: Clock,
    pub credentials: Arc<Credentials>,
    pub address: SocketAddr,
}

/// The start of a configuration: free ports, one worker and no access log.
pub(crate) const LISTEN: &str = r#"
[listen]
http = "127.0.0.1:0"
workers = 1
[admin]
listen = "127.0.0.1:0"
[access_log]
format = "off"
"#;

/// A configuration for one bucket; `cache` and `extra` are more lines of TOML.
pub(crate) fn config_for(bucket: SocketAddr, cache: &str, extra: &str) -> String {
    format!(
        r#"
[listen]
http = "127.0.0.1:0"
workers = 2
drain = "5s"

[admin]
listen = "127.0.0.1:0"

[access_log]
format = "off"

[cache]
{cache}

[[distribution]]
id = "media"
aliases = ["*"]
{extra}

[[distribution.origin]]
id = "bucket"
bucket = "{NAME}"
region = "us-east-1"
endpoint = "http://{bucket}"
connect_timeout = "1s"
connect_attempts = 1
response_timeout = "2s"

[distribution.default_behavior]
origin = "bucket"
cache_policy = "CachingOptimized"
"#
    )
}

/// More lines of TOML, each for its table.
#[derive(Default)]
pub(crate) struct Lines<'a> {
    pub listen: &'a str,
    /// Policies and the like.
    pub top: &'a str,
    pub distribution: &'a str,
    pub origin: &'a str,
    /// Replaces `cache_policy = "CachingOptimized"`.
    pub policy: Option<&'a str>,
    pub behavior: &'a str,
    /// More tables of the distribution.
    pub more: &'a str,
}

impl Edge {
    /// An edge in front of a plain origin, with CloudFront's usual policy.
    pub(crate) fn before_script(script: &Script, lines: &Lines<'_>) -> Self {
        Self::before_origin(script.address, lines)
    }

    /// The same in front of any plain origin.
    pub(crate) fn before_origin(origin_address: SocketAddr, lines: &Lines<'_>) -> Self {
        let Lines { listen, top, distribution, origin, policy, behavior, more } = lines;
        let policy = policy.unwrap_or("CachingOptimized");
        let listening = LISTEN.replace("[admin]", &format!("{listen}\n[admin]"));
        Self::with(&format!(
            r#"{listening}
{top}
[cache]
memory = "32MiB"
slice = "64KiB"
[[distribution]]
id = "media"
aliases = ["*"]
{distribution}
[[distribution.origin]]
id = "app"
url = "http://{origin_address}"
connect_timeout = "1s"
connect_attempts = 1
response_timeout = "1s"
{origin}
[distribution.default_behavior]
origin = "app"
cache_policy = "{policy}"
{behavior}
{more}
"#
        ))
    }

    /// An edge in front of `bucket`, with small slices so that few bytes exercise everything.
    pub(crate) fn before(bucket: &Bucket) -> Self {
        Self::with(&config_for(bucket.address, "memory = \"32MiB\"\nslice = \"64KiB\"", ""))
    }

    pub(crate) fn with(text: &str) -> Self {
        let credentials = Credentials::new();
        credentials.install(&Bucket::keys()).expect("good keys");
        Self::with_credentials(text, credentials)
    }

    pub(crate) fn with_credentials(text: &str, credentials: Arc<Credentials>) -> Self {
        Self::of_config(compile(text), credentials)
    }

    /// An edge with a second configuration for a part of the requests.
    pub(crate) fn staged(text: &str, staged: &str) -> Self {
        let mut config = compile(text);
        config.stage(compile(staged)).expect("a staging configuration");
        Self::of_config(config, Credentials::new())
    }

    pub(crate) fn of_config(config: Config, credentials: Arc<Credentials>) -> Self {
        let clock = Clock::manual(Clock::system().now());
        let source = CredentialSource::Given(Arc::clone(&credentials));
        let running = app::start(config, clock.clone(), source).expect("started");
        let address = running.http.first().or(running.https.first()).copied().expect("an address");
        Self { running: Some(running), clock, credentials, address }
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("running")
    }

    pub(crate) fn viewer(&self) -> Viewer {
        Viewer::new(self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.viewer().get(path).await
    }

    pub(crate) async fn purge(&self, paths: &[&str]) -> Answer {
        let admin = self.running().admin_address.expect("admin");
        let body = serde_json::json!({"distribution": "media", "paths": paths}).to_string();
        Viewer::new(admin)
            .field("content-type", "application/json")
            .send("POST", "/purge", body)
            .await
    }

    pub(crate) async fn admin(&self, path: &str) -> Answer {
        Viewer::new(self.running().admin_address.expect("admin")).get(path).await
    }

    pub(crate) async fn metrics(&self) -> String {
        String::from_utf8_lossy(&self.admin("/metrics").await.content).into_owned()
    }

    /// Waits until the metrics contain `line`. Some are counted after the viewer has its response.
    pub(crate) async fn metrics_have(&self, line: &str) {
        let wait = async {
            while !self.metrics().await.contains(line) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "no {line} in {}", self.metrics().await);
    }
}

/// Compiles a configuration without faults.
pub(crate) fn compile(text: &str) -> Config {
    let config = Config::compile("test.toml", text, Path::new(""));
    config.map_err(miette::Report::new).expect("no faults")
}
