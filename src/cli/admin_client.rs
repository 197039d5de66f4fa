//! Requests to a running Forebay's admin address.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

use aws_credential_types::Credentials;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{UserError, source::USUAL};
use crate::{
    aws::{Scope, sign_for_service},
    base::clock::Clock,
    config::DEFAULT_ADMIN,
};

/// Timeout for connecting and for each read.
const PATIENCE: Duration = Duration::from_secs(10);

/// Timeout for a purge: in a cluster, it waits for nodes that do not answer.
const PURGE_PATIENCE: Duration = Duration::from_secs(60);

/// Timeout for an upgrade: the new process takes over the contents of the memory.
const UPGRADE_PATIENCE: Duration = Duration::from_secs(200);

/// The admin address of the running Forebay.
#[derive(Debug, clap::Args)]
pub(super) struct AdminAddress {
    /// Admin address of the running Forebay [default: `admin.listen` in the configuration file]
    #[arg(long, value_name = "ADDRESS", env = "FOREBAY_ADMIN", hide_env_values = true, value_parser = parse)]
    admin: Option<SocketAddr>,
    /// Configuration file of the running Forebay [default: ./forebay.toml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl AdminAddress {
    /// The configuration file of the running Forebay.
    pub(super) fn file(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| PathBuf::from(USUAL))
    }

    /// The address from the flag, the environment or the configuration file, in this order.
    pub(super) fn resolve(&self) -> Result<SocketAddr, UserError> {
        if let Some(address) = self.admin {
            return Ok(address);
        }
        let path = self.file();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && self.config.is_none() => {
                return Ok(DEFAULT_ADMIN);
            }
            Err(error) => {
                return Err(UserError {
                    message: format!("cannot read `{}`: {error}", path.display()),
                    help: "pass the admin address instead: --admin 127.0.0.1:9145".into(),
                });
            }
        };
        // Invalid settings elsewhere in the file do not matter here.
        let table = text.parse::<toml::Table>().map_err(|error| UserError {
            message: format!("`{}` is not valid TOML: {}", path.display(), error.message()),
            help: "correct the file (`forebay check` shows the place), or pass the admin address: --admin 127.0.0.1:9145".into(),
        })?;
        let listen = table.get("admin").and_then(|admin| admin.get("listen")?.as_str());
        match listen {
            None => Ok(DEFAULT_ADMIN),
            Some("off") => Err(UserError {
                message: format!("`{}` turns the admin address off", path.display()),
                help: "remove `listen = \"off\"` under [admin], and restart Forebay; without it, SIGHUP reloads and SIGUSR2 upgrades".into(),
            }),
            Some(address) => parse(address).map(reachable).map_err(|expected| UserError {
                message: format!("`{}`: `admin.listen` is `{address}`", path.display()),
                help: expected,
            }),
        }
    }
}

/// An address to connect to, for one to listen on: loopback instead of all addresses.
const fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Parses an admin address: an IP address or a name, with a port, or a URL of it.
fn parse(text: &str) -> Result<SocketAddr, String> {
    let address = text.trim_start_matches("http://").trim_end_matches('/');
    let found = address.to_socket_addrs().map_err(|_| "write, for example, 127.0.0.1:9145")?;
    // A name may resolve to both families; the default admin address is IPv4.
    let found: Vec<SocketAddr> = found.collect();
    let first = found.iter().find(|address| address.is_ipv4()).or_else(|| found.first());
    first.copied().ok_or_else(|| "this name does not resolve to an address".to_owned())
}

/// Authentication of the caller.
pub(super) enum Authentication {
    /// None: enough on the same machine if no credentials or tokens are configured.
    None,
    /// A bearer token.
    Token(String),
    /// A signature, as AWS clients make it.
    Signature(Credentials),
}

impl Authentication {
    /// Authentication from the environment: `FOREBAY_ADMIN_TOKEN`, else `AWS_ACCESS_KEY_ID` and
    /// `AWS_SECRET_ACCESS_KEY`.
    pub(super) fn from_environment() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        if let Some(token) = variable("FOREBAY_ADMIN_TOKEN") {
            return Self::Token(token);
        }
        match (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
            (Some(id), Some(secret)) => {
                Self::Signature(Credentials::new(id, secret, None, None, "environment"))
            }
            _ => Self::None,
        }
    }

    /// Headers that authenticate the request, each with its line end.
    pub(super) fn fields(
        &self,
        admin: SocketAddr,
        method: &str,
        path: &str,
        content: &str,
    ) -> String {
        match self {
            Self::None => String::new(),
            Self::Token(token) => format!("Authorization: Bearer {token}\r\n"),
            Self::Signature(credentials) => {
                signature(credentials, admin, method, path, content).unwrap_or_default()
            }
        }
    }
}

fn signature(
    credentials: &Credentials,
    admin: SocketAddr,
    method: &str,
    path: &str,
    content: &str,
) -> Option<String> {
    let mut fields = HeaderMap::new();
    fields.insert(header::HOST, HeaderValue::try_from(admin.to_string()).ok()?);
    let now = Clock::system().now().into();
    let url = format!("http://{admin}{path}");
    let scope = Scope { service: "cloudfront", region: "us-east-1" };
    let request = (method, url.as_str(), content.as_bytes());
    sign_for_service(&credentials.clone().into(), scope, now, request, &mut fields).ok()?;
    fields.remove(header::HOST);
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        Some(format!("{name}: {}\r\n", value.to_str().ok()?))
    };
    fields.iter().map(line).collect()
}

/// Sends a request with authentication from the environment; returns the content of a 200 response.
pub(super) fn call(
    admin: SocketAddr,
    target: (&str, &str),
    content: &str,
) -> Result<String, UserError> {
    let response = exchange(admin, target, content, &Authentication::from_environment());
    let (status, content) = response.map_err(|error| no_answer(admin, &error))?;
    if status == 200 { Ok(content) } else { Err(refused(status, &content)) }
}

/// The error if no Forebay answers at the admin address.
pub(super) fn no_answer(admin: SocketAddr, error: &std::io::Error) -> UserError {
    UserError {
        message: format!("cannot reach Forebay at {admin}: {error}"),
        help: "start it with `forebay serve`, or pass its admin address with --admin ADDRESS, FOREBAY_ADMIN or --config FILE".into(),
    }
}

/// Makes the running Forebay carry out a command that reads the configuration file again, by a POST request. `failed`
/// completes the error if Forebay could not do it.
pub(super) fn carry_out<T: DeserializeOwned>(
    admin: SocketAddr,
    path: &str,
    failed: impl FnOnce(&UserError) -> UserError,
) -> Result<T, UserError> {
    let authentication = Authentication::from_environment();
    let answered = exchange(admin, ("POST", path), "", &authentication);
    let (status, content) = answered.map_err(|error| {
        let mut error = no_answer(admin, &error);
        error.help.push_str(
            "; if you changed `admin.listen`, pass the old address: only `forebay upgrade` or a restart applies the new one",
        );
        error
    })?;
    match status {
        200 => {}
        422 => return Err(failed(&refused(status, &content))),
        _ => return Err(refused(status, &content)),
    }
    serde_json::from_str(&content).map_err(|error| UserError {
        message: format!("cannot parse the response from {admin}: {error}"),
        help: "use the `forebay` of the same version".into(),
    })
}

pub(super) fn refused(status: u16, content: &str) -> UserError {
    let error = serde_json::from_str::<Value>(content).ok();
    let error = error.and_then(|error| Some(error.get("error")?.as_str()?.to_owned()));
    let help = match (status, &error) {
        (401 | 403, _) => {
            "set FOREBAY_ADMIN_TOKEN to the token of an `[[admin.token]]`, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to those of an `[[admin.credential]]`"
        }
        (404, Some(error)) if error.contains("alias") => {
            "name the distribution with --distribution ID, or pass a path instead of a URL"
        }
        (404, Some(error)) if error.contains("distribution") => {
            "name the distribution with --distribution ID, or pass a URL with its host"
        }
        (404, Some(error)) if error.contains("cluster") => {
            "add [cluster] to its configuration, and restart it"
        }
        (404 | 405, _) | (_, None) => {
            "check that this is the admin address of a Forebay of the same version"
        }
        (_, Some(error)) if error.contains("cache_tag_header") => {
            "add it to the `[[distribution]]`, for example `cache_tag_header = \"x-amz-meta-cache-tag\"`"
        }
        (503, Some(error)) if error.contains("read the log") => "each `forebay logs` is one",
        (500.., _) => "Forebay's log has the cause: fix it, then run this again",
        _ => "`--help` shows examples",
    };
    let message = error.unwrap_or_else(|| {
        format!("the admin API returned {status}: {}", content.lines().next().unwrap_or_default())
    });
    UserError { message, help: help.to_owned() }
}

/// Sends a request; returns the response's status and content.
pub(super) fn exchange(
    admin: SocketAddr,
    (method, path): (&str, &str),
    content: &str,
    authentication: &Authentication,
) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    let patience = match path {
        "/purge" => PURGE_PATIENCE,
        "/upgrade" => UPGRADE_PATIENCE,
        _ => PATIENCE,
    };
    stream.set_read_timeout(Some(patience))?;
    let fields = authentication.fields(admin, method, path, content);
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n{fields}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{content}",
        content.len()
    )?;
    let mut response = String::new();
    stream.read_to_string(&mut response).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => {
            std::io::Error::other(format!("it did not answer in {} seconds", patience.as_secs()))
        }
        _ => error,
    })?;
    let (head, content) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other("the response is not HTTP"))?;
    Ok((status, content.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_the_admin_address() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("forebay.toml");
        let resolve = |text: &str| {
            std::fs::write(&path, text).expect("a file");
            let address = AdminAddress { admin: None, config: Some(path.clone()) };
            address.resolve().map_err(|error| error.message)
        };
        let of = |text: &str| Ok(text.parse().expect("an address"));
        assert_eq!(resolve("[admin]\nlisten = \"127.0.0.1:7000\"\n"), of("127.0.0.1:7000"));
        assert_eq!(resolve("[admin]\nlisten = \"0.0.0.0:7000\"\n"), of("127.0.0.1:7000"));
        assert_eq!(resolve("[admin]\nlisten = \"[::]:7000\"\n"), of("[::1]:7000"));
        assert_eq!(resolve("[listen]\nhttp = 5\n"), of("127.0.0.1:9145"));
        assert!(resolve("[admin]\nlisten = \"off\"\n").is_err_and(|error| error.contains("off")));
        assert!(resolve("[admin]\nlisten = \"here\"\n").is_err_and(|error| error.contains("here")));
        let missing = AdminAddress { admin: None, config: Some("missing.toml".into()) };
        assert!(missing.resolve().is_err());
    }
}
