//! `forebay purge`.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::ExitCode,
};

use http::uri::PathAndQuery;
use serde_json::json;

use super::{
    UserError,
    admin_client::{AdminAddress, call},
    connection_args::ConnectionArgs,
    say,
    warm::warm_paths,
};
use crate::http::pasted_url::PastedUrl;

/// Most items in one purge request.
const BATCH: usize = 3_000;

/// Purge a running Forebay: paths, everything below a path, or cache tags.
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "A path may be percent-encoded or not, and may end in `*`: '/photos/*' is everything below /photos/.\n\
    Quote it, or the shell expands the `*`. In a file, lines that begin with `# ` are comments.\n\n\
    Examples:\n  \
    forebay purge /photos/cat.jpg '/thumbnails/*'\n  \
    forebay purge 'https://media.example.com/photos/été (1).jpg'\n  \
    forebay purge --tag product-42 --soft\n  \
    forebay purge --all\n\n\
    A token in FOREBAY_ADMIN_TOKEN, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, authenticate the caller\n\
    if the admin API requires it."
)]
pub(super) struct Args {
    /// Paths or URLs to purge
    #[arg(value_name = "PATH", required_unless_present_any = ["tag", "all", "from"])]
    paths: Vec<String>,
    /// Purge objects with this cache tag (may be repeated)
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Purge everything
    #[arg(long, conflicts_with_all = ["paths", "tag", "from"])]
    all: bool,
    /// Read paths from a file, one per line (`-` for standard input)
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Mark as stale instead: each object is revalidated before it is served again
    #[arg(long)]
    soft: bool,
    /// Distribution to purge; optional if there is only one
    #[arg(long, value_name = "ID")]
    distribution: Option<String>,
    /// Then request the purged paths again, from the server at this URL; not those that end in `*`, nor tags
    #[arg(long, value_name = "URL", conflicts_with = "all")]
    warm: Option<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    admin: AdminAddress,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let (items, admin) = (items(args)?, args.admin.resolve()?);
    let (mut done, mut distribution) = (0, String::new());
    for batch in items.chunks(BATCH) {
        let content = json!({
            "distribution": args.distribution,
            "paths": batch,
            "soft": args.soft,
        });
        let answer = call(admin, ("POST", "/purge"), &content.to_string());
        let answer = answer.map_err(|mut error| {
            if done > 0 {
                error.help = format!(
                    "the first {done} items were purged; correct the error and purge the rest"
                );
            }
            error
        })?;
        let purged = serde_json::from_str::<serde_json::Value>(&answer).unwrap_or_default();
        let name = purged.get("distribution").and_then(serde_json::Value::as_str);
        name.unwrap_or_default().clone_into(&mut distribution);
        done += batch.len();
        if items.len() > BATCH {
            say(&format!("{done} of {} …", items.len()));
        }
    }
    if items.iter().any(|item| item.strip_suffix('*').unwrap_or(item).contains('*')) {
        say(
            "note: only a `*` at the end of a path is a wildcard; any other `*` is taken literally",
        );
    }
    let how = if args.soft { "marked as stale" } else { "purged" };
    let what = if done == 1 { items[0].clone() } else { format!("{done} items") };
    say(&format!("{what} {how} in distribution {distribution}"));
    match &args.warm {
        Some(server) => warm_paths(server, &args.connection, requestable(&items)),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// The items that are paths of single objects, as viewers request them.
fn requestable(items: &[String]) -> Vec<PathAndQuery> {
    let path = |item: &String| PastedUrl::parse(item)?.target.parse().ok();
    let single = items.iter().filter(|item| !item.ends_with('*') && !item.starts_with('#'));
    single.filter_map(path).collect()
}

fn items(args: &Args) -> miette::Result<Vec<String>> {
    let mut items = args.paths.clone();
    items.extend(args.tag.iter().map(|tag| format!("#{tag}")));
    items.extend(args.all.then(|| "/*".to_owned()));
    if let Some(path) = &args.from {
        let unreadable = |error| UserError {
            message: format!("cannot read `{}`: {error}", path.display()),
            help: "pass a text file with one path per line, or `-` for standard input".into(),
        };
        let reader: Box<dyn BufRead> = if path.as_os_str() == "-" {
            Box::new(std::io::stdin().lock())
        } else {
            Box::new(BufReader::new(std::fs::File::open(path).map_err(unreadable)?))
        };
        for line in reader.lines() {
            let line = line.map_err(unreadable)?;
            let is_item =
                |line: &String| !matches!(line.as_str(), "" | "#") && !line.starts_with("# ");
            items.extend(Some(line.trim().to_owned()).filter(is_item));
        }
    }
    if items.is_empty() {
        let message = "the file has no paths".to_owned();
        let help = "write one path per line".to_owned();
        return Err(UserError { message, help }.into());
    }
    Ok(items)
}
