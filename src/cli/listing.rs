//! The objects of a bucket.

use std::{
    collections::HashMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http::{HeaderMap, Method, uri::PathAndQuery};
use percent_encoding::{percent_decode_str, utf8_percent_encode};

use super::{
    UserError, report,
    source::{USUAL, load_file},
};
use crate::{
    aws::{find, text_of, texts_of},
    behavior::Behaviors,
    cache::key::encode_key,
    config::{Config, DistributionOptions},
    origin::{ENCODED_PARAMETER, Options, Protocol},
    outbound::{Error, Service},
};

/// Keys in a response: as many as fit into its limit, even if each is as long as possible.
const PAGE: usize = 500;

/// Which objects of a bucket.
#[derive(Debug, clap::Args)]
pub(super) struct ListingArgs {
    /// Objects of the bucket whose keys begin with this; empty for all objects
    #[arg(long, value_name = "PREFIX", group = "source")]
    pub(super) prefix: Option<String>,
    /// Configuration that names the bucket for --prefix [default: ./forebay.toml]
    #[arg(long, value_name = "FILE", requires = "prefix")]
    config: Option<PathBuf>,
    /// Distribution whose bucket is listed; optional if there is only one
    #[arg(long, value_name = "ID", requires = "prefix")]
    distribution: Option<String>,
}

impl ListingArgs {
    /// The paths of the objects, as viewers request them. With `most`, only so many of each behavior.
    pub(super) fn paths(
        &self,
        prefix: &str,
        most: Option<usize>,
    ) -> miette::Result<Vec<PathAndQuery>> {
        let file = self.config.as_deref().unwrap_or_else(|| Path::new(USUAL));
        let config = load_file(file)?;
        let distribution = distribution(&config, self.distribution.as_deref())?;
        let origin = bucket(distribution)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        // Keys begin without a slash.
        let prefix = prefix.trim_start_matches('/');
        let mut selection = Selection::new(&distribution.settings.behaviors, most);
        let listed = list(origin, prefix, |key| selection.add(key));
        runtime.map_err(report)?.block_on(listed)?;
        if selection.paths.is_empty() {
            return Err(UserError {
                message: format!("the bucket has no object whose key begins with `{prefix}`"),
                help: "check --prefix; it is relative to the origin path".into(),
            }
            .into());
        }
        Ok(selection.paths)
    }
}

/// The paths of objects that are wanted.
struct Selection<'a> {
    behaviors: &'a Behaviors,
    /// The most objects of each behavior.
    most: Option<usize>,
    /// Objects of each behavior, by its name.
    counts: HashMap<String, usize>,
    paths: Vec<PathAndQuery>,
}

impl<'a> Selection<'a> {
    fn new(behaviors: &'a Behaviors, most: Option<usize>) -> Self {
        Self { behaviors, most, counts: HashMap::new(), paths: Vec::new() }
    }

    /// Adds the path of a key, if it is wanted. Breaks once there are enough objects of every behavior.
    fn add(&mut self, key: &str) -> ControlFlow<()> {
        let mut path = String::from("/");
        encode_key(key, &mut path);
        // A key may be too long for a URL.
        let Ok(path) = path.parse::<PathAndQuery>() else { return ControlFlow::Continue(()) };
        let Some(most) = self.most else {
            self.paths.push(path);
            return ControlFlow::Continue(());
        };
        let behavior = self.behaviors.name(self.behaviors.select(path.path()));
        let count = self.counts.entry(behavior).or_default();
        if *count < most {
            *count += 1;
            self.paths.push(path);
        }
        let is_full = self.counts.len() == self.behaviors.all().count()
            && self.counts.values().all(|count| *count == most);
        if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// The only distribution, or the one with this id.
pub(super) fn distribution<'a>(
    config: &'a Config,
    id: Option<&str>,
) -> Result<&'a DistributionOptions, UserError> {
    let is_meant = |own: &str| id.is_none_or(|id| id == own);
    let mut meant = config.distributions.iter().filter(|it| is_meant(&it.settings.id));
    let ids: Vec<&str> = config.distributions.iter().map(|it| &*it.settings.id).collect();
    match (meant.next(), meant.next()) {
        (Some(distribution), None) => Ok(distribution),
        _ => Err(UserError {
            message: id.map_or_else(
                || "the configuration has several distributions".to_owned(),
                |id| format!("the configuration has no distribution `{id}`"),
            ),
            help: format!("choose one with --distribution: {}", ids.join(", ")),
        }),
    }
}

/// The bucket of the default behavior.
fn bucket(distribution: &DistributionOptions) -> Result<&Options, UserError> {
    let group = distribution.settings.behaviors.default.origin;
    let groups = &distribution.groups;
    let place = match group.checked_sub(distribution.origins.len()) {
        Some(group) => groups.get(group).map(|group| group.members[0]),
        None => Some(group),
    };
    let origin = place.and_then(|place| distribution.origins.get(place));
    origin.filter(|origin| origin.protocol.bucket().is_some()).ok_or_else(|| UserError {
        message: format!("the default behavior of `{}` has no bucket", distribution.settings.id),
        help: "write the paths into a file for --urls".into(),
    })
}

/// Lists the keys that begin with a prefix, below the origin path, until `add` breaks.
async fn list(
    origin: &Options,
    prefix: &str,
    mut add: impl FnMut(&str) -> ControlFlow<()>,
) -> miette::Result<()> {
    let Protocol::S3 { region, .. } = &origin.protocol else { return Ok(()) };
    let service = Service::at(origin.address.clone(), "s3", region, origin.ca_file.as_deref());
    let service = service.map_err(report)?;
    let found = if origin.protocol.is_signed() {
        Some(find(region).await.map_err(|reason| UserError {
            message: format!("no AWS credentials: {reason}"),
            help: "provide them as for `forebay serve`; `forebay doctor` checks them".into(),
        })?)
    } else {
        None
    };
    let base = percent_decode_str(origin.origin_path.trim_start_matches('/')).decode_utf8_lossy();
    let base = if base.is_empty() { String::new() } else { format!("{base}/") };
    let mut token = None::<String>;
    loop {
        let target = target(origin, &format!("{base}{prefix}"), token.as_deref());
        let installed = found.as_ref().map(|found| &found.installed);
        let request = (Method::GET, &*target);
        let answer = service.call(installed, request, HeaderMap::new(), Bytes::new()).await;
        let answer = answer.and_then(|answer| match Error::of_answer(&answer) {
            Some(error) => Err(error),
            None => Ok(answer),
        });
        let answer = answer.map_err(|error| UserError {
            message: format!("the bucket cannot be listed: {error}"),
            help: match &error {
                Error::S3 { code, .. } if code == "AccessDenied" => {
                    "allow `s3:ListBucket` on it, or write the paths into a file for --urls".into()
                }
                error => error.advice(),
            },
        })?;
        // Keys may have characters that XML cannot hold.
        let listed = texts_of(&answer.content, "Key");
        let decoded = listed.iter().map(|key| key.replace('+', " "));
        let listed: Vec<String> =
            decoded.map(|key| percent_decode_str(&key).decode_utf8_lossy().into_owned()).collect();
        // Keys that end in a slash are folders of AWS's console.
        let mut own = listed.iter().filter_map(|key| key.strip_prefix(&base));
        if own.any(|key| !key.ends_with('/') && add(key).is_break()) {
            return Ok(());
        }
        let next = text_of(&answer.content, "NextContinuationToken");
        if next.is_none() || next == token {
            return Ok(());
        }
        token = next;
    }
}

/// The target that lists a page of keys. Its parameters are in the order in which S3 signs them.
fn target(origin: &Options, prefix: &str, token: Option<&str>) -> String {
    let base = match origin.address.base_path.as_str() {
        "" => "/",
        base => base,
    };
    let escaped = |text: &str| utf8_percent_encode(text, ENCODED_PARAMETER).to_string();
    let token = token.map(|token| format!("continuation-token={}&", escaped(token)));
    let token = token.unwrap_or_default();
    format!(
        "{base}?{token}encoding-type=url&list-type=2&max-keys={PAGE}&prefix={}",
        escaped(prefix)
    )
}
