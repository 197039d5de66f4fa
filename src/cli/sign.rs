//! `forebay sign`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use ipnet::IpNet;

use super::{UserError, load::time, say, warn};
use crate::{
    access::{
        restrict::Networks,
        signed::{Signer, covers, custom_policy},
    },
    base::clock::Clock,
    http::pasted_url::PastedUrl,
};

/// Sign a URL like a CloudFront signed URL, or print signed cookies.
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "The URL is the one that viewers use, percent-encoded or not. Without --resource and --client it is signed\n\
    with a canned policy. `forebay keys new` generates a key pair.\n\n\
    Examples:\n  \
    forebay sign https://media.example.com/photos/cat.jpg --key private_key.pem --key-pair-id K2JCJMDEHXQW5F\n  \
    forebay sign https://media.example.com/ --resource 'https://media.example.com/photos/*' --cookies \\\n      \
    --key private_key.pem --key-pair-id K2JCJMDEHXQW5F"
)]
pub(super) struct Args {
    /// URL to sign
    url: String,
    /// Private key, as PEM: RSA, or ECDSA P-256
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// ID of the key in the key group
    #[arg(long, value_name = "ID")]
    key_pair_id: String,
    /// How long the signature is valid
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = time)]
    valid: Duration,
    /// URLs that the signature covers; `*` matches any characters, `?` matches one
    #[arg(long, value_name = "PATTERN")]
    resource: Option<String>,
    /// Viewer address or network that may use the signature
    #[arg(long, value_name = "NETWORK", value_parser = network)]
    client: Option<IpNet>,
    /// Print the value of a `Cookie` header instead of a URL
    #[arg(long)]
    cookies: bool,
}

fn network(text: &str) -> Result<IpNet, &'static str> {
    Networks::parse(text).ok_or("write an address or a network, such as 192.0.2.0/24")
}

/// Whether a pattern has neither a scheme nor a wildcard that covers one.
fn is_unusable(resource: &str) -> bool {
    !resource.starts_with('*') && !resource.contains("://")
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let pasted = PastedUrl::parse(&args.url);
    let parts = pasted
        .as_ref()
        .and_then(|pasted| Some((pasted.url()?, pasted.site.as_ref()?, &pasted.target)));
    let (url, (scheme, authority), target) = parts.ok_or_else(|| UserError {
        message: format!("`{}` is not a URL", args.url),
        help: "write it with scheme and host, such as https://media.example.com/photos/cat.jpg"
            .into(),
    })?;
    if let Some(resource) = args.resource.as_deref().filter(|resource| is_unusable(resource)) {
        let message = format!("--resource `{resource}` covers no URL");
        let path = resource.trim_start_matches('/');
        let help =
            format!("write it with scheme and host, such as https://media.example.com/{path}");
        return Err(UserError { message, help }.into());
    }
    // Cookies are for all URLs of the pattern, and the URL is only for their site.
    let resource = args.resource.as_deref().filter(|_| !args.cookies);
    if let Some(resource) = resource.filter(|it| !covers(it, (scheme, authority), target)) {
        let message = format!("--resource `{resource}` does not cover the URL {url}");
        let help = "sign a URL of the pattern, or correct the pattern; with --cookies the URL does not matter";
        return Err(UserError { message, help: help.into() }.into());
    }
    if args.resource.is_none() && url.contains('*') {
        warn("note: `*` in the URL is a literal character; use --resource to sign a pattern");
    }
    if args.valid.is_zero() {
        let message = "--valid cannot be 0".into();
        return Err(UserError { message, help: "use a time, such as 1h".into() }.into());
    }
    let cannot = |reason: String| {
        UserError {
        message: format!("cannot sign with `{}`: {reason}", args.key.display()),
        help: "pass a PEM file with a private key that has no passphrase; `forebay keys new` generates one".into(),
    }
    };
    let key = std::fs::read(&args.key).map_err(|error| cannot(error.to_string()))?;
    let signer = Signer::from_pem(&key, &args.key_pair_id);
    let signer = signer.map_err(|error| cannot(error.to_string()))?;
    let expires = (Clock::system().now() + args.valid).as_secs();
    let parameters = if args.resource.is_none() && args.client.is_none() {
        signer.canned(&url, expires)
    } else {
        let resource = args.resource.as_deref().unwrap_or(&url);
        signer.custom(&custom_policy(resource, expires, args.client))
    };
    say(&if args.cookies { parameters.cookies() } else { parameters.append_to(&url) });
    Ok(ExitCode::SUCCESS)
}
