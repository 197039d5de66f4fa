//! Rules of a behavior: redirects, rewrites, refusals and changes of header fields, by properties of the request.
//!
//! They do what CloudFront Functions mostly do in front of a bucket (Amazon CloudFront Developer Guide, "CloudFront Functions
//! examples"). They are applied after access control and before the cache key is made.

mod action;
mod basic_auth;
mod captured;
mod conditions;
mod header_changes;
mod path_condition;
mod redirect;
mod redirects;
mod rule_files;
mod rule_input;
mod rule_matches;
mod target;

pub(crate) use action::{Action, TrailingSlash};
pub(crate) use basic_auth::BasicAuth;
pub(crate) use conditions::Conditions;
pub(crate) use header_changes::HeaderChanges;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
pub(crate) use path_condition::PathCondition;
pub(crate) use redirect::Redirect;
pub(crate) use redirects::{RedirectList, Redirects};
pub(crate) use rule_files::RuleFiles;
pub(crate) use rule_input::RuleInput;
pub(crate) use rule_matches::RuleMatches;
pub(crate) use target::{Target, TargetError};

use super::PathPattern;
use crate::{access::passwords::Login, cache::key::PathForm};

/// The rules of a behavior, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestRules(Vec<RequestRule>);

/// A rule: conditions and, for requests that meet them, an action and changes of header fields.
#[derive(Clone, Debug)]
pub(crate) struct RequestRule {
    pub(crate) conditions: Conditions,
    /// The action, if the rule does not only change header fields. It ends the list.
    pub(crate) action: Option<Action>,
    pub(crate) headers: HeaderChanges,
}

/// The result of applying rules to a request.
#[derive(Debug, Default)]
pub(crate) struct RuleOutcome {
    /// The rules that apply.
    pub(crate) matches: RuleMatches,
    pub(crate) end: Option<RuleEnd>,
}

/// How a list of rules ends for a request.
#[derive(Debug)]
pub(crate) enum RuleEnd {
    /// The cache and the origin get another path, in the form of a URL.
    Rewrite(String),
    /// The request is answered without them.
    Answer(RuleAnswer),
}

/// The answer of a rule to a request.
#[derive(Debug)]
pub(crate) enum RuleAnswer {
    /// The viewer is redirected.
    Redirect {
        /// The status of the redirect.
        status: StatusCode,
        /// The value of `Location`.
        location: HeaderValue,
        /// Whether the redirect depends on more than method and URL.
        depends_on_viewer: bool,
    },
    /// The request is refused.
    Deny,
    /// The request is refused, unless its password turns out to be right.
    Unauthorized {
        /// The value of `WWW-Authenticate`.
        challenge: HeaderValue,
        /// The name and password of the request, if it has any.
        login: Option<Login>,
    },
}

impl RequestRules {
    /// Maximum number of rules of a behavior. A list of redirects in a file is one.
    pub(crate) const MAX: usize = RuleMatches::MAX;

    /// Rules, of which there are at most [`Self::MAX`].
    pub(crate) fn new(mut rules: Vec<RequestRule>) -> Self {
        rules.truncate(Self::MAX);
        Self(rules)
    }

    /// Applies the rules to a request with this path, decoded as for path patterns. The first rule that applies and has an
    /// action ends the list.
    pub(crate) fn apply(&self, input: &RuleInput<'_>, path: &str) -> RuleOutcome {
        let mut outcome = RuleOutcome::default();
        for (index, rule) in self.0.iter().enumerate() {
            let conditions = &rule.conditions;
            if !conditions.are_met(input, path) {
                continue;
            }
            let Some(action) = &rule.action else {
                outcome.matches.add(index);
                continue;
            };
            let Some(captures) = conditions.path.captures_of(path) else { continue };
            if let Some(end) = action.take((input, path), &captures, conditions.depend_on_viewer())
            {
                outcome.matches.add(index);
                outcome.end = Some(end);
                break;
            }
        }
        outcome
    }

    /// The first rule that refuses a request with this path, and how. Unlike [`Self::apply`], rules that redirect or rewrite
    /// do not count.
    pub(crate) fn refusal(
        &self,
        input: &RuleInput<'_>,
        path: &str,
    ) -> Option<(RuleMatches, RuleAnswer)> {
        self.refusal_by(input, path, |_| true)
    }

    /// The same, but only by rules with a condition for the path.
    pub(crate) fn refusal_of_path(
        &self,
        input: &RuleInput<'_>,
        path: &str,
    ) -> Option<(RuleMatches, RuleAnswer)> {
        self.refusal_by(input, path, |rule| !matches!(rule.conditions.path, PathCondition::Any))
    }

    fn refusal_by(
        &self,
        input: &RuleInput<'_>,
        path: &str,
        may_refuse: impl Fn(&RequestRule) -> bool,
    ) -> Option<(RuleMatches, RuleAnswer)> {
        let mut numbered = self.0.iter().enumerate().filter(|(_, rule)| may_refuse(rule));
        numbered.find_map(|(index, rule)| {
            let action = rule.action.as_ref().filter(|_| rule.conditions.are_met(input, path))?;
            let answer = action.refusal(input)?;
            let mut matches = RuleMatches::default();
            matches.add(index);
            Some((matches, answer))
        })
    }

    /// Whether viewers need a password for some requests.
    pub(crate) fn want_passwords(&self) -> bool {
        self.0.iter().any(|rule| matches!(rule.action, Some(Action::BasicAuth(_))))
    }

    /// Whether rules read fields in which the edge describes the viewer.
    pub(crate) fn reads_descriptions(&self) -> bool {
        self.0.iter().any(|rule| rule.conditions.read_descriptions())
    }

    /// Whether rules rewrite paths.
    pub(crate) fn has_rewrites(&self) -> bool {
        self.0.iter().any(|rule| rule.action.as_ref().is_some_and(Action::is_rewrite))
    }

    /// The paths that rules may rewrite a path to, in the form of URLs, whatever else the request has.
    pub(crate) fn rewritten(&self, path: &str, form: PathForm) -> Vec<String> {
        let rewrite = |rule: &RequestRule| {
            let captures = rule.conditions.path.captures_of(path)?;
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

    /// The rules that apply, in words.
    pub(crate) fn describe(&self, matches: RuleMatches) -> Vec<String> {
        let numbered = self.0.iter().enumerate().filter(|(index, _)| matches.has(*index));
        numbered
            .map(|(index, rule)| {
                let does = rule.action.as_ref().map_or("changes header fields", Action::describe);
                format!("rule {} ({}) {does}", index + 1, rule.conditions)
            })
            .collect()
    }

    /// Patterns for the paths that rules may rewrite to, with the number of each rule.
    pub(crate) fn rewrite_patterns(&self) -> impl Iterator<Item = (usize, PathPattern)> {
        let numbered = self.0.iter().enumerate();
        numbered.filter_map(|(index, rule)| Some((index + 1, rule.action.as_ref()?.pattern()?)))
    }

    /// Whether a rule names a file.
    pub(crate) fn need_files(&self) -> bool {
        self.0.iter().filter_map(|rule| rule.action.as_ref()).any(Action::needs_file)
    }

    /// The same rules with the contents of their files.
    pub(crate) fn with_files<F: RuleFiles>(
        &self,
        files: &mut F,
        form: PathForm,
    ) -> Result<Self, F::Error> {
        let mut rules = self.0.clone();
        for action in rules.iter_mut().filter_map(|rule| rule.action.as_mut()) {
            action.read_file(files, form)?;
        }
        Ok(Self(rules))
    }

    fn matching(&self, matches: RuleMatches) -> impl Iterator<Item = &RequestRule> {
        let rules = self.0.iter().enumerate();
        rules.filter(move |(index, _)| matches.has(*index)).map(|(_, rule)| rule)
    }
}
