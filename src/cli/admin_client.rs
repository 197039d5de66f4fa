//! Requests to a running Forebay's admin address.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

use aws_credential_types::Credentials;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::Value;

use super::Mendable;
use crate::{
    aws::{Scope, sign_for_service},
    base::clock::Clock,
};

/// Timeout for connecting and for each read.
const PATIENCE: Duration = Duration::from_secs(10);

/// Parses an admin address: an IP address or a name, with a port, or a URL of it.
pub(super) fn admin_address(text: &str) -> Result<SocketAddr, String> {
    let address = text.trim_start_matches("http://").trim_end_matches('/');
    let found = address.to_socket_addrs().map_err(|_| "write, for example, 127.0.0.1:9145")?;
    // A name may resolve to both families; the default admin address is IPv4.
    let found: Vec<SocketAddr> = found.collect();
    let first = found.iter().find(|address| address.is_ipv4()).or_else(|| found.first());
    first.copied().ok_or_else(|| "this name has no address".to_owned())
}

/// Authentication of the caller.
pub(super) enum Proof {
    /// None: enough on the same machine if no credentials or tokens are configured.
    None,
    /// A bearer token.
    Token(String),
    /// A signature, as AWS clients make it.
    Signature(Credentials),
}

impl Proof {
    /// Authentication from the environment: `FOREBAY_ADMIN_TOKEN`, else `AWS_ACCESS_KEY_ID` and
    /// `AWS_SECRET_ACCESS_KEY`.
    fn from_environment() -> Self {
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
    fn fields(&self, admin: SocketAddr, method: &str, path: &str, content: &str) -> String {
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
pub(super) fn ask(
    admin: SocketAddr,
    target: (&str, &str),
    content: &str,
) -> Result<String, Mendable> {
    let answer = exchange(admin, target, content, &Proof::from_environment());
    let (status, answer) = answer.map_err(|error| Mendable {
        message: format!("{admin} does not answer: {error}"),
        help: "is `forebay serve` running, and is this its admin address (--admin)?".into(),
    })?;
    if status == 200 { Ok(answer) } else { Err(refused(status, &answer)) }
}

fn refused(status: u16, answer: &str) -> Mendable {
    let told = serde_json::from_str::<Value>(answer).ok();
    let told = told.and_then(|told| Some(told.get("error")?.as_str()?.to_owned()));
    let help = match (status, &told) {
        (403, _) => {
            "prove who you are: set FOREBAY_ADMIN_TOKEN, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, to what `[[admin.token]]` or `[[admin.credential]]` says"
        }
        (404, Some(error)) if error.contains("distribution") => {
            "name one of them with --distribution"
        }
        (404 | 405, _) | (_, None) => {
            "is this the admin address (--admin) of a Forebay of the same version?"
        }
        _ => "nothing was done: mend what it names, and ask again",
    };
    let message = told.unwrap_or_else(|| format!("the answer was {status}: {answer}"));
    Mendable { message, help: help.to_owned() }
}

/// Sends a request; returns the response's status and content.
pub(super) fn exchange(
    admin: SocketAddr,
    (method, path): (&str, &str),
    content: &str,
    proof: &Proof,
) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let fields = proof.fields(admin, method, path, content);
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n{fields}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{content}",
        content.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, content) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other("the answer is not HTTP"))?;
    Ok((status, content.trim().to_owned()))
}
