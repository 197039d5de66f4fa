//! Prompts in the terminal.

use std::io::{BufRead, IsTerminal, Write};

use super::{UserError, report, say};

/// Prompts, or defaults without a terminal.
#[derive(Clone, Copy)]
pub(super) struct Prompt {
    pub(super) is_interactive: bool,
}

impl Prompt {
    /// Prompts unless `yes` is set or standard input is not a terminal.
    pub(super) fn new(yes: bool) -> Self {
        Self { is_interactive: !yes && std::io::stdin().is_terminal() }
    }

    /// The answer, or the default; `None` if there is neither.
    pub(super) fn text(self, label: &str, default: Option<&str>) -> miette::Result<Option<String>> {
        let default = default.map(str::to_owned);
        if !self.is_interactive {
            return Ok(default);
        }
        let hint = default.as_ref().map(|default| format!(" [{default}]")).unwrap_or_default();
        let mut out = std::io::stdout();
        write!(out, "{label}{hint}: ").and_then(|()| out.flush()).map_err(report)?;
        let mut line = String::new();
        if std::io::stdin().lock().read_line(&mut line).map_err(report)? == 0 {
            let message = "stdin closed before setup finished".to_owned();
            return Err(UserError { message, help: "nothing was written".into() }.into());
        }
        Ok(Some(line.trim().to_owned()).filter(|line| !line.is_empty()).or(default))
    }

    /// Whether the user agrees; `false` without a terminal.
    pub(super) fn confirm(self, question: &str) -> miette::Result<bool> {
        loop {
            let answer = self.text(&format!("{question} y/n"), Some("n"))?.unwrap_or_default();
            match answer.to_ascii_lowercase().as_str() {
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => say("Please answer y or n."),
            }
        }
    }
}
