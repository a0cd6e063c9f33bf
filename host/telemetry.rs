//! What the host says of itself: log lines on standard error, and the numbers at `/metrics`.

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::str::FromStr as _;

use tracing::field::Field;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::job::text;

mod lines;
mod metrics;

use lines::Lines;
pub use metrics::{Metrics, Snapshot};

/// The environment variable that says how much is logged, for example `debug` or `windlass::worker=trace`. Libraries that
/// carry what guests and downstreams say log nothing below `info` all the same.
pub const LOG_VARIABLE: &str = "WINDLASS_LOG";

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why no log lines can be written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// [`LOG_VARIABLE`] says nothing that can be done.
    #[error(
        "the environment variable {LOG_VARIABLE}: {0}: write a level (error, warn, info, debug, trace, off), or NAME=LEVEL \
         for a part, with commas between"
    )]
    Wrong(String),
    /// The system gives no thread.
    #[error("cannot start the thread that writes log lines")]
    NoThread(#[source] io::Error),
}

/// Log lines that are being written. At its end those that are left are waited for, a moment at most.
#[must_use = "the last lines are written as this ends"]
pub struct Logging(Lines);

impl Drop for Logging {
    fn drop(&mut self) {
        self.0.drained();
    }
}

/// Writes log lines to standard error from here on: what matters in the normal course, unless [`LOG_VARIABLE`] says
/// otherwise. Nobody waits where they are not read: what is too much is lost, and how much is said later.
///
/// # Errors
/// [`LogError`].
pub fn subscribe(format: LogFormat) -> Result<Logging, LogError> {
    subscribe_from("info", format)
}

/// Like [`subscribe`], but warnings and errors only.
///
/// # Errors
/// [`LogError`].
pub fn subscribe_quietly(format: LogFormat) -> Result<Logging, LogError> {
    subscribe_from("warn", format)
}

fn subscribe_from(level: &str, format: LogFormat) -> Result<Logging, LogError> {
    let asked = std::env::var_os(LOG_VARIABLE).filter(|asked| !asked.is_empty());
    let filter = match asked {
        None => EnvFilter::new(level),
        Some(asked) => filter(asked.to_str().ok_or_else(|| LogError::Wrong("it is not UTF-8".to_owned()))?)?,
    };
    let say_lost = |lost: u64| tracing::warn!(lost, "log lines were lost: standard error did not take them");
    let written = Lines::start(io::stderr(), say_lost).map_err(LogError::NoThread)?;
    // Its own word for a line that cannot be written goes to standard error too, and panics there.
    let lines = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    let (quiet, out) = (filter_fn(is_discreet), written.clone());
    let installed = match format {
        LogFormat::Text => lines
            .with_writer(out)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .fmt_fields(debug_fn(field).delimited(" "))
            .finish()
            .with(quiet)
            .try_init(),
        LogFormat::Json => lines
            .with_writer(move || EscapedJson(out.clone()))
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .finish()
            .with(quiet)
            .try_init(),
    };
    if installed.is_err() {
        tracing::debug!("log lines are already being written; the first subscriber stays");
    }
    Ok(Logging(written))
}

/// Reads what [`LOG_VARIABLE`] asks for. A word alone is a level: the subscriber takes any other for the name of a part, and
/// a mistyped level would silence everything.
fn filter(asked: &str) -> Result<EnvFilter, LogError> {
    let parts: Vec<_> = asked.split(',').map(str::trim).collect();
    let is_level = |part: &str| part.contains(['=', '[']) || !part.is_empty() && LevelFilter::from_str(part).is_ok();
    if let Some(word) = parts.iter().find(|part| !is_level(part)) {
        return Err(LogError::Wrong(format!("{word:?} is no level")));
    }
    EnvFilter::try_new(parts.join(",")).map_err(|error| LogError::Wrong(error.to_string()))
}

/// How the crates begin that trace what guests call them with, such as URLs, and what downstreams say as they close,
/// before anything has masked it.
const CARRIERS: [&str; 4] = ["wasmtime", "cranelift", "hyper", "h2"];

/// Whether that may be logged where [`LOG_VARIABLE`] asks for it: of these crates nothing below `info`.
fn is_discreet(line: &Metadata<'_>) -> bool {
    *line.level() <= Level::INFO || !CARRIERS.iter().any(|name| line.target().starts_with(name))
}

/// The longest value of a field in a line for people.
const FIELD_BYTES_MAX: usize = 16 << 10;

/// One field for people, on one line whatever it holds. The subscriber's own way lets line breaks through, and what
/// reorders text.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let text = text::line(&format!("{value:?}"), FIELD_BYTES_MAX);
    match field.name() {
        "message" => writer.write_str(&text),
        name if writer.has_ansi_escapes() => write!(writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m{text}"),
        name => write!(writer, "{name}={text}"),
    }
}

/// Writes JSON whose strings hide nothing. Each event comes in one piece.
struct EscapedJson<W>(W);

impl<W: Write> Write for EscapedJson<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        self.0.write_all(text::escaped_json(&text).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    const HOSTILE: &str = "a\u{1b}[2J\nERROR forged\u{9b}31m\u{202e}\u{7f}z";

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn say() {
        tracing::warn!(shown = %HOSTILE, told = ?HOSTILE, said = HOSTILE, "{HOSTILE}");
    }

    #[test]
    fn no_field_and_no_message_can_forge_a_line_for_people() {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false);
        tracing::subscriber::with_default(lines.fmt_fields(debug_fn(field).delimited(" ")).finish(), say);
        let text = kept.text();
        assert_eq!((text.lines().count(), text::block(&text).len()), (1, text.len()), "{text:?}");
        assert!(text.contains("shown=a ERROR forged") && text.contains("said="), "{text}");
    }

    #[test]
    fn no_filter_lets_through_what_libraries_trace_of_guests_and_downstreams() {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false);
        let filter = EnvFilter::new("trace,wasmtime=trace,wasmtime[s3cret]=debug");
        let lines = lines.with_env_filter(filter).finish().with(filter_fn(is_discreet));
        tracing::subscriber::with_default(lines, || {
            tracing::trace!(target: "wasmtime", path = "s3cret", "call");
            tracing::trace_span!(target: "wasmtime", "s3cret").in_scope(|| {
                tracing::debug!(target: "wasmtime_more", "writing: s3cret");
                tracing::trace!(target: "wasmtime", "copy s3cret");
                tracing::debug!(target: "h2::codec::framed_read", "received GOAWAY s3cret");
                tracing::debug!(target: "hyper_util::client", "connection error: s3cret");
                tracing::warn!(target: "wasmtime", "a warning");
                tracing::trace!(target: "windlass::worker", "our own");
            });
        });
        let text = kept.text();
        assert!(text.contains("a warning") && text.contains("our own") && !text.contains("s3cret"), "{text}");
    }

    #[test]
    fn what_the_variable_asks_for_is_a_level_or_a_part_with_one() {
        for asked in
            ["debug", "WARN", "off", "windlass::worker=trace", "trace,wasmtime=off", "info, windlass[job]=debug"]
        {
            assert!(filter(asked).is_ok(), "{asked}");
        }
        for (asked, told) in
            [("deubg", "deubg"), ("info,windlass", "windlass"), ("windlass=verbose", "level filter"), (",", "level")]
        {
            let why = filter(asked).unwrap_err().to_string();
            assert!(why.contains(told) && why.contains(LOG_VARIABLE) && why.lines().count() == 1, "{asked}: {why}");
        }
    }

    #[test]
    fn no_field_and_no_message_can_hide_in_json() {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = tracing_subscriber::fmt().with_writer(move || EscapedJson(writer.clone())).json();
        tracing::subscriber::with_default(lines.flatten_event(true).finish(), say);
        let text = kept.text();
        assert_eq!((text.lines().count(), text::block(&text).len()), (1, text.len()), "{text:?}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((value["message"].as_str(), value["shown"].as_str()), (Some(HOSTILE), Some(HOSTILE)));
    }
}
