//! Everything the program prints: results on standard output, hints and errors on standard error.

use std::{
    cell::{Cell, RefCell},
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
    time::SystemTime,
};

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};
use countersign_identity::Timestamp;
use serde::Serialize;

use super::CliError;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const WARN: Style = AnsiColor::Yellow.on_default().bold();
const ADVICE: Style = AnsiColor::Cyan.on_default();

/// Where commands print. The first result that could not be written is remembered, and makes the command fail at its end.
/// A broken pipe is not an error: `countersign issued list | head` ends quietly.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    colour_out: bool,
    colour_err: bool,
    err_is_terminal: bool,
    lost: RefCell<Option<io::Error>>,
    unread: Cell<bool>,
}

impl Output {
    /// Text for people, or JSON for programs. Colour only at a terminal, and never under `NO_COLOR`.
    pub(crate) fn new(json: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            json,
            colour_out: wanted && io::stdout().is_terminal(),
            colour_err: wanted && io::stderr().is_terminal(),
            err_is_terminal: io::stderr().is_terminal(),
            lost: RefCell::new(None),
            unread: Cell::new(false),
        }
    }

    /// Writes out what is still on its way, and says whether every result arrived.
    pub(crate) fn finish(&self) -> Result<(), CliError> {
        self.written(io::stdout().lock().flush());
        self.lost.take().map_or(Ok(()), |error| Err(unwritten(&error)))
    }

    fn written(&self, result: io::Result<()>) {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.unread.set(true),
            Err(error) => {
                self.lost.borrow_mut().get_or_insert(error);
            }
            Ok(()) => {}
        }
    }

    /// Whether nobody reads the result any more, or it can no longer be written.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread.get() || self.lost.borrow().is_some()
    }

    /// Whether `--json` was given.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// One line of the result.
    pub(crate) fn line(&self, text: impl Display) {
        self.written(writeln!(io::stdout().lock(), "{text}"));
    }

    /// Text of the result that brings its own line ends.
    pub(crate) fn text(&self, text: impl Display) {
        self.written(write!(io::stdout().lock(), "{text}"));
    }

    /// A heading over lines of the result.
    pub(crate) fn heading(&self, text: impl Display) {
        self.line(paint(self.colour_out, BOLD, text));
    }

    /// A named value of the result, aligned with its neighbours.
    pub(crate) fn field(&self, name: &str, value: impl Display) {
        let name = paint(self.colour_out, DIM, format_args!("{name:<20}"));
        self.line(format_args!("{name} {}", harmless(value)));
    }

    /// Rows under headers; nothing but the headers is written for no rows.
    pub(crate) fn table(&self, headers: &[&str], rows: Vec<Vec<String>>) {
        self.line(render_table(headers, rows));
    }

    /// The result as pretty JSON.
    pub(crate) fn json(&self, value: &impl Serialize) {
        if let Ok(text) = serde_json::to_string_pretty(value) {
            self.line(text);
        }
    }

    /// One line of the result, as JSON.
    pub(crate) fn json_line(&self, value: &impl Serialize) {
        if let Ok(text) = serde_json::to_string(value) {
            self.line(text);
        }
    }

    /// The result as a JSON array that may be longer than memory.
    pub(crate) const fn json_array(&self) -> JsonArray<'_> {
        JsonArray { out: self, empty: true }
    }

    /// A hint for the person, on standard error.
    pub(crate) fn note(&self, text: impl Display) {
        let _ = writeln!(io::stderr().lock(), "{} {text}", paint(self.colour_err, ADVICE, "hint:"));
    }

    /// What is worth knowing beside the result, on standard error.
    pub(crate) fn remark(&self, text: impl Display) {
        let _ = writeln!(io::stderr().lock(), "{}", harmless(text));
    }

    /// How far long work has come: rewritten in place at a terminal, silent elsewhere.
    pub(crate) fn progress(&self, text: impl Display) {
        if self.err_is_terminal {
            let _ = write!(io::stderr().lock(), "\r\u{1b}[K{text}");
        }
    }

    /// The long work is over.
    pub(crate) fn progress_done(&self) {
        if self.err_is_terminal {
            let _ = write!(io::stderr().lock(), "\r\u{1b}[K");
        }
    }

    /// The start of one step of a narrative.
    pub(crate) fn step(&self, text: impl Display) {
        self.line(paint(self.colour_out, BOLD, text));
    }

    /// Something held as it should.
    pub(crate) fn success(&self, text: impl Display) {
        self.line(format_args!("  {} {}", paint(self.colour_out, GOOD, "✓"), harmless(text)));
    }

    /// Something holds, but not for long, or not well.
    pub(crate) fn caution(&self, text: impl Display) {
        self.line(format_args!("  {} {}", paint(self.colour_out, WARN, "!"), harmless(text)));
    }

    /// Something did not hold.
    pub(crate) fn failure(&self, text: impl Display) {
        self.line(format_args!("  {} {}", paint(self.colour_out, BAD, "✗"), harmless(text)));
    }

    /// Detail below a step.
    pub(crate) fn detail(&self, text: impl Display) {
        self.line(format_args!("    {}", paint(self.colour_out, DIM, harmless(text))));
    }

    /// How a command ended badly, on standard error.
    pub(crate) fn error(&self, error: &CliError) {
        let mut to = io::stderr().lock();
        let kind = paint(self.colour_err, BAD, format_args!("{}:", error.kind()));
        let _ = writeln!(to, "{kind} {}", harmless(error));
        if let Some(hint) = error.advice() {
            let _ = writeln!(to, "{} {}", paint(self.colour_err, ADVICE, "hint:"), harmless(hint));
        }
    }

    /// Asks a yes-or-no question at a terminal; `None` where nobody can answer.
    pub(crate) fn confirm(&self, question: impl Display) -> Option<bool> {
        if !(io::stdin().is_terminal() && self.err_is_terminal) {
            return None;
        }
        let _ = write!(io::stderr().lock(), "{question} [y/N] ");
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).ok()?;
        Some(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    /// Now, by the clock of this host.
    #[expect(clippy::disallowed_methods, reason = "the command line is where a person's clock is read")]
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_system(SystemTime::now())
    }

    /// The distance of a moment, as the CA wrote it, from now: `in 41 min`.
    pub(crate) fn distance(&self, rfc3339: &str) -> String {
        rfc3339.parse().map_or_else(|_| rfc3339.to_owned(), |time| distance(time, self.now()))
    }

    /// A moment as the CA wrote it, with its distance from now: `2026-11-23T10:00:00Z (in 41 min)`.
    pub(crate) fn when(&self, rfc3339: &str) -> String {
        match rfc3339.parse::<Timestamp>() {
            Ok(time) => relative(time, self.now()),
            Err(_) => rfc3339.to_owned(),
        }
    }
}

/// Why a command fails though it did its work.
pub(crate) fn unwritten(error: &io::Error) -> CliError {
    CliError::failed(format_args!("cannot write to standard output: {error}"))
        .hint("what the command changes at the CA may be done all the same; only its result was lost")
}

/// A JSON array written item by item.
pub(crate) struct JsonArray<'a> {
    out: &'a Output,
    empty: bool,
}

impl JsonArray<'_> {
    /// One more item.
    pub(crate) fn push(&mut self, item: &impl Serialize) {
        if let Ok(text) = serde_json::to_string(item) {
            self.out.text(format_args!("{}{text}", if self.empty { "[\n" } else { ",\n" }));
            self.empty = false;
        }
    }

    /// The end of the array.
    pub(crate) fn finish(self) {
        self.out.line(if self.empty { "[]" } else { "\n]" });
    }
}

/// A moment in UTC with its distance from now: `2026-11-23T10:00:00Z (in 41 min)`.
pub(crate) fn relative(time: Timestamp, now: Timestamp) -> String {
    format!("{time} ({})", distance(time, now))
}

/// The distance alone: `in 41 min`, `3 h ago`, `now`.
pub(crate) fn distance(time: Timestamp, now: Timestamp) -> String {
    let seconds = time.unix().saturating_sub(now.unix());
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {}", span(seconds.unsigned_abs())),
        _ => format!("{} ago", span(seconds.unsigned_abs())),
    }
}

/// One unit, the largest that leaves at least two of itself, rounded down: an expiry is never shown later than it is.
fn span(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / MINUTE),
        7_200..172_800 => format!("{} h", seconds / HOUR),
        172_800..63_072_000 => format!("{} days", seconds / DAY),
        _ => format!("{} years", seconds / (365 * DAY)),
    }
}

fn render_table(headers: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headers.to_vec());
    // Long lines are left to the terminal to wrap: an id broken into cells could not be copied.
    table.set_content_arrangement(ContentArrangement::Disabled);
    for row in rows {
        table.add_row(row.iter().map(harmless).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// The text without what could steer a terminal or reorder a line: names in certificates and requests come from
/// strangers.
fn harmless(text: impl Display) -> String {
    let steers = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let text = text.to_string();
    if !text.contains(steers) {
        return text;
    }
    text.chars().map(|c| if steers(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

fn paint(colour: bool, style: Style, text: impl Display) -> String {
    if colour { format!("{style}{text}{style:#}") } else { text.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(offset: i64) -> String {
        let now = Timestamp::from_unix(1_800_000_000);
        distance(Timestamp::from_unix(1_800_000_000 + offset), now)
    }

    #[test]
    fn distances_are_told_in_one_unit() {
        assert_eq!(seen(0), "now");
        assert_eq!(seen(41 * 60), "in 41 min");
        assert_eq!(seen(-3 * 3600), "3 h ago");
        assert_eq!(seen(119), "in 119 s");
        assert_eq!(seen(90 * 86_400), "in 90 days");
        assert_eq!(seen(3650 * 86_400), "in 10 years");
    }

    #[test]
    fn an_expiry_is_never_shown_later_than_it_is() {
        assert_eq!(seen(42 * 60 - 1), "in 41 min");
    }

    #[test]
    fn a_moment_shows_utc_and_distance() {
        let now = Timestamp::from_unix(0);
        assert_eq!(relative(Timestamp::from_unix(600), now), "1970-01-01T00:10:00Z (in 10 min)");
    }

    #[test]
    fn what_steers_a_terminal_is_spelled_out() {
        assert_eq!(harmless("a\u{1b}[2Jb\u{202e}c\nd"), "a\\u{1b}[2Jb\\u{202e}c\nd");
    }

    #[test]
    fn a_table_has_one_line_a_row_without_trailing_blanks() {
        let rows = vec![vec!["m-1".into(), "active".into()], vec!["m-22".into(), "held".into()]];
        assert_eq!(
            render_table(&["MACHINE", "STATUS"], rows),
            "MACHINE  STATUS\nm-1      active\nm-22     held"
        );
    }
}
