//! The configuration file: TOML with CloudFront's terms.
//!
//! Compilation does no I/O and reports all faults at once. Each part of Forebay owns its options; this module only
//! fills them in.

mod acme;
mod advice;
mod basic_auth;
mod behavior;
mod cache;
mod cluster;
mod distribution;
mod errors;
mod events;
mod fault;
mod host;
mod key_group;
mod listen;
mod object;
mod origin;
mod origin_request;
mod policies;
mod policy;
mod prices;
#[cfg(test)]
mod reference;
mod request_rules;
mod response_headers;
mod restart;
mod restrict;
mod section;
mod staging;
mod surroundings;
mod traces;
mod trust;

use std::path::Path;

pub(crate) use distribution::DistributionOptions;
use fault::Collector;
pub(crate) use fault::{Fault, Faults};
pub(crate) use listen::{Address, DEFAULT_ADMIN, Listen};
pub(crate) use origin::GroupOptions;
pub(crate) use origin_request::is_sendable;
use policies::Policies;
pub(crate) use policy::is_keyable;
use section::Section;
pub(crate) use staging::StagedConfig;
use surroundings::Surroundings;

use toml::de::DeTable;
pub(crate) use trust::HTTPS_ADVICE;

use crate::{
    access::restrict::Databases,
    access_log,
    acme::AcmeOptions,
    base::{instance, sha256},
    cache::{disk::DiskOptions, store},
    cluster::ClusterOptions,
    control,
    log_delivery::DeliveryOptions,
    traces::TraceOptions,
};

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The viewer listeners.
    pub listen: Listen,
    /// How certificates are obtained, if Forebay does that by itself.
    pub acme: Option<AcmeOptions>,
    /// The admin address; `None` if it is turned off.
    pub admin: Option<Address>,
    /// Options of the admin interface.
    pub admin_options: control::Options,
    /// Options of the store.
    pub cache: store::Options,
    /// The disk cache, if there is one.
    pub disk: Option<DiskOptions>,
    /// The cluster that this node belongs to, if any.
    pub cluster: Option<ClusterOptions>,
    /// The access log.
    pub access_log: access_log::Options,
    /// How the files of the access log are delivered, if they are.
    pub(crate) log_delivery: Option<DeliveryOptions>,
    /// How requests are traced, if any are.
    pub(crate) traces: Option<TraceOptions>,
    /// Databases of viewers' locations.
    pub geography: Option<Databases>,
    /// The distributions to serve.
    pub distributions: Vec<DistributionOptions>,
    /// A configuration that serves a part of the requests instead.
    pub staging: Option<Box<StagedConfig>>,
    /// Settings that are valid but probably a mistake, as far as it was found while reading.
    doubts: Vec<String>,
}

/// The configuration that the command line can express without a file.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    /// The bucket's name.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// URL of an S3-compatible store; `None` for AWS.
    pub endpoint: Option<String>,
    /// Whether the bucket name goes into the path.
    pub path_style: bool,
    /// The object served for `/`.
    pub default_root_object: Option<String>,
    /// Address to listen on.
    pub listen: String,
    /// Address of the admin listener, if not the default.
    pub admin: Option<String>,
    /// Directory of the disk cache, and its capacity.
    pub disk: Option<(String, String)>,
    /// Host names; none for any host.
    pub hosts: Vec<String>,
    /// The address that the authority of automatic certificates may write to, and the directory for what it issues.
    pub acme: Option<(String, String)>,
}

impl Config {
    /// Compiles the text of the file `name`. Paths in it are relative to `directory`.
    ///
    /// # Errors
    /// All faults in the text.
    pub fn compile(name: &str, text: &str, directory: &Path) -> Result<Self, Faults> {
        let faults = Collector::new(name, text);
        let (table, errors) = DeTable::parse_recoverable(text);
        // A syntax error causes others further down, but each duplicate is an error of its own.
        let is_duplicate = |error: &toml::de::Error| error.message().contains("duplicate key");
        let first = errors.iter().find(|error| !is_duplicate(error));
        for error in errors.iter().filter(|error| is_duplicate(error)).chain(first) {
            let span = error.span().unwrap_or(0..0);
            let help = is_duplicate(error).then(|| {
                "this table or key is already in the file: add your lines to the existing one"
                    .to_owned()
            });
            faults.add(span, format!("invalid TOML: {}", error.message()), "here", help);
        }
        if !errors.is_empty() {
            // Any other fault may only be a consequence of this one.
            return faults.finish().and_then(|()| Self::compile(name, "", directory));
        }
        let config = read(&Section::root(&table, &faults), directory);
        let doubts = faults.doubts.take();
        faults.finish()?;
        Ok(Self { doubts, ..config })
    }

    /// The host names that viewers use, without wildcards.
    pub(crate) fn hosts(&self) -> Vec<String> {
        acme::hosts(&self.distributions).0
    }

    /// A digest of what all nodes of a cluster should have in common: the distributions, and how content is stored.
    #[must_use]
    pub(crate) fn shared_digest(&self) -> String {
        let staging = self.staging.as_ref();
        let staged = staging.map(|staging| (&staging.options, &staging.distributions));
        let shared = format!("{:?}", (&self.distributions, staged, self.cache.slice));
        // `Via` names the process.
        format!("{:016x}", sha256::first_64(shared.replace(instance::id(), "")))
    }

    /// A configuration for one bucket with CloudFront's defaults.
    ///
    /// # Errors
    /// If the bucket, region, endpoint or address is invalid.
    pub fn for_bucket(bucket: &Bucket) -> Result<Self, Faults> {
        Self::compile("configuration from the command line", &bucket.to_toml(), Path::new(""))
    }
}

impl Bucket {
    /// The equivalent configuration file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut lines = vec!["[listen]".to_owned(), format!("http = {}", quote(&self.listen))];
        if let Some((email, _)) = &self.acme {
            lines.push("https = \"[::]:443\"".to_owned());
            lines.push(format!("acme = {{ email = {} }}", quote(email)));
        }
        lines.push("[admin]".to_owned());
        lines.extend(self.admin.as_ref().map(|admin| format!("listen = {}", quote(admin))));
        lines.extend(self.acme.as_ref().map(|(_, state)| format!("state = {}", quote(state))));
        if let Some((path, capacity)) = &self.disk {
            lines.push("[cache.disk]".to_owned());
            lines.push(format!("path = {}", quote(path)));
            lines.push(format!("capacity = {}", quote(capacity)));
        }
        lines.extend(["[[distribution]]", "id = \"default\""].map(Into::into));
        let any = ["*".to_owned()];
        let hosts = if self.hosts.is_empty() { &any } else { &self.hosts[..] };
        let hosts: Vec<String> = hosts.iter().map(|host| quote(host)).collect();
        lines.push(format!("aliases = [{}]", hosts.join(", ")));
        let root = self.default_root_object.as_ref();
        lines.extend(root.map(|name| format!("default_root_object = {}", quote(name))));
        lines.extend(["[[distribution.origin]]", "id = \"bucket\""].map(Into::into));
        lines.push(format!("bucket = {}", quote(&self.bucket)));
        lines.push(format!("region = {}", quote(&self.region)));
        lines.extend(self.endpoint.as_ref().map(|url| format!("endpoint = {}", quote(url))));
        if self.path_style {
            lines.push("path_style = true".to_owned());
        }
        lines.extend(["[distribution.default_behavior]", "origin = \"bucket\""].map(Into::into));
        lines.push("cache_policy = \"CachingOptimized\"\n".to_owned());
        lines.join("\n")
    }
}

/// A string as a TOML literal.
#[must_use]
pub fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// `[geo]`: databases of viewers' countries and networks.
fn geography(root: &Section<'_>, directory: &Path) -> Option<Databases> {
    let section = root.table("geo")?;
    let places = section.required(
        "database",
        "add a file in MaxMind's format, such as `database = \"GeoLite2-Country.mmdb\"`",
    );
    let networks = section.string("asn_database").map(|path| directory.join(path.value));
    section.unknown();
    places.map(|path| Databases { places: directory.join(path.value), networks })
}

fn read(root: &Section<'_>, directory: &Path) -> Config {
    let listen = listen::listen(root, directory);
    let (admin, mut admin_options) = listen::admin(root, &listen, directory);
    (admin_options.queues, admin_options.topics) = events::events(root);
    let (cache, disk) = cache::cache(root, directory);
    let cluster = cluster::cluster(root, directory);
    let (access_log, log_delivery) = listen::access_log(root, directory);
    let traces = traces::traces(root, !listen.trusted_proxies.is_empty(), directory);
    let geography = geography(root, directory);
    let around = Surroundings {
        policies: Policies::read(root),
        directory,
        pop: listen.pop.clone(),
        has_geography: geography.is_some(),
        http3_port: listen.https.first().map(Address::port).filter(|_| listen.http3),
    };
    let distributions = distribution::distributions(root, &around);
    let staging = staging::staging(root, directory).map(Box::new);
    let state = admin_options.state.as_deref();
    let acme = acme::acme(root, &listen, state, &distributions, directory);
    root.unknown();
    let doubts = Vec::new();
    Config {
        listen,
        acme,
        admin,
        admin_options,
        cache,
        disk,
        cluster,
        access_log,
        log_delivery,
        traces,
        geography,
        distributions,
        staging,
        doubts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        match Config::compile("test.toml", text, Path::new("")) {
            Ok(_) => Vec::new(),
            Err(faults) => faults
                .faults
                .iter()
                .map(|fault| {
                    let line = text[..fault.span().start].matches('\n').count() + 1;
                    let help = fault.help().unwrap_or("-");
                    format!("{line}: {} ({help})", fault.message())
                })
                .collect(),
        }
    }

    const GOOD: &str = r#"
[listen]
http = "127.0.0.1:0"

[[distribution]]
id = "media"
aliases = ["media.example.com"]

[[distribution.origin]]
id = "bucket"
bucket = "my-media"
region = "eu-central-1"

[distribution.default_behavior]
origin = "bucket"
cache_policy = "CachingOptimized"
"#;

    #[test]
    fn a_good_file_has_no_faults() {
        assert_eq!(faults(GOOD), Vec::<String>::new());
    }

    #[test]
    fn all_faults_are_found_at_once_with_their_mend() {
        let text = GOOD
            .replace("[listen]", "[listen]\nhtpp = 1\nidle_timeout = \"soon\"")
            .replace("my-media", "my media")
            .replace("CachingOptimized", "CachingOptimised")
            .replace("origin = \"bucket\"", "origin = \"bukket\"\ntrusted_key_groups = [\"k\"]");
        assert_eq!(
            faults(&text),
            [
                "3: unknown key `listen.htpp` (did you mean `http`?)",
                "4: `listen.idle_timeout` is not a duration (write, for example, \"30s\", \"10m\", \"1day\", or 30)",
                "13: `my media` is not a valid bucket name: use 3 to 63 lower-case letters, digits, dots and hyphens, beginning and ending with a letter or digit (some other stores also allow capitals and `_`) (-)",
                "17: there is no origin `bukket` (did you mean `bucket`?)",
                "18: there is no key group `k` (add a key group with this name)",
                "19: there is no cache policy `CachingOptimised` (did you mean `CachingOptimized`?)",
            ]
        );
    }

    /// In TOML, a line belongs to the last header above it.
    #[test]
    fn keys_below_a_table_of_free_names_are_sent_to_their_own() {
        let headers =
            "[distribution.origin.custom_headers]\nX-Edge = \"a\"\norigin_path = \"/b\"\n";
        let text =
            GOOD.replace("[distribution.default", &format!("{headers}[distribution.default"));
        let keys = format!(
            "{GOOD}[[key_group]]\nname = \"k\"\n[key_group.public_keys]\ntrusted_key_groups = [\"k\"]\n"
        );
        assert_eq!(
            [faults(&text).remove(0), faults(&keys).pop().unwrap_or_default()],
            [
                "16: `origin_path` does not belong to `distribution.origin.custom_headers` (move it to `[[distribution.origin]]`: a line of TOML belongs to the last `[table]` above it)",
                "20: `trusted_key_groups` does not belong to `key_group.public_keys` (move it to `[[distribution.behavior]]`: a line of TOML belongs to the last `[table]` above it)",
            ]
        );
    }

    #[test]
    fn logs_in_files_by_hour_need_a_folder() {
        let log = "[access_log]\nformat = \"cloudfront-v1\"\n";
        assert_eq!(faults(&format!("{log}path = \"log\"\n{GOOD}")), Vec::<String>::new());
        assert_eq!(
            faults(&format!("{log}{GOOD}")),
            [
                "1: this log format needs a directory (add `path = \"/var/log/forebay\"`, the directory for the log files)"
            ]
        );
    }

    #[test]
    fn a_cookie_nobody_gets_cannot_be_stored() {
        let section = "cache_policy = \"CachingOptimized\"\n";
        let text = GOOD.replace(section, &format!("{section}cache_set_cookie = true\n"));
        assert_eq!(
            faults(&text),
            [
                "17: `cache_set_cookie` has no effect: the behavior forwards no cookies, so `Set-Cookie` is removed (remove it, or use a policy that forwards cookies)"
            ]
        );
        let off = text.replace("cache_set_cookie = true", "cache_set_cookie = false");
        assert_eq!(faults(&off), Vec::<String>::new());
    }

    /// CloudFront also accepts this, and nothing is compressed.
    #[test]
    fn compress_may_have_no_effect() {
        for policy in ["CachingDisabled", "CachingOptimizedForUncompressedObjects"] {
            let text =
                GOOD.replace("\"CachingOptimized\"", &format!("\"{policy}\"\ncompress = true"));
            assert_eq!(faults(&text), Vec::<String>::new(), "{policy}");
        }
    }

    #[test]
    fn sampling_rates_and_timeouts_are_checked_as_cloudfront_does() {
        let policy = |rate: &str| {
            format!(
                "[[response_headers_policy]]\nname = \"timed\"\nserver_timing = {{ sampling_rate = {rate} }}\n{GOOD}"
            )
        };
        for rate in ["0.0001", "99.9999", "0.1", "100", "0", "33.3333"] {
            assert_eq!(faults(&policy(rate)), Vec::<String>::new(), "{rate}");
        }
        for rate in ["0.000001", "12.345678", "1e-5"] {
            let found = faults(&policy(rate));
            assert_eq!(
                found,
                [
                    "3: `sampling_rate` has more than four decimal places (use at most four, such as `sampling_rate = 0.0001`)"
                ],
                "{rate}"
            );
        }
        let timeouts = |completion: &str| {
            let region = "region = \"eu-central-1\"";
            GOOD.replace(region, &format!("{region}\ncompletion_timeout = \"{completion}\""))
        };
        assert_eq!(faults(&timeouts("30s")), Vec::<String>::new());
        assert_eq!(faults(&timeouts("29s")).len(), 1);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(faults("").len(), 2);
        let text = "[listen]\nhttp = \"127.0.0.1:0\"\n[[distribution]]\nid = \"a\"\n";
        let found = faults(text);
        assert!(
            found.iter().any(|fault| fault.contains("`distribution.aliases` is missing")),
            "{found:?}"
        );
        assert!(found.iter().any(|fault| fault.contains("no origin")), "{found:?}");
        assert!(found.iter().any(|fault| fault.contains("default_behavior")), "{found:?}");
    }

    #[test]
    fn text_that_is_not_toml_is_located() {
        assert!(
            faults("[listen\nhttp = 1").iter().any(|fault| fault.starts_with("1: invalid TOML"))
        );
    }

    /// A fault in one key must not hide that the others are known.
    #[test]
    fn no_fault_makes_other_keys_unknown() {
        let example = include_str!("../../config/example.toml");
        let lines: Vec<&str> = example.lines().collect();
        for (place, line) in lines.iter().enumerate() {
            let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) else {
                continue;
            };
            for wrong in ["\"\\u0001 wrong\"", "-1"] {
                let (before, after) = (lines[..place].join("\n"), lines[place + 1..].join("\n"));
                let text = format!("{before}\n{key} = {wrong}\n{after}");
                let Err(faults) = Config::compile("x", &text, Path::new("")) else { continue };
                let misled = faults.faults.iter().find(|fault| {
                    ["unknown key", "cannot be used"]
                        .iter()
                        .any(|word| fault.message().contains(word))
                });
                assert!(misled.is_none(), "{key} = {wrong}: {misled:?}");
            }
        }
    }

    #[test]
    fn listeners_that_cannot_work_are_faults() {
        for (listen, expected) in [
            ("http = \"[::]:80\"\nhttps = \"[::]:80\"", "[::]:80 is already covered by [::]:80"),
            ("http = [\"[::]:80\", \"0.0.0.0:80\"]", "0.0.0.0:80 is already covered by [::]:80"),
            ("http = \"127.0.0.1:9145\"\n[admin]\nlisten = \"0.0.0.0:9145\"", "already uses"),
            ("http = \"[::]:80\"\ntls = { certificate = \"a\", key = \"b\" }", "no effect"),
            (
                "http = \"[::]:80\"\nmax_connections = 9\nmax_connections_per_client = 10",
                "more than",
            ),
        ] {
            let text = format!("[listen]\n{listen}\n");
            let faults = Config::compile("x", &text, Path::new("")).expect_err("faults").faults;
            let found = faults.iter().any(|fault| fault.message().contains(expected));
            assert!(found, "{listen}: {faults:?}");
        }
    }

    #[test]
    fn the_command_line_makes_a_file_without_faults() {
        let bucket = Bucket {
            bucket: "media".into(),
            region: "eu-central-1".into(),
            endpoint: Some("http://127.0.0.1:3900".into()),
            path_style: true,
            default_root_object: Some("index.html".into()),
            listen: "[::]:8080".into(),
            admin: Some("off".into()),
            disk: Some(("/var/cache/a b".into(), "1GiB".into())),
            ..Bucket::default()
        };
        let config = Config::for_bucket(&bucket).expect("no faults");
        assert!(config.admin.is_none());
        assert_eq!(config.distributions[0].origins[0].address.base_path, "/media");
        let hostile = Bucket { bucket: "a\"\n[x]\n".into(), ..bucket };
        assert!(Config::for_bucket(&hostile).is_err());
    }
}
