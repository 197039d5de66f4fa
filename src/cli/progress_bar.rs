//! The progress bar of commands that take long.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar in the terminal whose spinner always moves; nothing without a terminal. `template` is one of indicatif's.
pub(super) fn progress_bar(length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(125));
    bar
}
