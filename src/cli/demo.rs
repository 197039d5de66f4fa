//! `forebay demo`.

use std::{net::SocketAddr, process::ExitCode};

use tokio::signal::unix::{SignalKind, signal};

use super::{UserError, report, say};
use crate::demo::Demo;

/// Try Forebay: run it in front of a private bucket with sample media, in one process.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address for viewers
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Admin address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9145")]
    admin: SocketAddr,
    /// Run the tour on free ports, print the results, and exit with 0 if everything works
    #[arg(long, conflicts_with_all = ["listen", "admin"])]
    check: bool,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(report)?;
    runtime.block_on(demo(args))
}

async fn demo(args: &Args) -> miette::Result<ExitCode> {
    // A check is short; it uses free ports, so it conflicts with nothing.
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let (listen, admin) = if args.check { (any, any) } else { (args.listen, args.admin) };
    let mut terminate = signal(SignalKind::terminate()).map_err(report)?;
    let demo =
        Demo::start(&listen.to_string(), &admin.to_string()).await.map_err(|error| UserError {
            message: error.to_string(),
            help: "choose free addresses: --listen 127.0.0.1:8081 --admin 127.0.0.1:9146".into(),
        })?;
    let tour = demo.tour();
    if !args.check {
        say(&tour.text());
        // The demo has no configuration to reload, but a reload of every Forebay must not end it.
        let _hangup = signal(SignalKind::hangup()).map_err(report)?;
        tokio::select! {
            ended = tokio::signal::ctrl_c() => ended.map_err(report)?,
            _ = terminate.recv() => {}
        }
        demo.stop().await;
        return Ok(ExitCode::SUCCESS);
    }
    let steps = tour.walk().await;
    for step in &steps {
        say(&step.line);
    }
    demo.stop().await;
    let passed = steps.iter().all(|step| step.passed);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
