//! How commands that send requests as viewers connect.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
};

use rustls::pki_types::ServerName;

use super::{UserError, report};
use crate::load::{self, Http, Line, Server, Trust};

/// How to connect to a server.
#[derive(Debug, clap::Args)]
pub(super) struct ConnectionArgs {
    /// Connect here instead of to the URL's host
    #[arg(long, value_name = "HOST:PORT", help_heading = "Connection")]
    pub(super) connect: Option<String>,
    #[command(flatten)]
    pub(super) protocol: ProtocolArgs,
}

/// What is spoken on connections, and with whom.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct ProtocolArgs {
    /// Also trust the certificates in this file (PEM)
    #[arg(long, value_name = "FILE", conflicts_with = "insecure", help_heading = "Connection")]
    pub(super) ca: Option<PathBuf>,
    /// Trust any certificate
    #[arg(long, help_heading = "Connection")]
    pub(super) insecure: bool,
    /// Use HTTP/2; without TLS, by prior knowledge (h2c), which not every server supports
    #[arg(long, group = "multiplexed", help_heading = "Connection")]
    pub(super) http2: bool,
    /// Use HTTP/3, over UDP
    #[arg(long, group = "multiplexed", help_heading = "Connection")]
    pub(super) http3: bool,
    /// Allow a server that is not on this machine. Send requests only to servers that you operate
    #[arg(long, help_heading = "Connection")]
    pub(super) i_own_this_host: bool,
}

impl ConnectionArgs {
    /// How to connect to a server.
    pub(super) fn line(&self, server: &Server) -> miette::Result<Line> {
        self.protocol.line(server, self.connect.as_deref())
    }
}

impl ProtocolArgs {
    /// How to connect to a server, or to another place in its stead.
    pub(super) fn line(&self, server: &Server, connect: Option<&str>) -> miette::Result<Line> {
        let addresses = self.addresses(server, connect)?;
        self.line_to(server, addresses)
    }

    /// How to connect to two servers. Flags about certificates apply only to servers with TLS.
    pub(super) fn lines(&self, servers: [(&Server, Option<&str>); 2]) -> miette::Result<[Line; 2]> {
        let has_tls = servers.iter().any(|(server, _)| server.tls);
        let line = |(server, connect): (&Server, Option<&str>)| {
            if server.tls || !has_tls || self.http3 {
                return self.line(server, connect);
            }
            Ok(Line::clear(self.addresses(server, connect)?, self.http()))
        };
        let [one, other] = servers;
        Ok([line(one)?, line(other)?])
    }

    const fn http(&self) -> Http {
        match (self.http2, self.http3) {
            (_, true) => Http::Three,
            (true, false) => Http::Two,
            (false, false) => Http::One,
        }
    }

    fn addresses(&self, server: &Server, connect: Option<&str>) -> miette::Result<Vec<SocketAddr>> {
        let Server { host, port, .. } = server;
        let named =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let place = connect.map_or(named, str::to_owned);
        let found = place.to_socket_addrs().map_err(|error| UserError {
            message: format!("cannot resolve `{place}`: {error}"),
            help: "check the host and the port, or say where to connect (--help, \"Connection\")"
                .into(),
        })?;
        let found: Vec<SocketAddr> = found.collect();
        if !self.i_own_this_host && !load::is_loopback(&found) {
            return Err(UserError {
            message: format!("{place} is not on this machine"),
            help: "send requests only to servers that you operate; if this is one, add --i-own-this-host"
                .into(),
        }
        .into());
        }
        Ok(found)
    }

    fn line_to(&self, server: &Server, addresses: Vec<SocketAddr>) -> miette::Result<Line> {
        let http = self.http();
        if !server.tls {
            let flag = self.ca.as_ref().map(|_| "--ca").or(self.insecure.then_some("--insecure"));
            let flag = flag.or(self.http3.then_some("--http3"));
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
        let trust = match &self.ca {
            _ if self.insecure => Trust::Any,
            Some(path) => Trust::File(Path::new(path)),
            None => Trust::Native,
        };
        Line::encrypted(addresses, http, name, trust).map_err(report)
    }
}
