//! Builds distributions, origins and limits from a configuration.

use std::{net::SocketAddr, sync::Arc};

use super::{Error, files_of_rules::FilesOfRules};
use crate::{
    access::restrict::{Geography, RateLimits},
    aws::Credentials,
    base::clock::Clock,
    config::{Config, DistributionOptions, GroupOptions},
    origin::{Group, Origin},
    proxy::{Distribution, Edge, Hosts, Rules, Settings, Staging},
};

/// RFC 9110 §4.2.2.
const DEFAULT_HTTPS_PORT: u16 = 443;

/// Builds the rules of a configuration. Unchanged origins keep their connections, and unchanged limits
/// keep their counts.
pub(super) fn rules(
    config: &Config,
    edge: &Arc<Edge>,
    credentials: &Arc<Credentials>,
    clock: &Clock,
) -> Result<Rules, Error> {
    let geography = config.geography.as_ref().map(Geography::open).transpose()?;
    let in_force = edge.rules();
    let mut files = FilesOfRules::default();
    let mut hosts = |distributions: &[DistributionOptions], generation| {
        let mut hosts = Hosts::default();
        for options in distributions {
            let old = in_force.by_id(&options.settings.id).map(Arc::as_ref);
            let groups = groups(options, old, edge, credentials, clock)?;
            let made = distribution(options, groups, old, &mut files, (edge, clock))?;
            hosts.add(&Arc::new(made.of_generation(generation)), &options.aliases);
        }
        Ok::<_, Error>(hosts)
    };
    let own = hosts(&config.distributions, None)?;
    let staging = config.staging.as_ref().map(|staged| {
        let (old, options) = (in_force.staging.as_ref(), staged.options.clone());
        let digest = staged.digest();
        let generation = Staging::generation(digest, old);
        let hosts = hosts(&staged.distributions, Some(generation))?;
        Ok::<_, Error>(Staging::new(hosts, options, (digest, generation), old))
    });
    let staging = staging.transpose()?;
    let proxies = config.listen.trusted_proxies.clone();
    let mut rules = Rules::new(own, staging, proxies, geography.map(Arc::new));
    let https = config.listen.https.first().map(SocketAddr::port);
    rules.https_port = https.filter(|port| ![0, DEFAULT_HTTPS_PORT].contains(port));
    Ok(rules)
}

/// Creates each origin on its own, then the groups.
fn groups(
    options: &DistributionOptions,
    old: Option<&Distribution>,
    edge: &Arc<Edge>,
    credentials: &Arc<Credentials>,
    clock: &Clock,
) -> Result<Vec<Arc<Group>>, Error> {
    let id = &options.settings.id;
    let mut origins = Vec::with_capacity(options.origins.len());
    for options in &options.origins {
        let known = old.into_iter().flat_map(|old| &old.origins).flat_map(|group| group.members());
        let kept = known.into_iter().find(|origin| origin.options() == options);
        origins.push(match kept {
            Some(kept) => Arc::clone(kept),
            None => {
                let metrics = edge.metrics().origin(id, &options.id);
                let credentials = Arc::clone(credentials);
                let made = Origin::new(options.clone(), credentials, clock.clone(), metrics);
                let refuse = |source| Error::Trust { origin: options.id.clone(), source };
                Arc::new(made.map_err(refuse)?)
            }
        });
    }
    let pair = |group: &GroupOptions| {
        let [primary, secondary] = group.members.map(|place| Arc::clone(&origins[place]));
        let failovers = edge.metrics().failovers(id, &group.id);
        Group::pair(primary, secondary, group.failover.clone(), clock.clone(), failovers)
    };
    let pairs: Vec<Group> = options.groups.iter().map(pair).collect();
    Ok(origins.into_iter().map(Group::single).chain(pairs).map(Arc::new).collect())
}

fn distribution(
    options: &DistributionOptions,
    origins: Vec<Arc<Group>>,
    old: Option<&Distribution>,
    files: &mut FilesOfRules,
    (edge, clock): (&Arc<Edge>, &Clock),
) -> Result<Distribution, Error> {
    let limits = options.rates.map(|rates| {
        let old = old.and_then(|old| old.limits.as_ref());
        let kept = old.filter(|limits| limits.rates() == rates).cloned();
        kept.unwrap_or_else(|| Arc::new(RateLimits::new(rates, clock)))
    });
    let behaviors = options.settings.behaviors.with_files(files)?;
    let settings = Settings { behaviors, ..options.settings.clone() };
    let metrics = edge.metrics().distribution(&settings.id);
    Ok(Distribution::new(settings, origins, limits, metrics))
}
