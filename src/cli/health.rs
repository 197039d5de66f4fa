//! `forebay health`.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use super::say;

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Ask a running Forebay whether it is alive (for container health checks).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Admin address of the Forebay to ask
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9145")]
    admin: SocketAddr,
    /// Ask whether it is ready for viewers, not only alive
    #[arg(long)]
    ready: bool,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let answer = ask(args.admin, path)
        .map_err(|error| miette::miette!("{} does not answer: {error}", args.admin))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim();
    say(body);
    let good = answer.starts_with("HTTP/1.1 200 ");
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ask(admin: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
