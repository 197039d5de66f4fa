//! Colours and marks of the commands' output. Standard output drops the colours if it is not a terminal or if
//! `NO_COLOR` is set.

use anstyle::AnsiColor;

/// The role of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// It works.
    Good,
    /// It deserves attention.
    Advice,
    /// It does not work.
    Bad,
    /// The name of the line's content.
    Label,
    /// A heading.
    Heading,
    /// Of little importance.
    Faint,
}

impl Style {
    /// The style of a result, as in `X-Cache`.
    pub(super) fn of_result(result: &str) -> Self {
        match result {
            "Hit" | "RefreshHit" => Self::Good,
            "Error" => Self::Bad,
            _ => Self::Advice,
        }
    }

    const fn ansi(self) -> anstyle::Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Advice => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Label => AnsiColor::Cyan.on_default(),
            Self::Heading => anstyle::Style::new().bold(),
            Self::Faint => anstyle::Style::new().dimmed(),
        }
    }
}

/// The text in a style.
pub(super) fn paint(style: Style, text: &str) -> String {
    let style = style.ansi();
    format!("{style}{text}{style:#}")
}

/// A line with the fix for the line above.
pub(super) fn fix(text: &str) -> String {
    format!("{} {text}", paint(Style::Label, "→"))
}
