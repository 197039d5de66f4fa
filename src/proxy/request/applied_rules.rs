//! The rules of a behavior, applied to a request.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};

use super::{
    incoming::IncomingRequest,
    not_admitted::NotAdmitted,
    rejection::Rejection,
    routing::{Distribution, Rules},
};
use crate::{
    behavior::{Behavior, RuleEnd, RuleInput, RuleMatches, RuleOutcome},
    cache::key::{CanonicalPath, PathError, PathForm},
    peers::PeerRules,
};

/// The part of a key that names the behavior, if rules rewrote the path to one of another behavior. Neither viewers nor
/// policies can set a field of this name.
const BEHAVIOR: HeaderName = HeaderName::from_static("forebay-behavior");

/// The part of a key that names the generation of a staging configuration. The same holds for it.
const GENERATION: HeaderName = HeaderName::from_static("forebay-staging");

/// The changes of a request by the rules of its behavior.
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
        let country = || rules.geography.as_ref().and_then(|all| all.country(address));
        let (text, is_signed) = (raw.for_patterns(), behavior.trusted.is_some());
        let input = RuleInput::new(form, host, request, is_signed, &country);
        let RuleOutcome { matches, end } = own.apply(&input, &text);
        // Another reading of the path must not avoid a rule.
        let generous = raw.generous();
        let is_read_alike = generous == text || own.apply(&input, &generous).matches == matches;
        if !is_read_alike || (end.is_some() && is_lossy(&raw, &text)) {
            return Err(Rejection::BadPath(PathError::Ambiguous).into());
        }
        let rewritten = match end {
            None => {
                // The index document may be refused although the folder is not.
                let is_index = path.as_str() != raw.as_str();
                let refusal = || own.refusal(&input, &path.for_patterns());
                if let Some((matches, answer)) = is_index.then(refusal).flatten() {
                    return Err(NotAdmitted::by_rule(answer, matches));
                }
                return Ok((path, Self { matches, is_moved: false }));
            }
            Some(RuleEnd::Rewrite(rewritten)) => rewritten,
            Some(RuleEnd::Answer(answer)) => return Err(NotAdmitted::by_rule(answer, matches)),
        };
        // Captures that make dot segments would leave the folder of the target.
        if rewritten.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(Rejection::BadPath(PathError::Ambiguous).into());
        }
        let path = CanonicalPath::resolve(&rewritten, form).map_err(Rejection::BadPath)?;
        let path = distribution.with_index(path).into_owned();
        // What may not be requested must not be reached by another path.
        for text in [path.for_patterns(), path.generous()] {
            if let Some((matches, answer)) = own.refusal_of_path(&input, &text) {
                return Err(NotAdmitted::by_rule(answer, matches));
            }
        }
        if distribution.protects_from(behavior, &path) {
            return Err(Rejection::ProtectedPath(matches).into());
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
        if let Some(generation) = &distribution.generation {
            fields.push((GENERATION, generation.clone()));
        }
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
        let Some(rules) = &behavior.rules else { return };
        if rules.want_passwords() {
            // The password is for this server, and everyone gets the same response.
            fields.retain(|(name, _)| *name != header::AUTHORIZATION);
        }
        if !self.matches.is_empty() {
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

/// Whether different paths have the same decoded text: a slash is escaped twice, which reads like one that is escaped once, or
/// bytes are not UTF-8. A target made from this text could name another path.
fn is_lossy(path: &CanonicalPath<'_>, text: &str) -> bool {
    path.form() == PathForm::Uri
        && (path.as_str().contains("%252F") || text.contains(char::REPLACEMENT_CHARACTER))
}
