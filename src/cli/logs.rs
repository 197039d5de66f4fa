//! `forebay logs`.

use std::{
    io::{BufRead, BufReader, Read, Write},
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
    style::{self, Style},
    warn,
};

/// How long to try again after the connection has ended, and how often.
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

/// Forebay sends an empty line at least this often.
const SILENCE: Duration = Duration::from_secs(30);

/// Show the requests to a running Forebay as they end
#[derive(Debug, clap::Args)]
#[command(after_help = "It works whatever `access_log` says. Ctrl-C ends it.\n\n\
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
    /// Only paths that begin like this
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
    /// All requested lines are printed, or nobody reads them.
    Done,
    /// The connection ended.
    Cut,
}

pub(super) fn run(args: &Args) -> miette::Result<ExitCode> {
    let admin = args.admin.resolve()?;
    let mut left = args.requests.unwrap_or(u64::MAX);
    let mut stream = connect(admin, args)?;
    loop {
        match read(&mut stream, args, &mut left) {
            End::Done => return Ok(ExitCode::SUCCESS),
            End::Cut => warn(&style::paint(Style::Faint, "the connection ended; connecting again")),
        }
        // After an upgrade or a restart, another process answers.
        let mut tries = 0;
        stream = loop {
            std::thread::sleep(PAUSE);
            tries += 1;
            match connect(admin, args) {
                Ok(stream) => break stream,
                Err(error) if tries == TRIES => return Err(error.into()),
                Err(_) => {}
            }
        };
    }
}

/// Sends the request, and reads the head of its response.
fn connect(admin: SocketAddr, args: &Args) -> Result<BufReader<TcpStream>, UserError> {
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
            if stream.read_line(&mut head)? == 0 {
                return Err(std::io::Error::other("the response is not HTTP"));
            }
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let mut content = String::new();
        if status != 200 {
            stream.by_ref().take(1 << 16).read_to_string(&mut content)?;
        }
        Ok((stream, status, content))
    };
    match open() {
        Ok((stream, 200, _)) => Ok(stream),
        // 401 asks for what 403 refuses: the help is the same.
        Ok((_, 401, content)) => Err(refused(403, content.trim())),
        Ok((_, status, content)) => Err(refused(status, content.trim())),
        Err(error) => Err(no_answer(admin, &error)),
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
        match stream.read_line(&mut line) {
            Ok(0) | Err(_) => return End::Cut,
            Ok(_) => {}
        }
        let text = line.trim_end();
        if text.is_empty() {
            continue;
        }
        let record: Value = serde_json::from_str(text).unwrap_or_default();
        if let Some(lost) = record.get("lost") {
            warn(&style::paint(
                Style::Advice,
                &format!("{lost} requests are not shown: they were too many"),
            ));
            continue;
        }
        *left -= 1;
        let shown = if args.json { text.to_owned() } else { shown(&record) };
        if writeln!(anstream::stdout(), "{shown}").is_err() {
            return End::Done;
        }
    }
    End::Done
}

/// A record as a line for people.
fn shown(record: &Value) -> String {
    let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| record.get(name).and_then(Value::as_f64).unwrap_or_default();
    let status = record.get("status").and_then(Value::as_u64).unwrap_or_default();
    let of_status = match status {
        500.. | 0 => Style::Bad,
        400.. => Style::Advice,
        _ => Style::Good,
    };
    let time = text("time").get(11..23).unwrap_or_default();
    let result = format!("{:<10}", text("result"));
    let bytes = ByteSize(record.get("bytes").and_then(Value::as_u64).unwrap_or_default());
    let milliseconds = number("duration") * 1000.0;
    let query = record.get("query").and_then(Value::as_str).map(|query| format!("?{query}"));
    let detail = record.get("detail").and_then(Value::as_str).map(|detail| format!("  {detail}"));
    format!(
        "{} {} {} {:>10} {:>7} {} {}{}{}{}",
        style::paint(Style::Faint, time),
        style::paint(of_status, &format!("{status:>3}")),
        style::paint(Style::of_result(text("result")), &result),
        bytes.display().si().to_string(),
        format!("{milliseconds:.1} ms"),
        text("method"),
        text("host"),
        text("path"),
        query.unwrap_or_default(),
        style::paint(Style::Faint, &detail.unwrap_or_default()),
    )
}
