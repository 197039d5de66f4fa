//! The origins that have the object of a path.

use std::sync::Arc;

use crate::{origin::Origin, proxy::Rules};

/// The origins of a distribution's path, the primary first, by the rules in effect.
pub(super) fn origins_of_path<'a>(
    rules: &'a Rules,
    distribution: &str,
    path: &str,
) -> impl Iterator<Item = &'a Arc<Origin>> {
    let distribution = rules.by_id(distribution);
    let group = distribution.and_then(|distribution| {
        let (_, behavior) = distribution.route(path).ok()?;
        distribution.origins.get(behavior.origin)
    });
    group.into_iter().flat_map(|group| group.members())
}
