//! `forebay explain`.

use std::{
    net::{IpAddr, SocketAddr},
    process::ExitCode,
};

use serde_json::json;

use super::{
    Mendable,
    ask::{admin_address, ask},
    say,
};
use crate::proxy::{Explanation, StoredSummary};

/// Show what a running Forebay does with a request, and why. Nothing is fetched or changed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A token in FOREBAY_ADMIN_TOKEN, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, authenticate the caller\n\
    if the admin API requires it."
)]
pub(super) struct Args {
    /// URL that a viewer requests, with scheme and host
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
    /// Admin address of the running Forebay
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9145", value_parser = admin_address)]
    admin: SocketAddr,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let fields: Result<Vec<_>, Mendable> = args.header.iter().map(|line| field(line)).collect();
    let question = json!({
        "url": args.url,
        "method": args.method,
        "fields": fields?,
        "client": args.client,
    });
    let answer = ask(args.admin, ("POST", "/explain"), &question.to_string())?;
    if args.json {
        say(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let explanation: Explanation = serde_json::from_str(&answer).map_err(|error| Mendable {
        message: format!("the answer is not an explanation: {error}"),
        help: "is this Forebay of the same version?".into(),
    })?;
    for (label, text) in lines(&explanation) {
        say(&format!("{label:<13} {text}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn field(line: &str) -> Result<(&str, &str), Mendable> {
    let field = line.split_once(':').map(|(name, value)| (name.trim(), value.trim()));
    field.ok_or_else(|| Mendable {
        message: format!("`{line}` is no header field"),
        help: "write `Name: value`".into(),
    })
}

/// Labeled lines of the explanation, in the order in which Forebay decides.
fn lines(told: &Explanation) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".into());
    lines.push(("distribution", or_none(&told.distribution)));
    if let Some(path) = &told.path {
        lines.push(("path", path.clone()));
    }
    if let Some(behavior) = &told.behavior {
        let origins = told.origins.join(", then ");
        lines.push(("behavior", format!("{behavior}, origin {origins}")));
    }
    lines.extend(told.signature.iter().map(|signature| ("signature", signature.clone())));
    if let Some(refused) = &told.refused {
        lines.push(("refused", format!("{}, {}", refused.status, refused.reason)));
    } else {
        let more = told.key.iter().map(|part| format!("  {part}"));
        lines.push(("key", or_none(&told.path) + &more.collect::<String>()));
        if let Some(variants) = &told.variants {
            let vary = variants.vary.join(", ");
            lines.push(("variants", format!("{} by {vary}", variants.count)));
        }
        let purged =
            told.purged.iter().map(|how| ("purged", format!("{how}, after it was stored")));
        lines.extend(purged);
        match &told.stored {
            Some(stored) => lines.extend(of_stored(stored)),
            None => lines.push(("stored", "nothing".into())),
        }
    }
    lines.push(("next", format!("{}: {}", told.next.result, told.next.why)));
    lines
}

fn of_stored(stored: &StoredSummary) -> Vec<(&'static str, String)> {
    let StoredSummary { status, length, in_memory, lifetime, age, fresh_for, .. } = stored;
    let there = match in_memory.as_str() {
        "all" => "in memory",
        "arriving" => "of which those asked for are arriving",
        "head" => "of which none is stored: it answered a HEAD",
        _ => "of which some that the request needs are missing",
    };
    let what = format!("{status}, {length} bytes, {there}");
    let left = match fresh_for {
        0.. => format!("fresh for {fresh_for} s more"),
        _ => format!("stale for {} s", fresh_for.unsigned_abs()),
    };
    let mut lines = vec![("stored", what)];
    lines.extend(stored.fields.iter().map(|field| ("", field.clone())));
    lines.push(("policy", stored.policy.clone()));
    lines.push(("freshness", format!("lifetime {lifetime} s, age {age} s: {left}")));
    lines
}
