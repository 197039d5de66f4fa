//! Instructions per hit, which are reproducible; times are not.
//!
//! Runs itself twice under callgrind, with more hits the second time: the difference is the cost of the extra hits.
//! Fails if that cost has grown by more than a twentieth.

use std::{
    io::Write,
    process::{Command, ExitCode},
};

use fixture::Stored;

mod fixture;

/// The same allocator as the program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The last measured cost of a hit, from the parsed head to the access-log record.
const LAST: u64 = 9_197;

const FEWER: u64 = 1_000;
const MORE: u64 = 5_000;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let hits = arguments.find_map(|argument| argument.strip_prefix("--hits=")?.parse().ok());
    if let Some(hits) = hits {
        measured(hits);
        return ExitCode::SUCCESS;
    }
    let Some((fewer, more)) = instructions(FEWER).zip(instructions(MORE)) else {
        say("no figure: install valgrind");
        return ExitCode::SUCCESS;
    };
    let each = (more - fewer) / (MORE - FEWER);
    say(&format!("a hit takes {each} instructions; it was {LAST}"));
    if each > LAST + LAST / 20 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn measured(hits: u64) {
    let stored = Stored::start();
    let (connection, mut head) = (Stored::connection(), Vec::with_capacity(4096));
    for _ in 0..hits {
        stored.hit(Stored::request(), &connection, &mut head);
    }
    stored.runtime.block_on(stored.running.stop());
}

/// Instructions of a run with this many hits.
fn instructions(hits: u64) -> Option<u64> {
    let program = std::env::current_exe().ok()?;
    let mut callgrind = Command::new("valgrind");
    callgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let done = callgrind.arg(program).arg(format!("--hits={hits}")).output().ok()?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let counted = said.lines().find_map(|line| line.split("Collected : ").nth(1))?;
    counted.trim().parse().ok()
}
