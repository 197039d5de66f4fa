//! What is valid in a configuration but probably a mistake: objects that need a signature through one behavior but not
//! through another, patterns that select nothing, HTTPS that nothing serves.

use std::sync::Arc;

use super::{Config, DistributionOptions};
use crate::{
    behavior::{Behavior, PathPattern, ViewerProtocol},
    cache::key::{CanonicalPath, PathForm},
    origin::{self, Protocol},
    outbound::Address,
    proxy::Settings,
};

/// The fix for what [`Config::missing_https`] reports.
pub(crate) const HTTPS_ADVICE: &str = "add `listen.https` and `listen.tls`; set `public_scheme = \"https\"` if a load balancer terminates TLS; or remove `viewer_protocol_policy`";

/// A route to the objects of an origin.
struct Way<'a> {
    distribution: &'a str,
    /// The index of its behavior in the distribution.
    place: usize,
    pattern: PathPattern,
    /// The bucket or server that holds the objects.
    place_of_objects: String,
    /// The prefix of each path.
    below: String,
    is_signed: bool,
    /// A disabled behavior serves nothing.
    is_enabled: bool,
}

impl Config {
    /// Routes around signatures: two behaviors reach the same objects, but one requires no signature. Within a
    /// distribution the first matching pattern decides, as in CloudFront.
    #[must_use]
    pub fn open_doors(&self) -> Vec<String> {
        let ways: Vec<Way<'_>> = self.distributions.iter().flat_map(ways).collect();
        let mut doors = Vec::new();
        for signed in ways.iter().filter(|way| way.is_signed) {
            let is_open =
                |way: &&Way<'_>| !way.is_signed && way.is_enabled && way.is_around(signed);
            for open in ways.iter().filter(is_open) {
                doors.push(format!(
                    "objects that {} (distribution {}) protects with signatures are also served without one, through {} (distribution {})",
                    signed.pattern, signed.distribution, open.pattern, open.distribution
                ));
            }
        }
        doors
    }

    /// Settings that are valid but probably a mistake, one line each.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        let needs_https = |problem| format!("{problem}: {HTTPS_ADVICE}");
        let missing_https = self.missing_https().into_iter().map(needs_https).collect();
        [self.open_doors(), self.doubtful_patterns(), missing_https, self.doubts.clone()].concat()
    }

    /// Behaviors that send viewers to HTTPS although nothing serves it, one line each. [`HTTPS_ADVICE`] says what to
    /// do.
    #[must_use]
    pub(crate) fn missing_https(&self) -> Vec<String> {
        let listen = &self.listen;
        // A trusted proxy sends the scheme.
        if !listen.https.is_empty() || !listen.trusted_proxies.is_empty() {
            return Vec::new();
        }
        let of = |distribution: &DistributionOptions| {
            let Settings { id, behaviors, public_scheme, .. } = &distribution.settings;
            let ordered =
                behaviors.ordered.iter().map(|(pattern, behavior)| (pattern.to_string(), behavior));
            let all = ordered.chain([("the default behavior".to_owned(), &behaviors.default)]);
            let needs = |(_, behavior): &(String, &Arc<Behavior>)| {
                behavior.viewer_protocol != ViewerProtocol::AllowAll && public_scheme.is_none()
            };
            let line = |(name, behavior): (String, &Arc<Behavior>)| {
                let effect = match behavior.viewer_protocol {
                    ViewerProtocol::RedirectToHttps => "redirects every viewer to HTTPS",
                    _ => "refuses plain HTTP",
                };
                format!("{name} (distribution {id}) {effect}, and Forebay does not serve HTTPS")
            };
            all.filter(needs).map(line).collect::<Vec<_>>()
        };
        self.distributions.iter().flat_map(of).collect()
    }

    /// Path patterns that select nothing, or probably not what was meant, one line each.
    #[must_use]
    pub fn doubtful_patterns(&self) -> Vec<String> {
        let of = |distribution: &DistributionOptions| {
            let id = &distribution.settings.id;
            let ordered = &distribution.settings.behaviors.ordered;
            let patterns: Vec<&PathPattern> = ordered.iter().map(|(pattern, _)| pattern).collect();
            let line = |(place, pattern): (usize, &&PathPattern)| {
                let mut origins = members(distribution, &ordered[place].1);
                let is_for_bucket = origins.all(|origin| origin.protocol.bucket().is_some());
                let doubt = doubt(pattern, &patterns[..place], is_for_bucket)?;
                Some(format!("path pattern {pattern} (distribution {id}): {doubt}"))
            };
            patterns.iter().enumerate().filter_map(line).collect::<Vec<_>>()
        };
        self.distributions.iter().flat_map(of).collect()
    }
}

impl Way<'_> {
    /// Whether this route reaches objects that `signed` protects.
    fn is_around(&self, signed: &Self) -> bool {
        let same_paths = self.distribution == signed.distribution && self.below == signed.below;
        // A later behavior gets only requests that the signed behavior does not match. A signed catch-all behavior is
        // not meant for requests that an earlier one matches.
        let is_reached = !same_paths || (self.place < signed.place && !signed.pattern.is_any());
        self.place_of_objects == signed.place_of_objects
            && is_reached
            && self.pattern.overlaps(&self.below, &signed.pattern, &signed.below)
    }
}

/// Why a pattern that follows `earlier` ones probably does not do what was meant.
fn doubt(pattern: &PathPattern, earlier: &[&PathPattern], is_for_bucket: bool) -> Option<String> {
    if pattern.is_unreachable() {
        return Some(
            "it matches no request: `.` and `..` are resolved before patterns are compared, and paths with `//` are refused for this origin; write the pattern without them".into(),
        );
    }
    match earlier.iter().find(|earlier| earlier.covers(pattern)) {
        Some(earlier) => Some(format!(
            "it is never used, because {earlier} comes first and matches the same paths: move it up"
        )),
        None => pattern.misreading(is_for_bucket),
    }
}

/// One name per bucket, however it is addressed. An AWS bucket has only one name.
fn place_of_objects(origin: &origin::Options) -> String {
    let Address { host, authority, .. } = &origin.address;
    match &origin.protocol {
        Protocol::S3 { bucket, .. } if host.contains(".amazonaws.com") => bucket.clone(),
        Protocol::S3 { bucket, .. } => {
            let store = authority.strip_prefix(bucket.as_str()).unwrap_or(authority);
            format!("{bucket} at {}", store.trim_start_matches('.'))
        }
        Protocol::Plain => authority.clone(),
    }
}

fn ways(distribution: &DistributionOptions) -> Vec<Way<'_>> {
    let behaviors = &distribution.settings.behaviors;
    let ordered = behaviors.ordered.iter().map(|(pattern, behavior)| (pattern.clone(), behavior));
    let last = PathPattern::parse("*").ok().map(|any| (any, &behaviors.default));
    let all = ordered.chain(last).enumerate();
    all.flat_map(|(place, (pattern, behavior))| {
        members(distribution, behavior).map(move |origin| Way {
            distribution: &distribution.settings.id,
            place,
            pattern: pattern.clone(),
            place_of_objects: place_of_objects(origin),
            // A store that merges slashes serves the same objects for `/a//b` and `/a/b`.
            below: CanonicalPath::resolve(&origin.origin_path, PathForm::Key)
                .map(|path| path.generous().into_owned())
                .unwrap_or_default(),
            is_signed: behavior.trusted.is_some(),
            is_enabled: behavior.enabled,
        })
    })
    .collect()
}

/// The origins that a behavior uses.
fn members<'a>(
    distribution: &'a DistributionOptions,
    behavior: &Behavior,
) -> impl Iterator<Item = &'a origin::Options> {
    let count = distribution.origins.len();
    let group = behavior.origin.checked_sub(count);
    let places = match group.and_then(|group| distribution.groups.get(group)) {
        Some(group) => group.members.to_vec(),
        None => vec![behavior.origin],
    };
    places.into_iter().filter_map(|place| distribution.origins.get(place))
}
