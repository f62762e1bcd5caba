//! The only place that prints: results on stdout, everything else on stderr.

use std::io::{self, IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};

use crate::error::AgentError;

/// Prints one line of result. A reader that went away is no error.
pub(crate) fn result(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Says what went wrong, and what to do about it.
pub(crate) fn complaint(error: &AgentError) {
    let (kind, hint) = (paint(AnsiColor::Red), paint(AnsiColor::Yellow));
    let mut to = io::stderr().lock();
    let _ = writeln!(to, "{kind}{}:{kind:#} {error}", error.kind());
    if let Some(text) = error.hint() {
        let _ = writeln!(to, "{hint}hint:{hint:#} {text}");
    }
}

/// Whether stderr shows colours: at a terminal, unless `NO_COLOR` says otherwise.
pub(crate) fn is_coloured() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn paint(color: AnsiColor) -> Style {
    if is_coloured() { color.on_default().bold() } else { Style::new() }
}
