//! `forebay doctor`.

use std::process::ExitCode;

use serde_json::json;

use super::{
    report, say,
    source::ConfigSource,
    style::{Style, fix, paint},
};
use crate::{
    base::clock::Clock,
    doctor::{Finding, Verdict, examine},
};

/// Check that everything a configuration needs is available: ports, certificates, credentials, buckets.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Changes nothing: it lists and reads buckets as `serve` does, and tries both without credentials.\n\
    The exit code is 1 if a check fails."
)]
pub(super) struct Args {
    #[command(flatten)]
    source: ConfigSource,
    /// Key of an object to read, relative to the origin path [default: the first one found]
    #[arg(long, value_name = "KEY")]
    sample: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let config = args.source.load()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let clock = Clock::system();
    let examined = examine(&config, args.sample.as_deref(), &clock);
    let findings = runtime.map_err(report)?.block_on(examined);
    let works = findings.iter().all(|finding| finding.verdict != Verdict::Bad);
    if args.json {
        say(&json!({ "works": works, "findings": findings }).to_string());
    } else {
        say(&text(&findings));
    }
    Ok(if works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Findings by area, each with a mark and its fix.
pub(super) fn text(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    let mut area = "";
    for finding in findings {
        if finding.area != area {
            area = &finding.area;
            lines.push(paint(Style::Heading, area));
        }
        let mark = match finding.verdict {
            Verdict::Good => paint(Style::Good, "✔"),
            Verdict::Advice => paint(Style::Advice, "!"),
            Verdict::Bad => paint(Style::Bad, "✖"),
        };
        lines.push(format!("  {mark} {}", finding.text.replace('\n', "\n    ")));
        lines.extend(finding.fix.iter().map(|text| format!("      {}", fix(text))));
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    lines.push(match (count(Verdict::Bad), count(Verdict::Advice)) {
        (0, 0) => paint(Style::Good, "No problems found."),
        (0, 1) => "No problems found. One warning (!).".to_owned(),
        (0, advice) => format!("No problems found. {advice} warnings (!)."),
        (1, _) => paint(Style::Bad, "One problem found."),
        (bad, _) => paint(Style::Bad, &format!("{bad} problems found.")),
    });
    lines.join("\n")
}
