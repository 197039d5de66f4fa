//! `forebay logs`.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use bytesize::ByteSize;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{
    UserError,
    admin_client::{AdminAddress, Authentication, no_answer, refused},
    report,
    style::{self, Style},
    warn,
};

/// How often to try to connect again, and the pause before each attempt.
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

/// The longest wait for the next byte. Forebay sends an empty line each second.
const SILENCE: Duration = Duration::from_secs(10);

/// The longest head and line.
const LONGEST: u64 = 1 << 20;

/// Show the requests to a running Forebay as they end
#[derive(Debug, clap::Args)]
#[command(after_help = "It works whatever `access_log` says. Times are UTC. Ctrl-C ends it.\n\n\
    A token in FOREBAY_ADMIN_TOKEN, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, authenticate the caller\n\
    if the admin API requires it.\n\n\
    Examples:\n  forebay logs -f --status 4xx-5xx\n  forebay logs -f --path /photos/ --result Miss --json")]
pub(super) struct Args {
    /// Only requests of this distribution
    #[arg(long, value_name = "ID")]
    distribution: Option<String>,
    /// Only these statuses: one such as 404, a class such as 5xx, or a range such as 4xx-5xx
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// Only this result: Hit, RefreshHit, Miss, Error or Redirect
    #[arg(long, value_name = "RESULT")]
    result: Option<String>,
    /// Only paths that begin like this, percent-encoded as in URLs
    #[arg(long, value_name = "PREFIX")]
    path: Option<String>,
    /// Stop after this many requests
    #[arg(long, short = 'n', value_name = "NUMBER")]
    requests: Option<u64>,
    /// Print the lines of the JSON format
    #[arg(long)]
    json: bool,
    /// Wait for further requests; as in other programs, but this one always does
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    admin: AdminAddress,
}

/// How reading ended.
enum End {
    /// All requested lines are printed, or the reader of the output has closed it.
    Done,
    /// The output cannot be written.
    Unwritten(std::io::Error),
    /// The connection ended.
    Cut,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let admin = args.admin.resolve()?;
    let mut left = args.requests.unwrap_or(u64::MAX);
    let mut stream = connect(admin, args).map_err(|(_, error)| error)?;
    loop {
        match read(&mut stream, args, &mut left) {
            End::Done => return Ok(ExitCode::SUCCESS),
            End::Unwritten(error) => {
                return Err(report(format!("cannot write to standard output: {error}")));
            }
            End::Cut => {
                let text = "Forebay closed the connection; connecting again";
                warn(&style::paint(Style::Faint, text));
            }
        }
        // After an upgrade or a restart, another process answers.
        let mut tries = 0;
        stream = loop {
            std::thread::sleep(PAUSE);
            tries += 1;
            match connect(admin, args) {
                Ok(stream) => break stream,
                Err((is_final, error)) if is_final || tries == TRIES => return Err(error.into()),
                Err(_) => {}
            }
        };
    }
}

/// Sends the request, and reads the head of its response. An error has whether another attempt is pointless.
fn connect(admin: SocketAddr, args: &Args) -> Result<BufReader<TcpStream>, (bool, UserError)> {
    let path = format!("/api/logs?{}", query(args));
    let open = || {
        let mut stream = TcpStream::connect_timeout(&admin, SILENCE)?;
        stream.set_read_timeout(Some(SILENCE))?;
        let fields = Authentication::from_environment().fields(admin, "GET", &path, "");
        // The content of HTTP/1.0 ends with the connection, so it needs no decoding.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {admin}\r\n{fields}\r\n")?;
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.by_ref().take(LONGEST).read_line(&mut head)? == 0 {
                return Err(std::io::Error::other("the response is not HTTP"));
            }
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let mut content = String::new();
        if status != 200 {
            stream.by_ref().take(LONGEST).read_to_string(&mut content)?;
        }
        Ok((stream, status, content))
    };
    match open() {
        Ok((stream, 200, _)) => Ok(stream),
        Ok((_, status, content)) => Err((status != 503, refused(status, content.trim()))),
        Err(error) => Err((false, no_answer(admin, &error))),
    }
}

fn query(args: &Args) -> String {
    let Args { distribution, status, result, path, .. } = args;
    let all =
        [("distribution", distribution), ("status", status), ("result", result), ("path", path)];
    let encode = |text: &String| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs: Vec<String> = all
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", encode(value.as_ref()?))))
        .collect();
    pairs.join("&")
}

/// Prints lines until the connection ends or no more are wanted.
fn read(stream: &mut impl BufRead, args: &Args, left: &mut u64) -> End {
    let mut line = String::new();
    while *left > 0 {
        line.clear();
        if stream.by_ref().take(LONGEST).read_line(&mut line).is_err() || !line.ends_with('\n') {
            return End::Cut;
        }
        let text = line.trim_end();
        if text.is_empty() {
            continue;
        }
        let Ok(record) = serde_json::from_str::<Value>(text) else { return End::Cut };
        if let Some(lost) = record.get("lost") {
            warn(&style::paint(
                Style::Advice,
                &format!(
                    "{lost} requests are not shown: they came faster than this program took them"
                ),
            ));
            continue;
        }
        *left -= 1;
        let shown = if args.json { harmless(text) } else { shown(&record) };
        match writeln!(anstream::stdout(), "{shown}") {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return End::Done,
            Err(error) => return End::Unwritten(error),
        }
    }
    End::Done
}

/// A text of a viewer without what a terminal would obey: control characters, and those that change the direction of
/// writing. In JSON, the escapes mean the same.
fn harmless(text: &str) -> String {
    let is_harmful = |character: char| {
        character.is_control()
            || matches!(character, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().fold(String::with_capacity(text.len()), |mut text, character| {
        if is_harmful(character) {
            // Writing to a String cannot fail.
            let _ = std::fmt::Write::write_fmt(
                &mut text,
                format_args!("\\u{:04x}", u32::from(character)),
            );
        } else {
            text.push(character);
        }
        text
    })
}

/// A record as a line for people.
fn shown(record: &Value) -> String {
    let text = |name: &str| harmless(record.get(name).and_then(Value::as_str).unwrap_or_default());
    let number = |name: &str| record.get(name).and_then(Value::as_f64).unwrap_or_default();
    let status = record.get("status").and_then(Value::as_u64).unwrap_or_default();
    let of_status = match status {
        500.. | 0 => Style::Bad,
        400.. => Style::Advice,
        _ => Style::Good,
    };
    let time = text("time").get(11..).unwrap_or_default().to_owned();
    let result = text("result");
    let bytes = ByteSize(record.get("bytes").and_then(Value::as_u64).unwrap_or_default());
    let milliseconds = number("duration") * 1000.0;
    let query = record.get("query").map(|_| format!("?{}", text("query")));
    let detail = record.get("detail").map(|_| format!("  {}", text("detail")));
    format!(
        "{} {} {} {:>10} {:>7} {} {}{}{}{}",
        style::paint(Style::Faint, &time),
        style::paint(of_status, &format!("{status:>3}")),
        style::paint(Style::of_result(&result), &format!("{result:<10}")),
        bytes.display().si().to_string(),
        format!("{milliseconds:.1} ms"),
        text("method"),
        text("host"),
        text("path"),
        query.unwrap_or_default(),
        style::paint(Style::Faint, &detail.unwrap_or_default()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_not_obeyed() {
        assert_eq!(harmless("/a\u{9b}31m\u{7f}\u{202e}é"), "/a\\u009b31m\\u007f\\u202eé");
    }
}
