//! Signals to the other process of an upgrade.

use rustix::process::{Pid, Signal, kill_process};

/// Sends a signal to a process, unless that is the first one of the system.
pub(super) fn send_signal(process: u32, signal: Signal) {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    if let Some(process) = process.filter(|process| *process != Pid::INIT) {
        // It may have ended by itself.
        let _ = kill_process(process, signal);
    }
}
