//! What the daemon says while it runs: one line for each thing that matters, on standard error.
//!
//! `CREATEREPOD_LOG` chooses how much (`info` unless set; `debug`, `createrepod::watch=trace,info`),
//! `CREATEREPOD_LOG_FORMAT` chooses `text` or `json`. Under systemd the journal adds the time
//! itself, and reads the severity from a prefix (sd-daemon(3)). A line that nobody can take is lost, and counted.

mod outlet;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, debug, error};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::caught::is_caught;
use outlet::Outlet;
pub use outlet::{flush, lost_lines, say};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// Time, level, sentence, fields; in colour on a terminal.
    Plain {
        colour: bool,
    },
    /// What systemd's journal wants: no time, and the severity as a prefix.
    Journal,
    Json,
}

/// Starts logging for the whole process. `default` is the level unless `CREATEREPOD_LOG` says otherwise.
///
/// Errors say which variable is wrong and what it may be.
pub fn start(default: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
    let wanted = environment("CREATEREPOD_LOG").filter(|text| !text.is_empty());
    let unknown = |why: &dyn fmt::Display| {
        format!(
            "environment CREATEREPOD_LOG: {why}; expected error, warn, info, debug or trace, \
             or a list such as \"createrepod::watch=debug,info\""
        )
    };
    if let Some(word) = wanted.as_deref().and_then(no_level) {
        return Err(unknown(&format_args!("{word:?} is no level")));
    }
    let mut filter =
        EnvFilter::try_new(wanted.as_deref().unwrap_or(default)).map_err(|error| unknown(&error))?;
    // What rPGP says at its own will is about secrets, or about what strangers send. What notify says of its watches,
    // the daemon says itself, in words.
    for quiet in ["pgp=off", "notify=off"] {
        if let Ok(directive) = quiet.parse() {
            filter = filter.add_directive(directive);
        }
    }
    let terminal = std::io::stderr().is_terminal();
    let style = match environment("CREATEREPOD_LOG_FORMAT").as_deref() {
        Some("json") => Style::Json,
        None | Some("" | "text") if !terminal && environment("JOURNAL_STREAM").is_some() => Style::Journal,
        None | Some("" | "text") => Style::Plain { colour: terminal && environment("NO_COLOR").is_none() },
        Some(other) => {
            return Err(format!(
                "environment CREATEREPOD_LOG_FORMAT: expected \"text\" or \"json\", found {other:?}"
            ));
        }
    };
    let outlet = Outlet::new(std::io::stderr(), style).flushed_at_the_end();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || outlet.clone());
    let started = match style {
        Style::Json => builder.json().flatten_event(true).try_init(),
        Style::Plain { colour } => {
            // Colours are ours, so the library must not escape them.
            builder.with_ansi(colour).event_format(Lines { style }).fmt_fields(Fields).try_init()
        }
        Style::Journal => {
            builder.with_ansi(false).event_format(Lines { style }).fmt_fields(Fields).try_init()
        }
    };
    started.map_err(|error| format!("cannot start logging: {error}"))?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// The first word of the list that is neither a level nor about a part of this program: to the filter it would be the
/// name of a part that does not exist, and nothing at all would be logged.
fn no_level(list: &str) -> Option<&str> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_known = |word: &str| {
        word.is_empty()
            || word.contains(['=', '['])
            || word.starts_with("createrepod")
            || LEVELS.contains(&&*word.to_ascii_lowercase())
    };
    list.split(',').map(str::trim).find(|word| !is_known(word))
}

/// A panic is a bug, but for those of libraries that are caught, and one line like everything else; a backtrace, if one is wanted, follows as it is.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let payload = panic.payload();
    let what = payload.downcast_ref::<&str>().copied();
    let what = what.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    if is_caught() {
        debug!(place, "a library gave up on what it was given: {what}");
        return;
    }
    error!(place, "this is a bug, please report it: {what}");
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        say(&format!("{backtrace}\n"));
    }
}

/// One event, one line, whatever the values contain.
struct Lines {
    style: Style,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        match self.style {
            Style::Journal => write!(writer, "<{}>", severity(level))?,
            Style::Plain { colour: true } => {
                SystemTime.format_time(&mut writer)?;
                write!(writer, " \x1b[{}m{level:>5}\x1b[0m ", hue(level))?;
            }
            Style::Plain { colour: false } | Style::Json => {
                SystemTime.format_time(&mut writer)?;
                write!(writer, " {level:>5} ")?;
            }
        }
        context.field_format().format_fields(writer.by_ref(), event)?;
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                && !fields.is_empty()
            {
                write!(writer, " {fields}")?;
            }
        }
        writeln!(writer)
    }
}

/// syslog's numbers, as sd-daemon(3) reads them.
fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// SGR colour of a level.
fn hue(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        _ => 34,
    }
}

/// The sentence first, then ` key=value` for each field.
struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut collected = Collected::default();
        fields.record(&mut collected);
        let Collected { sentence, rest } = collected;
        write!(writer, "{sentence}{}", if sentence.is_empty() { rest.trim_start() } else { &rest })
    }
}

#[derive(Default)]
struct Collected {
    sentence: String,
    rest: String,
}

impl Collected {
    fn add(&mut self, field: &Field, text: &str) {
        match field.name() {
            "message" => escape(text, &mut self.sentence),
            // What the bridge from the `log` crate adds.
            name if name.starts_with("log.") => {}
            name => {
                self.rest.push(' ');
                self.rest.push_str(name);
                self.rest.push('=');
                let plain = !text.is_empty() && !text.contains([' ', '"', '=']);
                if plain {
                    escape(text, &mut self.rest);
                } else {
                    self.rest.push('"');
                    escape(&text.replace('\\', "\\\\").replace('"', "\\\""), &mut self.rest);
                    self.rest.push('"');
                }
            }
        }
    }
}

impl Visit for Collected {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, &chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

/// An error and its causes in one line: `cannot …: cause: cause`.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a String cannot fail.
        let _ = write!(line, ": {cause}");
        source = cause.source();
    }
    line
}

/// Appends `text` with everything that could begin a line, move the cursor or turn the reading
/// direction written as `\u{…}`: packages and URLs bring what they like.
pub fn escape(text: &str, onto: &mut String) {
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns {
            onto.extend(c.escape_default());
        } else {
            onto.push(c);
        }
    }
}

/// [`escape`] as an expression.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    escape(text, &mut safe);
    safe
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(style: Style, act: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let builder = tracing_subscriber::fmt().with_writer(move || writer.clone());
        let colour = style == Style::Plain { colour: true };
        let subscriber = builder.with_ansi(colour).event_format(Lines { style }).fmt_fields(Fields).finish();
        tracing::subscriber::with_default(subscriber, act);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_is_a_sentence_and_its_fields() {
        let line = logged(Style::Journal, || {
            tracing::info!(repo.name = %"rpm", changed = 3, why = "two words", "published rpm");
        });
        assert_eq!(line, "<6>published rpm repo.name=rpm changed=3 why=\"two words\"\n");
    }

    #[test]
    fn no_value_can_begin_a_line_or_move_the_cursor() {
        let evil = "x\n<0>forged\r\x1b[2J\u{9b}31m\u{2028}\u{202e}\u{85}";
        for style in [Style::Journal, Style::Plain { colour: false }, Style::Plain { colour: true }] {
            let text = logged(style, || {
                tracing::warn!(location = %evil, quoted = %format!("a b {evil}"), debug = ?evil, "rejected {evil}");
            });
            assert_eq!(text.matches('\n').count(), 1, "{text:?}");
            let ours = text.replace("\x1b[33m", "").replace("\x1b[0m", "");
            assert!(!ours.trim_end_matches('\n').chars().any(char::is_control), "{text:?}");
            assert!(!ours.contains(['\u{2028}', '\u{202e}']), "{text:?}");
            assert!(
                ours.contains(r"rejected x\n<0>forged\r\u{1b}[2J\u{9b}31m\u{2028}\u{202e}\u{85}"),
                "{ours}"
            );
        }
    }

    #[test]
    fn a_quote_in_a_value_cannot_end_it() {
        let line = logged(Style::Journal, || tracing::info!(name = %r#"a" b="c\"#, "x"));
        assert_eq!(line, "<6>x name=\"a\\\" b=\\\"c\\\\\"\n");
    }

    #[test]
    fn an_error_is_written_with_its_causes() {
        let error = anyhow::anyhow!("no space").context("cannot write a").context("cannot publish");
        let error: &(dyn std::error::Error + 'static) = error.as_ref();
        let line = logged(Style::Journal, || tracing::error!(error, "stopped"));
        assert_eq!(line, "<3>stopped error=\"cannot publish: cannot write a: no space\"\n");
    }

    #[test]
    fn spans_add_their_fields() {
        let line = logged(Style::Journal, || {
            let span = tracing::info_span!("request", client = "127.0.0.1");
            span.in_scope(|| tracing::info!("answered"));
        });
        assert_eq!(line, "<6>answered client=127.0.0.1\n");
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let format = |name: &str| (name == "CREATEREPOD_LOG_FORMAT").then(|| "xml".to_owned());
        assert!(start("info", &format).unwrap_err().contains("CREATEREPOD_LOG_FORMAT"));
        let level = |name: &str| (name == "CREATEREPOD_LOG").then(|| "a=b=c=loud".to_owned());
        assert!(start("info", &level).unwrap_err().contains("CREATEREPOD_LOG"));
        for (list, wrong) in [
            ("quiet", Some("quiet")),
            ("INFO", None),
            ("info,verbose", Some("verbose")),
            ("createrepod::watch=trace, warn", None),
            ("createrepod::watch", None),
            ("", None),
        ] {
            assert_eq!(no_level(list), wrong, "{list}");
        }
    }
}
