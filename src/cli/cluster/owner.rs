//! `forebay cluster owner`.

use std::process::ExitCode;

use serde_json::json;

use crate::{
    cli::{
        UserError,
        admin_client::{AdminAddress, call},
        say,
    },
    proxy::Explanation,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "If there is only one distribution, the path is enough.\n\n\
    A token in FOREBAY_ADMIN_TOKEN, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, authenticate the caller\n\
    if the admin API requires it.")]
pub(super) struct Args {
    /// URL that a viewer requests, or its path
    url: String,
    #[command(flatten)]
    admin: AdminAddress,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let request = json!({ "url": args.url });
    let response = call(args.admin.resolve()?, ("POST", "/explain"), &request.to_string())?;
    let explanation: Explanation = serde_json::from_str(&response).map_err(|error| UserError {
        message: format!("the response is not an explanation: {error}"),
        help: "check that the running Forebay has the same version as this command".into(),
    })?;
    let owner = explanation.owner.ok_or_else(|| UserError {
        message: format!("`{}` has no owner: each node fetches it from the origin itself", args.url),
        help: "objects have owners if `cluster.peer_listen` is set; those that are not cached, and those of behaviors that allow PUT, have none; nor does a node that is cut off ask others".into(),
    })?;
    say(&owner);
    Ok(ExitCode::SUCCESS)
}
