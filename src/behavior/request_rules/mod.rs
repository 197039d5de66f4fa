//! Rules of a behavior: redirects, rewrites, refusals and changes of header fields, by properties of the request.
//!
//! They do what CloudFront Functions mostly do in front of a bucket (Amazon CloudFront Developer Guide, "CloudFront Functions
//! examples"). They are applied after access control and before the cache key is made.

mod action;
mod captured;
mod conditions;
mod header_changes;
mod path_condition;
mod redirect;
mod redirects;
mod rule_input;
mod rule_matches;
mod target;

use std::{path::Path, sync::Arc};

pub(crate) use action::{Action, TrailingSlash};
pub(crate) use conditions::Conditions;
pub(crate) use header_changes::HeaderChanges;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
pub(crate) use path_condition::PathCondition;
pub(crate) use redirect::Redirect;
pub(crate) use redirects::{RedirectList, Redirects};
pub(crate) use rule_input::RuleInput;
pub(crate) use rule_matches::RuleMatches;
pub(crate) use target::{Target, TargetError};

use super::PathPattern;
use crate::cache::key::PathForm;

/// The rules of a behavior, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestRules(Vec<RequestRule>);

/// A rule: what it does with the requests that meet its conditions.
#[derive(Clone, Debug)]
pub(crate) struct RequestRule {
    pub(crate) conditions: Conditions,
    /// What ends the list, if the rule does not only change header fields.
    pub(crate) action: Option<Action>,
    pub(crate) headers: HeaderChanges,
}

/// What the rules do with a request.
#[derive(Debug, Default)]
pub(crate) struct RuleOutcome {
    /// The rules that apply.
    pub(crate) matches: RuleMatches,
    pub(crate) end: Option<RuleEnd>,
}

/// How a list of rules ends for a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RuleEnd {
    /// The viewer is redirected.
    Redirect {
        /// The status of the redirect.
        status: StatusCode,
        /// The value of `Location`.
        location: HeaderValue,
    },
    /// The cache and the origin get another path, in the form of a URL.
    Rewrite(String),
    /// The request is refused.
    Deny,
}

impl RequestRules {
    /// The most rules of a behavior. A list of redirects in a file is one.
    pub(crate) const MOST: usize = RuleMatches::MOST;

    /// Rules, of which there are at most [`Self::MOST`].
    pub(crate) fn new(mut rules: Vec<RequestRule>) -> Self {
        rules.truncate(Self::MOST);
        Self(rules)
    }

    /// Applies the rules to a request. The header fields of each rule that applies are changed; the first one with an action
    /// ends the list.
    pub(crate) fn apply(&self, input: &RuleInput<'_>) -> RuleOutcome {
        let mut outcome = RuleOutcome::default();
        for (place, rule) in self.0.iter().enumerate() {
            let Some(captures) = rule.conditions.met_by(input) else { continue };
            let Some(action) = &rule.action else {
                outcome.matches.add(place);
                continue;
            };
            if let Some(end) = action.take(input, &captures) {
                outcome.matches.add(place);
                outcome.end = Some(end);
                break;
            }
        }
        outcome
    }

    /// The paths that rules may rewrite a path to, in the form of URLs, whatever else the request has.
    pub(crate) fn rewritten(&self, path: &str, form: PathForm) -> Vec<String> {
        let rewrite = |rule: &RequestRule| {
            let captures = rule.conditions.path.matches(path)?;
            rule.action.as_ref()?.rewrite(path, form, &captures)
        };
        self.0.iter().filter_map(rewrite).collect()
    }

    /// Changes the header fields that an origin gets.
    pub(crate) fn change_request(
        &self,
        matches: RuleMatches,
        fields: &mut Vec<(HeaderName, HeaderValue)>,
    ) {
        for rule in self.matching(matches) {
            rule.headers.change_request(fields);
        }
    }

    /// Changes the header fields that a viewer gets.
    pub(crate) fn change_response(&self, matches: RuleMatches, fields: &mut HeaderMap) {
        for rule in self.matching(matches) {
            rule.headers.change_response(fields);
        }
    }

    /// Whether rules change the header fields that a viewer gets.
    pub(crate) fn changes_response(&self, matches: RuleMatches) -> bool {
        self.matching(matches).any(|rule| rule.headers.changes_response())
    }

    /// Which rules apply, and what each does.
    pub(crate) fn describe(&self, matches: RuleMatches) -> Vec<String> {
        let numbered = self.0.iter().enumerate().filter(|(place, _)| matches.has(*place));
        numbered
            .map(|(place, rule)| {
                let does = rule.action.as_ref().map_or("changes header fields", Action::describe);
                format!("rule {} ({}) {does}", place + 1, rule.conditions.path)
            })
            .collect()
    }

    /// Patterns for the paths that rules may rewrite to, with the number of each rule.
    pub(crate) fn rewrite_patterns(&self) -> impl Iterator<Item = (usize, PathPattern)> {
        let numbered = self.0.iter().enumerate();
        numbered.filter_map(|(place, rule)| Some((place + 1, rule.action.as_ref()?.pattern()?)))
    }

    /// The files with lists of redirects.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter_map(|rule| rule.action.as_ref()?.file())
    }

    /// The same rules with the lists of redirects that `read` returns for their files.
    pub(crate) fn with_redirects<E>(
        &self,
        mut read: impl FnMut(&Path) -> Result<Arc<RedirectList>, E>,
    ) -> Result<Self, E> {
        let mut rules = self.0.clone();
        for rule in &mut rules {
            if let Some(Action::Redirects(redirects)) = &mut rule.action {
                redirects.list = read(&redirects.file)?;
            }
        }
        Ok(Self(rules))
    }

    fn matching(&self, matches: RuleMatches) -> impl Iterator<Item = &RequestRule> {
        let rules = self.0.iter().enumerate();
        rules.filter(move |(place, _)| matches.has(*place)).map(|(_, rule)| rule)
    }
}
