//! `forebay cluster status`.

use std::process::ExitCode;

use crate::{
    cli::{
        UserError,
        admin_client::{AdminAddress, Authentication, exchange, no_answer, refused},
        say,
        style::{Style, paint},
    },
    cluster::{ClusterStatus, MemberStatus, clock_fault},
};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The exit code is 0 if the node knows all purges of its cluster, and 1 otherwise."
)]
pub(super) struct Args {
    #[command(flatten)]
    admin: AdminAddress,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let admin = args.admin.resolve()?;
    let (status, content) = exchange(admin, ("GET", "/cluster"), "", &Authentication::None)
        .map_err(|error| no_answer(admin, &error))?;
    if status != 200 {
        Err(refused(status, &content))?;
    }
    let found: ClusterStatus = serde_json::from_str(&content).map_err(|error| UserError {
        message: format!("the answer of {admin} is not understood: {error}"),
        help: "use the `forebay` of the same version".into(),
    })?;
    say(&if args.json { content } else { table(&found) });
    Ok(if found.has_lease { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn table(status: &ClusterStatus) -> String {
    let state = |is_up: bool| {
        if is_up { paint(Style::Good, "up     ") } else { paint(Style::Bad, "cut off") }
    };
    let ClusterStatus { cluster, node, has_lease, applied, members, .. } = status;
    let longest = members.iter().map(|member| member.node.len()).chain([node.len(), 4]).max();
    let width = longest.unwrap_or(0);
    let mut lines = vec![
        format!("Cluster {}", paint(Style::Heading, cluster)),
        format!("{:width$}  STATE    APPLIED     HEARTBEAT", "NODE"),
        format!("{node:width$}  {}  {applied:<10}  this node", state(*has_lease)),
    ];
    lines.extend(members.iter().map(|member| {
        let MemberStatus {
            node, applied, heartbeat_age, may_have_lease, same_configuration, ..
        } = member;
        let differs = if *same_configuration { "" } else { "  other configuration" };
        let state = state(*may_have_lease && !member.is_unconfirmed);
        let clock =
            clock_fault(member.clock_offset).map(|fault| format!("  {fault}")).unwrap_or_default();
        format!("{node:width$}  {state}  {applied:<10}  {heartbeat_age} s ago{differs}{clock}")
    }));
    if let Some(reason) = &status.reason {
        lines.push(format!("This node validates what it has stored: {reason}."));
    }
    if let Some(error) = &status.connection_error {
        lines.push(format!("{} {error}", paint(Style::Bad, "no connection:")));
    }
    if status.name_conflict {
        let text = "another process uses the name of this node; give each its own `cluster.node`";
        lines.push(paint(Style::Bad, text));
    }
    lines.join("\n")
}
