//! Instructions per hit, which are reproducible; times are not.
//!
//! Runs itself twice under callgrind for each kind of hit, with more hits the second time: the difference is the cost of
//! the extra hits. Fails if that cost has grown by more than a twentieth.

use std::{
    io::Write,
    process::{Command, ExitCode},
};

use fixture::Stored;

mod fixture;

/// The same allocator as the program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Kinds of hits, and the last measured cost of each, from the parsed head to the access-log record or, for the HTTP
/// library, to the response.
const KINDS: [(&str, u64); 4] =
    [("plain", 9_059), ("signed", 15_164), ("compressed", 12_196), ("library", 13_370)];

const FEWER: u64 = 1_000;
const MORE: u64 = 5_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, kind, hits] = &arguments[..]
        && let Ok(hits) = hits.parse()
    {
        measured(kind, hits);
        return ExitCode::SUCCESS;
    }
    let mut code = ExitCode::SUCCESS;
    for (kind, last) in KINDS {
        let Some((fewer, more)) = instructions(kind, FEWER).zip(instructions(kind, MORE)) else {
            say("no figure: install valgrind");
            return ExitCode::SUCCESS;
        };
        let each = (more - fewer) / (MORE - FEWER);
        say(&format!("a hit ({kind}) takes {each} instructions; it was {last}"));
        if each > last + last / 20 {
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn measured(kind: &str, hits: u64) {
    let stored = Stored::start();
    forebay::cache::store::copy_hot_responses();
    let (connection, mut head) = (Stored::connection(), Vec::with_capacity(4096));
    for _ in 0..hits {
        match kind {
            "plain" => stored.hit(Stored::request(), &connection, &mut head),
            "compressed" => stored.hit(Stored::compressed_request(), &connection, &mut head),
            "signed" => stored.hit(Stored::signed_request(), &connection, &mut head),
            _ => drop(stored.runtime.block_on(stored.respond(Stored::request(), &connection))),
        }
    }
    stored.runtime.block_on(stored.running.stop());
}

/// Instructions of a run with this many hits.
fn instructions(kind: &str, hits: u64) -> Option<u64> {
    let program = std::env::current_exe().ok()?;
    let mut callgrind = Command::new("valgrind");
    callgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let done = callgrind.arg(program).args([kind, &hits.to_string()]).output().ok()?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let counted = said.lines().find_map(|line| line.split("Collected : ").nth(1))?;
    counted.trim().parse().ok()
}
