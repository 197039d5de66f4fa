//! How `forebay load` connects.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::Path,
};

use rustls::pki_types::ServerName;

use super::Args;
use crate::{
    cli::{UserError, report},
    load::{self, Http, Line, Server, Trust},
};

pub(super) fn addresses(args: &Args, server: &Server) -> miette::Result<Vec<SocketAddr>> {
    let Server { host, port, .. } = server;
    let named =
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let place = args.connect.clone().unwrap_or(named);
    let found = place.to_socket_addrs().map_err(|error| UserError {
        message: format!("cannot resolve `{place}`: {error}"),
        help: "check the host and the port, or connect elsewhere with --connect HOST:PORT".into(),
    })?;
    let found: Vec<SocketAddr> = found.collect();
    if !args.i_own_this_host && !load::is_loopback(&found) {
        return Err(UserError {
            message: format!("{place} is not on this machine"),
            help: "load-test only servers that you operate; if this is one, add --i-own-this-host"
                .into(),
        }
        .into());
    }
    Ok(found)
}

pub(super) fn line(
    args: &Args,
    server: &Server,
    addresses: Vec<SocketAddr>,
) -> miette::Result<Line> {
    let http = match (args.http2, args.http3) {
        (_, true) => Http::Three,
        (true, false) => Http::Two,
        (false, false) => Http::One,
    };
    if !server.tls {
        let flag = args.ca.as_ref().map(|_| "--ca").or(args.insecure.then_some("--insecure"));
        let flag = flag.or(args.http3.then_some("--http3"));
        if let Some(flag) = flag {
            let message = format!("{flag} needs TLS, but {} does not use it", server.base);
            return Err(UserError {
                message,
                help: "use an https:// URL, or remove the flag".into(),
            }
            .into());
        }
        return Ok(Line::clear(addresses, http));
    }
    let name = ServerName::try_from(server.host.clone()).map_err(report)?;
    let trust = match &args.ca {
        _ if args.insecure => Trust::Any,
        Some(path) => Trust::File(Path::new(path)),
        None => Trust::Native,
    };
    Line::encrypted(addresses, http, name, trust).map_err(report)
}
