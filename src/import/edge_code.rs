//! Code that CloudFront runs for a behavior.

use super::{
    Job, Need,
    functions::{Event, Rule, Translation, translate},
    report::Node,
    text::Text,
};

/// The rules that the functions of a behavior become. If one may restrict access and does not become rules, the behavior is
/// disabled.
pub(super) fn rules(
    job: &Job<'_>,
    text: &mut Text,
    node: &Node<'_>,
    aliases: &[&str],
) -> Vec<Rule> {
    let lambdas = node.get("LambdaFunctionAssociations");
    let functions = node.get("FunctionAssociations");
    let mut is_closed = is_odd(job, &lambdas, "Lambda@Edge");
    for item in lambdas.items() {
        item.get("IncludeBody").read();
        let arn = item.get("LambdaFunctionARN").text_or("a function");
        let event = item.get("EventType").text_or("some event");
        item.is_dropped(format!(
            "Forebay does not run Lambda@Edge ({event}); rules can redirect, rewrite, refuse and change header fields (docs/rules.md)"
        ));
        if handles_requests(event) {
            replace_it(job, arn, "Forebay does not run Lambda@Edge");
            is_closed = true;
        }
    }
    is_closed |= is_odd(job, &functions, "CloudFront Functions");
    let (mut for_responses, mut for_requests) = (Vec::new(), Vec::new());
    for item in functions.items() {
        let arn = item.get("FunctionARN").text_or("a function");
        let event = item.get("EventType").text_or("some event");
        match translated(job, arn, event, aliases) {
            Ok(Translation { rules, differences }) => {
                if differences.is_empty() {
                    item.is_exact("rule");
                } else {
                    item.differs(format!("rule: {}", differences.join("; ")));
                }
                let is_response = event == "viewer-response";
                (if is_response { &mut for_responses } else { &mut for_requests }).extend(rules);
            }
            Err(reason) => {
                item.is_dropped(format!(
                    "{event}: {reason}; rules can redirect, rewrite, refuse and change header fields (docs/rules.md)"
                ));
                is_closed |= handles_requests(event);
            }
        }
    }
    if is_closed {
        text.comment("A CloudFront function handles requests here. Until you remove this line, all requests get 403.");
        text.line("enabled", false);
    }
    // Those for responses do not end the list.
    let rules: Vec<Rule> = for_responses.into_iter().chain(for_requests).collect();
    if rules.iter().any(|rule| rule.country.is_some()) && job.need(Need::Geography) {
        job.ledger.to_do("get a database of countries, and set its path in `[geo]`");
    }
    rules
}

/// A function as rules, or the reason why it is not.
fn translated(
    job: &Job<'_>,
    arn: &str,
    event: &str,
    aliases: &[&str],
) -> Result<Translation, String> {
    let event = match event {
        "viewer-request" => Event::ViewerRequest,
        "viewer-response" => Event::ViewerResponse,
        _ => {
            replace_it(job, arn, &format!("it runs at `{event}`, where functions do not run"));
            return Err("functions do not run at this event".to_owned());
        }
    };
    let name = arn.rsplit('/').next().unwrap_or(arn);
    let Some(code) = job.parts.functions.get(name) else {
        job.ledger.to_do(format!(
            "run `aws cloudfront get-function --name {name} --stage LIVE {name}.js` and import that file too: common functions become rules; or write rules yourself (docs/rules.md), and remove `enabled = false`"
        ));
        return Err("its code is missing".to_owned());
    };
    translate(code, event, aliases).map_err(|unclear| {
        let reason = format!("Forebay makes no rules of it: {unclear}");
        match event {
            Event::ViewerRequest => replace_it(job, arn, &reason),
            Event::ViewerResponse => job.ledger.to_do(format!(
                "check what {arn} does with responses ({reason}): replace header fields that it sets by `set_response_headers` in a rule, or by a response headers policy"
            )),
        }
        reason
    })
}

/// Whether code at an event may answer requests itself. An unknown event may do so, too.
fn handles_requests(event: &str) -> bool {
    !matches!(event, "viewer-response" | "origin-response")
}

/// Adds what must be done about code that handles requests.
fn replace_it(job: &Job<'_>, arn: &str, reason: &str) {
    job.ledger.to_do(format!(
        "check what {arn} does with requests ({reason}): replace redirects and rewrites with rules (docs/rules.md), and what restricts access with `basic_auth`, `allow` or `trusted_key_groups`; then remove `enabled = false`"
    ));
}

/// Reports a list that is not one of functions.
fn is_odd(job: &Job<'_>, list: &Node<'_>, what: &str) -> bool {
    let is_odd = list.is_odd_list();
    if is_odd {
        list.is_dropped(format!("not a list of functions ({what})"));
        job.ledger.to_do(format!(
            "check what {what} does in this behavior; then remove `enabled = false`"
        ));
    }
    is_odd
}
