//! A bucket and its viewer-facing host, in the files that set them up.

use std::path::Path;

use crate::config::{Config, Faults, quote};

/// The site to serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Site {
    /// The distribution's id.
    pub id: String,
    /// The bucket's name.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// URL of an S3-compatible store; `None` for AWS.
    pub endpoint: Option<String>,
    /// Whether the bucket name goes into the path.
    pub path_style: bool,
    /// The host that viewers use; any host if `None`.
    pub domain: Option<String>,
    /// Files of a TLS certificate and its key.
    pub certificate: Option<(String, String)>,
    /// Address for plain HTTP.
    pub listen: String,
    /// Address for HTTPS, used if there is a certificate.
    pub listen_tls: String,
}

/// The systemd unit.
pub(crate) const SYSTEMD_UNIT: &str = include_str!("../../config/forebay.service");

impl Site {
    /// A new id in CloudFront's format. Some CloudFront clients accept no other.
    #[must_use]
    pub(crate) fn new_id() -> String {
        const LENGTH: usize = 13;
        let letters =
            std::iter::repeat_with(|| fastrand::choice(*b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"));
        let letters = letters.take(LENGTH).flatten().map(char::from);
        std::iter::once('E').chain(letters).collect()
    }

    /// `forebay.toml`, with comments for its next reader.
    #[must_use]
    pub(crate) fn toml(&self) -> String {
        let mut lines = vec![
            "# Written by `forebay init`. config/example.toml of the sources documents every key;".into(),
            "# `forebay check` finds faults, `forebay doctor` looks at bucket and credentials, SIGHUP reloads.".into(),
            "# Do not put credentials here: they come from the environment, ~/.aws or the machine's role.".into(),
            String::new(),
            "# Where viewers connect.".into(),
            "[listen]".into(),
            format!("http = {}", quote(&self.listen)),
        ];
        if let Some((certificate, key)) = &self.certificate {
            lines.push(format!("https = {}", quote(&self.listen_tls)));
            lines.push(format!(
                "tls = [{{ certificate = {}, key = {} }}]",
                quote(certificate),
                quote(key)
            ));
        }
        lines.extend([
            String::new(),
            "# Memory for objects; those that were not asked for longest go first.".into(),
            "[cache]".into(),
            "memory = \"1GiB\"".into(),
            String::new(),
            "# What is served, and the hosts it answers for.".into(),
            "[[distribution]]".into(),
            format!("id = {}", quote(&self.id)),
            format!("aliases = [{}]", quote(self.domain.as_deref().unwrap_or("*"))),
            String::new(),
            "[[distribution.origin]]".into(),
            "id = \"bucket\"".into(),
            format!("bucket = {}", quote(&self.bucket)),
            format!("region = {}", quote(&self.region)),
        ]);
        lines.extend(self.endpoint.as_ref().map(|url| format!("endpoint = {}", quote(url))));
        lines.extend(self.path_style.then(|| "path_style = true".to_owned()));
        lines.extend([
            String::new(),
            "[distribution.default_behavior]".into(),
            "origin = \"bucket\"".into(),
            "# As long as objects say themselves, a day where they do not (CloudFront's default)."
                .into(),
            "cache_policy = \"CachingOptimized\"".into(),
            "compress = true".into(),
        ]);
        if self.certificate.is_some() {
            lines.push("viewer_protocol_policy = \"redirect-to-https\"".into());
        }
        lines.join("\n") + "\n"
    }

    /// The compiled configuration.
    ///
    /// # Errors
    /// If one of the given values is invalid.
    pub(crate) fn config(&self, directory: &Path) -> Result<Config, Faults> {
        Config::compile("forebay.toml", &self.toml(), directory)
    }

    /// The Django settings for django-storages.
    #[must_use]
    pub(crate) fn django(&self) -> String {
        let quote = |text: &str| serde_json::Value::from(text).to_string();
        let port = self.listen.rsplit(':').next().unwrap_or("8080");
        let local = format!("localhost:{port}");
        let mut options = vec![
            ("bucket_name", quote(&self.bucket)),
            ("region_name", quote(&self.region)),
            ("file_overwrite", "False".to_owned()),
            ("custom_domain", quote(self.domain.as_deref().unwrap_or(&local))),
        ];
        options.extend(self.endpoint.as_ref().map(|url| ("endpoint_url", quote(url))));
        if self.domain.is_none() {
            options.push(("url_protocol", quote("http:")));
        }
        let lines =
            options.iter().map(|(name, value)| format!("            \"{name}\": {value},\n"));
        let options = lines.collect::<Vec<_>>().concat();
        format!(
            "# For Django's settings, with django-storages[s3]. Uploads go to the bucket; URLs lead to Forebay.\n\
             STORAGES = {{\n    \"default\": {{\n        \"BACKEND\": \"storages.backends.s3.S3Storage\",\n        \
             \"OPTIONS\": {{\n{options}        }},\n    }},\n    \"staticfiles\": {{\n        \
             \"BACKEND\": \"django.contrib.staticfiles.storage.StaticFilesStorage\",\n    }},\n}}\n"
        )
    }

    /// `compose.yaml` for the container image.
    #[must_use]
    pub(crate) const fn compose() -> &'static str {
        COMPOSE
    }
}

const COMPOSE: &str = "\
services:
  forebay:
    # `docker build -t forebay .` in the sources makes it.
    image: forebay
    command: serve --config /etc/forebay/forebay.toml
    # The ports of forebay.toml are this machine's; purges and metrics stay on its 127.0.0.1:9145.
    network_mode: host
    read_only: true
    restart: unless-stopped
    # Requests under way may take `listen.drain`.
    stop_grace_period: 60s
    volumes:
      - .:/etc/forebay:ro
    # Without these, the machine's role is used.
    environment:
      - AWS_ACCESS_KEY_ID
      - AWS_SECRET_ACCESS_KEY
      - AWS_SESSION_TOKEN
";
