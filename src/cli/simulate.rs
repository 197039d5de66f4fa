//! `forebay simulate`.

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, time::Duration};

use bytesize::ByteSize;
use indicatif::ProgressBar;

use super::{
    UserError,
    html_file::HtmlFile,
    listing::distribution,
    load::{time, whole, wrong},
    progress_bar::progress_bar,
    report, say,
    source::load_file,
};
use crate::{
    load::{TargetsError, for_each_line, log_files},
    simulate::{CachePolicies, PolicyName, Prices, Purges, Report, Trace, TraceOptions},
};

/// Sizes of caches as parts of all objects together, in percent.
const PARTS: [u64; 7] = [1, 2, 5, 10, 20, 50, 100];

/// Predict from access logs how large a cache must be: hit ratio and what the bucket still costs, by size.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Reads Forebay's JSON, both versions of CloudFront's standard log, and the combined format. Simulates a cache that\n\
    starts empty and stores whole objects. The size of an object is that of the largest response seen.\n\n\
    Examples:\n  \
    forebay simulate --access-log /var/log/cloudfront --sizes 1GiB,10GiB,100GiB\n  \
    aws s3 cp s3://my-logs/E2QWRUHEXAMPLE.2026-11-25-22.0a1b2c3d.gz - | gunzip | forebay simulate --access-log -"
)]
pub(super) struct Args {
    /// Access log (may be repeated; a directory means its files, `-` standard input), optionally .gz
    #[arg(long, value_name = "FILE", required = true)]
    access_log: Vec<PathBuf>,
    /// Sizes of the cache [default: 1, 2, 5, 10, 20, 50 and 100% of all objects together]
    #[arg(long, value_name = "SIZE,…", value_delimiter = ',')]
    sizes: Vec<ByteSize>,
    /// How long objects are fresh; then the bucket confirms them
    #[arg(long, value_name = "TIME", default_value = "365days", value_parser = time)]
    ttl: Duration,
    /// Simulate a cluster of this many nodes, too, each with a cache of the size; viewers' requests are spread over them
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(2..=64))]
    nodes: Option<u32>,
    /// Count URLs with different queries as different objects, as a cache policy with all query strings does
    #[arg(long)]
    query: bool,
    /// Configuration whose cache policies decide which queries make an object, how long it is fresh and whether it is stored
    #[arg(long, value_name = "FILE", conflicts_with = "query")]
    config: Option<PathBuf>,
    /// Distribution that the log is of, with --config; optional if there is only one
    #[arg(long, value_name = "ID", requires = "config")]
    distribution: Option<String>,
    /// Purges: lines with a time and a path, or what `aws cloudfront get-invalidation` printed
    #[arg(long, value_name = "FILE")]
    purges: Option<PathBuf>,
    /// The most requests in memory, at about 50 bytes each; with more, a sample of the objects is simulated
    #[arg(long, value_name = "NUMBER", default_value = "20000000", value_parser = whole::<NonZeroUsize>)]
    max_requests: NonZeroUsize,
    /// Price of 1,000,000,000 bytes from the bucket
    #[arg(long, value_name = "PRICE", default_value_t = 0.09)]
    per_gigabyte: f64,
    /// Price of 1,000 requests to the bucket
    #[arg(long, value_name = "PRICE", default_value_t = 0.0004)]
    per_1000_requests: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write the results, with plots, as an HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    for (flag, price) in
        [("--per-gigabyte", args.per_gigabyte), ("--per-1000-requests", args.per_1000_requests)]
    {
        if !(0.0..=1e9).contains(&price) {
            return Err(wrong(flag, price, "a price, such as 0.09").into());
        }
    }
    if args.ttl.as_secs() == 0 {
        return Err(wrong("--ttl", "less than a second", "a time, such as 1day").into());
    }
    let page = args.html.as_deref().map(HtmlFile::open).transpose()?;
    let bar = progress_bar(0, "{spinner} {percent:>3}%  {wide_msg}");
    let trace = read(args, options(args)?, &bar).map_err(report)?;
    if trace.is_empty() {
        let (skipped, unreadable) = trace.left_out();
        return Err(UserError {
            message: format!("the logs have no successful GET; {skipped} lines have something else, {unreadable} are in no known format"),
            help: "pass Forebay's JSON, CloudFront's standard log or the combined format; compressed logs need a name that ends in .gz".into(),
        }
        .into());
    }
    let capacities = capacities(args, &trace);
    bar.set_length((capacities.len() * PolicyName::ALL.len()) as u64);
    bar.set_message("simulating");
    let ttl = u32::try_from(args.ttl.as_secs()).unwrap_or(u32::MAX);
    let prices =
        Prices { per_gigabyte: args.per_gigabyte, per_1000_requests: args.per_1000_requests };
    let results = Report::of(&trace, &capacities, (ttl, args.nodes), prices, |done| {
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    if args.json {
        say(&results.json().to_string());
    } else {
        say(&results.table());
    }
    if let Some(page) = page {
        page.write(&results.page())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn options(args: &Args) -> miette::Result<TraceOptions> {
    let policies = args.config.as_deref().map(|file| {
        let config = load_file(file)?;
        let distribution = distribution(&config, args.distribution.as_deref())?;
        Ok::<_, miette::Report>(CachePolicies::new(distribution.settings.behaviors.clone()))
    });
    let purges = args.purges.as_deref().map(|file| {
        let unusable = |reason: String| UserError {
            message: format!("cannot use the purges in `{}`: {reason}", file.display()),
            help: "write one on each line, such as `2026-11-25T01:02:03Z /images/*`".into(),
        };
        let text = std::fs::read_to_string(file).map_err(|error| unusable(error.to_string()))?;
        Purges::parse(&text).map_err(|error| unusable(error.to_string()))
    });
    Ok(TraceOptions {
        with_query: args.query,
        most: args.max_requests.get(),
        policies: policies.transpose()?,
        purges: purges.transpose()?.unwrap_or_default(),
    })
}

fn read(args: &Args, options: TraceOptions, bar: &ProgressBar) -> Result<Trace, TargetsError> {
    /// Lines between two updates of the progress.
    const STEP: u64 = 10_000;
    let mut trace = Trace::new(options);
    for file in log_files(&args.access_log)? {
        for_each_line(&file, |_, line| {
            trace.add(line);
            if trace.total().is_multiple_of(STEP) {
                bar.set_message(format!("reading: {} requests", trace.total()));
            }
            Ok(())
        })?;
    }
    trace.sort();
    Ok(trace)
}

fn capacities(args: &Args, trace: &Trace) -> Vec<u64> {
    if !args.sizes.is_empty() {
        return args.sizes.iter().map(ByteSize::as_u64).collect();
    }
    let all = u128::from(trace.working_set());
    let part = |part: &u64| u64::try_from(all * u128::from(*part) / 100).unwrap_or(u64::MAX);
    PARTS.iter().map(part).collect()
}
