//! A bucket and its viewer-facing host, in the files that set them up.

use std::{
    collections::BTreeSet,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

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
    /// The object returned for `/`.
    pub default_root_object: Option<String>,
    /// Absolute paths of a TLS certificate and its key.
    pub certificate: Option<(String, String)>,
    /// Address for plain HTTP.
    pub listen: String,
    /// Address for HTTPS, used if there is a certificate.
    pub listen_tls: String,
    /// Admin address, or `off`.
    pub admin: String,
}

impl Site {
    /// A site with valid values, to check others one at a time.
    pub(crate) fn sample() -> Self {
        let region = "us-east-1".into();
        Self { id: "media".into(), bucket: "media".into(), region, ..Self::default() }
    }

    /// A new ID in CloudFront's format, which some of its clients require: `E` for a distribution, `K` for a key.
    #[must_use]
    pub(crate) fn new_id(first: char) -> String {
        const LENGTH: usize = 13;
        let letters =
            std::iter::repeat_with(|| fastrand::choice(*b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"));
        let letters = letters.take(LENGTH).flatten().map(char::from);
        std::iter::once(first).chain(letters).collect()
    }

    /// `forebay.toml`, with comments for its next reader.
    #[must_use]
    pub(crate) fn toml(&self) -> String {
        let mut lines = vec![
            "# Written by `forebay init`. docs/configuration.md documents every key. `forebay check` checks this file,".into(),
            "# `forebay doctor` also checks bucket and credentials. `forebay reload` applies changes.".into(),
            "# Credentials never go here: they come from the environment, ~/.aws or the machine's role.".into(),
            String::new(),
            "# Addresses for viewers. [::] means all addresses of this machine, IPv6 and IPv4.".into(),
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
            "# Purges, metrics and health checks.".into(),
            "[admin]".into(),
            format!("listen = {}", quote(&self.admin)),
            String::new(),
            "# Memory for objects. The least recently used ones are evicted.".into(),
            "[cache]".into(),
            "memory = \"1GiB\"".into(),
            "# A disk cache outlives a restart and can be larger than memory (docs/disk.md):"
                .into(),
            "# [cache.disk]".into(),
            "# path = \"/var/cache/forebay\"".into(),
            "# capacity = \"100GiB\"".into(),
            String::new(),
            "# A distribution: its hosts, origins and behaviors.".into(),
            "[[distribution]]".into(),
            format!("id = {}", quote(&self.id)),
            format!("aliases = [{}]", quote(self.domain.as_deref().unwrap_or("*"))),
        ]);
        let root = self.default_root_object.as_ref();
        lines.extend(root.map(|object| format!("default_root_object = {}", quote(object))));
        if self.domain.is_some() && self.certificate.is_none() {
            lines.push("# A load balancer in front terminates TLS. Signatures cover the URL as viewers see it.".into());
            lines.push("public_scheme = \"https\"".into());
        }
        lines.extend([
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
            "# Everyone who can reach Forebay can read these objects, unless signatures are required, as in".into(),
            "# docs/signed-access.md:".into(),
            "# trusted_key_groups = [\"signers\"]".into(),
            "# CloudFront's default: objects are fresh for as long as their Cache-Control says, or for a day."
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
        let listen = if self.certificate.is_some() { &self.listen_tls } else { &self.listen };
        let port = listen.rsplit(':').next().unwrap_or("8080");
        let local = format!("localhost:{port}");
        let mut options = vec![
            ("bucket_name", quote(&self.bucket)),
            ("region_name", quote(&self.region)),
            ("file_overwrite", "False".to_owned()),
            ("custom_domain", quote(self.domain.as_deref().unwrap_or(&local))),
        ];
        options.extend(self.endpoint.as_ref().map(|url| ("endpoint_url", quote(url))));
        if self.domain.is_none() && self.certificate.is_none() {
            options.push(("url_protocol", quote("http:")));
        }
        let lines =
            options.iter().map(|(name, value)| format!("            \"{name}\": {value},\n"));
        let options = lines.collect::<Vec<_>>().concat();
        format!(
            "# For Django's settings, with django-storages[s3]. Uploads go to the bucket; URLs point to Forebay.\n\
             STORAGES = {{\n    \"default\": {{\n        \"BACKEND\": \"storages.backends.s3.S3Storage\",\n        \
             \"OPTIONS\": {{\n{options}        }},\n    }},\n    \"staticfiles\": {{\n        \
             \"BACKEND\": \"django.contrib.staticfiles.storage.StaticFilesStorage\",\n    }},\n}}\n"
        )
    }

    /// `compose.yaml` for the container image.
    #[must_use]
    pub(crate) fn compose(&self) -> String {
        let mount = |folder: &String| {
            format!(
                "      - {}
",
                quote(&format!("{folder}:{folder}:ro"))
            )
        };
        let mounts = self.folders().iter().map(mount).collect::<Vec<_>>().concat();
        COMPOSE.replace("{mounts}", &mounts)
    }

    /// Directories on the way to certificate and key that other users may not enter.
    #[must_use]
    pub(crate) fn closed_directories(&self) -> Vec<String> {
        let folders = self.folders();
        let all: BTreeSet<&Path> =
            folders.iter().flat_map(|folder| Path::new(folder).ancestors()).collect();
        let is_closed = |path: &&&Path| {
            path.metadata().is_ok_and(|found| found.permissions().mode() & 0o001 == 0)
        };
        all.iter().filter(is_closed).map(|path| path.display().to_string()).collect()
    }

    /// The directories of certificate and key, and of the files that they link to.
    fn folders(&self) -> BTreeSet<String> {
        let files = self.certificate.iter().flat_map(|(certificate, key)| [certificate, key]);
        let paths = files.map(PathBuf::from).flat_map(|path| {
            let target = path.canonicalize().unwrap_or_else(|_| path.clone());
            [path, target]
        });
        let folders = paths.filter_map(|path| Some(path.parent()?.display().to_string()));
        folders.collect()
    }
}

const COMPOSE: &str = "\
services:
  forebay:
    # Build it in Forebay's source directory: docker build -t forebay .
    image: forebay
    pull_policy: never
    command: serve --config /etc/forebay/forebay.toml
    # Forebay uses this machine's ports. Purges and metrics stay on its admin address.
    network_mode: host
    read_only: true
    restart: unless-stopped
    # Requests in progress may take up to `listen.drain`.
    stop_grace_period: 60s
    volumes:
      - .:/etc/forebay:ro
{mounts}      # For a disk cache in /var/cache/forebay, with the last two lines of this file:
      # - forebay-cache:/var/cache/forebay
    # Without these, Forebay uses the machine's role.
    environment:
      - AWS_ACCESS_KEY_ID
      - AWS_SECRET_ACCESS_KEY
      - AWS_SESSION_TOKEN
# volumes:
#   forebay-cache:
";

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, set_permissions, write};

    use super::*;

    /// Directories as certbot has them: the files are links into a directory that only root may enter.
    #[test]
    fn closed_directories_are_found_behind_links() {
        let root = tempfile::tempdir().expect("a directory");
        let at = |name: &str| root.path().join(name);
        for directory in ["live", "archive", "open"] {
            create_dir(at(directory)).expect("created");
        }
        for (name, mode) in [("", 0o755), ("live", 0o700), ("archive", 0o750), ("open", 0o711)] {
            set_permissions(at(name), Permissions::from_mode(mode)).expect("changed");
        }
        write(at("archive/key1.pem"), "").expect("written");
        std::os::unix::fs::symlink("../archive/key1.pem", at("live/key.pem")).expect("linked");
        let path = |name: &str| at(name).display().to_string();
        let site = Site {
            certificate: Some((path("open/cert.pem"), path("live/key.pem"))),
            ..Site::sample()
        };
        assert_eq!(site.closed_directories(), [path("archive"), path("live")]);
        assert_eq!(Site::sample().closed_directories(), [""; 0]);
    }
}
