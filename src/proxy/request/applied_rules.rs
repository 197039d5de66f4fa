//! The rules of a behavior, applied to a request.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::{
    incoming::IncomingRequest,
    not_admitted::{NotAdmitted, RuleRedirect},
    rejection::Rejection,
    routing::{Distribution, Rules},
};
use crate::{
    behavior::{Behavior, RuleEnd, RuleInput, RuleMatches},
    cache::key::CanonicalPath,
    peers::PeerRules,
};

/// The part of a key that names the behavior, if rules rewrote the path to one of another behavior. Neither viewers nor
/// policies can set a field of this name.
const BEHAVIOR: HeaderName = HeaderName::from_static("forebay-behavior");

/// What the rules of a behavior changed in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AppliedRules {
    pub(crate) matches: RuleMatches,
    /// Whether the path belongs to another behavior, whose origin may have another object there.
    is_moved: bool,
}

impl AppliedRules {
    /// Applies the rules of a behavior. `path` is the path with its index document, which stays unless a rule rewrites it.
    pub(crate) fn of<'a>(
        rules: &Rules,
        distribution: &Distribution,
        behavior: &Arc<Behavior>,
        host: &str,
        path: CanonicalPath<'a>,
        incoming: &'a IncomingRequest,
    ) -> Result<(CanonicalPath<'a>, Self), NotAdmitted> {
        let Some(own) = &behavior.rules else { return Ok((path, Self::default())) };
        let (request, form) = (&incoming.request, behavior.path_form);
        let raw = CanonicalPath::resolve(request.uri.path(), form).map_err(Rejection::BadPath)?;
        let address = incoming.viewer.address;
        let outcome = own.apply(&RuleInput {
            path: &raw.for_patterns(),
            form,
            host,
            request,
            is_signed: behavior.trusted.is_some(),
            country: &|| rules.geography.as_ref().and_then(|all| all.country(address)),
        });
        let matches = outcome.matches;
        let rewritten = match outcome.end {
            None => return Ok((path, Self { matches, is_moved: false })),
            Some(RuleEnd::Deny) => return Err(Rejection::DeniedByRule.into()),
            Some(RuleEnd::Redirect { status, location }) => {
                return Err(NotAdmitted::Redirected(RuleRedirect { status, location, matches }));
            }
            Some(RuleEnd::Rewrite(rewritten)) => rewritten,
        };
        let path = CanonicalPath::resolve(&rewritten, form).map_err(Rejection::BadPath)?;
        let path = distribution.with_index(path).into_owned();
        if distribution.protects_from(behavior, &path) {
            return Err(Rejection::ProtectedPath.into());
        }
        let is_moved = distribution.is_of_another(behavior, &path);
        Ok((path, Self { matches, is_moved }))
    }

    /// Changes the fields of a cache key.
    pub(crate) fn change_key(
        self,
        distribution: &Distribution,
        behavior: &Arc<Behavior>,
        fields: &mut Vec<(HeaderName, HeaderValue)>,
    ) {
        self.change_request(behavior, fields);
        if self.is_moved {
            let name = distribution.settings.behaviors.name(behavior);
            fields.extend(HeaderValue::try_from(name).map(|name| (BEHAVIOR, name)));
        }
    }

    /// Changes the fields of an origin request.
    pub(crate) fn change_request(
        self,
        behavior: &Behavior,
        fields: &mut Vec<(HeaderName, HeaderValue)>,
    ) {
        if let Some(rules) = behavior.rules.as_ref().filter(|_| !self.matches.is_empty()) {
            rules.change_request(self.matches, fields);
        }
    }

    /// The rules, for another node; `None` if none applied.
    pub(crate) fn for_peer(
        self,
        distribution: &Distribution,
        behavior: &Arc<Behavior>,
    ) -> Option<PeerRules> {
        let behavior = || distribution.settings.behaviors.name(behavior);
        let matches = self.matches;
        (!matches.is_empty()).then(|| PeerRules { behavior: behavior(), matches })
    }

    /// The path and the behavior of a request whose path another node has rewritten.
    pub(crate) fn of_peer<'a, 'd>(
        rules: &PeerRules,
        distribution: &'d Distribution,
        raw: &'a str,
    ) -> Option<(CanonicalPath<'a>, &'d Arc<Behavior>, Self)> {
        let behavior = distribution.settings.behaviors.by_name(&rules.behavior)?;
        let path = CanonicalPath::resolve(raw, behavior.path_form).ok()?;
        let is_moved = distribution.is_of_another(behavior, &path);
        Some((path, behavior, Self { matches: rules.matches, is_moved }))
    }
}
