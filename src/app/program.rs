//! The program of the process that replaces this one.

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use super::{UpgradeError, agreement::VARIABLE};
use crate::handover::Channel;

/// The program that replaces this process, and its arguments.
#[derive(Clone, Debug)]
pub struct Program {
    /// The path of the program.
    pub path: PathBuf,
    /// The arguments.
    pub arguments: Vec<OsString>,
}

impl Program {
    /// Starts it with a channel.
    pub(super) fn start(&self) -> Result<(Child, Channel), UpgradeError> {
        let (channel, theirs) = Channel::pair().map_err(UpgradeError::System)?;
        let child = Command::new(&self.path)
            .args(&self.arguments)
            .env(VARIABLE, "1")
            // These name this process.
            .env_remove("WATCHDOG_PID")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .stdin(Stdio::from(theirs))
            .spawn();
        let started = |source| UpgradeError::Start { path: self.path.clone(), source };
        Ok((child.map_err(started)?, channel))
    }
}
