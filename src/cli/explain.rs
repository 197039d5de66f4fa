//! `forebay explain`.

use std::{net::IpAddr, process::ExitCode, time::Duration};

use serde_json::json;

use super::{
    UserError,
    admin_client::{AdminAddress, call},
    say,
    style::{self, Style},
};
use crate::proxy::{Explanation, OriginError, StoredSummary};

/// Show what a running Forebay does with a request, and why. Nothing is fetched or changed.
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "The URL may be percent-encoded or not. If there is only one distribution, the path is enough.\n\n\
    A token in FOREBAY_ADMIN_TOKEN, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, authenticate the caller\n\
    if the admin API requires it."
)]
pub(super) struct Args {
    /// URL that a viewer requests, or its path
    url: String,
    /// Header field of the request (may be repeated)
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Method of the request
    #[arg(short = 'X', long, value_name = "METHOD", default_value = "GET")]
    method: String,
    /// Address of the viewer
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    client: IpAddr,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminAddress,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let fields: Result<Vec<_>, UserError> = args.header.iter().map(|line| field(line)).collect();
    let request = json!({
        "url": args.url,
        "method": args.method,
        "fields": fields?,
        "client": args.client,
    });
    let response = call(args.admin.resolve()?, ("POST", "/explain"), &request.to_string())?;
    if args.json {
        say(&response);
        return Ok(ExitCode::SUCCESS);
    }
    let explanation: Explanation = serde_json::from_str(&response).map_err(|error| UserError {
        message: format!("the response is not an explanation: {error}"),
        help: "check that the running Forebay has the same version as this command".into(),
    })?;
    for (label, text) in lines(&explanation) {
        say(&format!("{} {text}", style::paint(Style::Label, &format!("{label:<13}"))));
    }
    Ok(ExitCode::SUCCESS)
}

fn field(line: &str) -> Result<(&str, &str), UserError> {
    let field = line.split_once(':').map(|(name, value)| (name.trim(), value.trim()));
    field.ok_or_else(|| UserError {
        message: format!("`{line}` is not a header field"),
        help: "write it as -H 'Name: value'".into(),
    })
}

/// Labeled lines of the explanation, in the order in which Forebay decides.
fn lines(explained: &Explanation) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".into());
    lines.push(("distribution", or_none(&explained.distribution)));
    lines.extend(explained.path.iter().map(|path| ("path", path.clone())));
    if let Some(behavior) = &explained.behavior {
        let origins = explained.origins.join(", then ");
        lines.push(("behavior", format!("{behavior}, origin {origins}")));
    }
    lines.extend(explained.rules.iter().map(|rule| ("rule", rule.clone())));
    if let Some(refused) = &explained.refused {
        let status = style::paint(Style::Bad, &refused.status.to_string());
        lines.push(("refused", format!("{status}, {}", refused.why)));
        lines.extend(refused.fix.iter().map(|fix| ("", style::fix(fix))));
        let token = style::paint(Style::Faint, &format!("logged as {}", refused.reason));
        lines.push(("", token));
    } else {
        lines.extend(explained.signature.iter().map(|valid| ("signature", valid.clone())));
        lines.extend(explained.owner.iter().map(|owner| ("owner", format!("node {owner}"))));
        let more = explained.key.iter().map(|part| format!("  {part}"));
        let path = explained.rewritten.as_ref().or(explained.path.as_ref());
        lines.push(("key", or_none(&path.cloned()) + &more.collect::<String>()));
        if let Some(variants) = &explained.variants {
            let vary = variants.vary.join(", ");
            lines.push(("variants", format!("{}, selected by {vary}", variants.count)));
        }
        let purged = explained.purged.iter();
        lines.extend(purged.map(|how| {
            let after =
                if how == "soft" { "after it was stored (--soft)" } else { "after it was stored" };
            ("purged", after.to_owned())
        }));
        match &explained.stored {
            Some(stored) => lines.extend(of_stored(stored, explained.purged.is_some())),
            None => lines.push(("stored", "nothing".into())),
        }
        for failed in &explained.origin_errors {
            let OriginError { origin, seconds_ago, error, fix } = failed;
            lines.push(("origin", format!("`{origin}` last failed {seconds_ago} s ago: {error}")));
            lines.push(("", style::fix(fix)));
        }
    }
    let result = style::paint(Style::of_result(&explained.next.result), &explained.next.result);
    lines.push(("next", format!("{result}: {}", explained.next.why)));
    lines
}

/// A time in seconds, as people write it.
fn time(seconds: u64) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(seconds))
}

fn of_stored(stored: &StoredSummary, is_purged: bool) -> Vec<(&'static str, String)> {
    let StoredSummary { status, length, in_memory, lifetime, age, fresh_for, .. } = stored;
    let presence = match in_memory.as_str() {
        "all" => "in memory",
        "arriving" => "the requested bytes are arriving",
        "disk" => "on disk",
        "head" => "only the response to a HEAD is stored",
        _ => "some requested bytes are not in memory",
    };
    let summary = format!("{status}, {length} bytes, {presence}");
    let left = match fresh_for {
        _ if is_purged => "marked as stale by a purge".to_owned(),
        0.. => format!("fresh for another {}", time(fresh_for.unsigned_abs())),
        _ => format!("stale for {}", time(fresh_for.unsigned_abs())),
    };
    let mut lines = vec![("stored", summary)];
    lines.extend(stored.fields.iter().map(|field| ("", field.clone())));
    lines.push(("policy", stored.policy.clone()));
    lines.push(("freshness", format!("lifetime {}, age {}: {left}", time(*lifetime), time(*age))));
    lines
}
