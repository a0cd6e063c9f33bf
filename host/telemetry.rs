//! What the host says of itself: log lines on standard error, and the numbers at `/metrics`.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

mod metrics;

pub use metrics::{Metrics, Snapshot};

/// The environment variable that says how much is logged, for example `debug` or `windlass::worker=trace`.
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

/// Writes log lines to standard error from here on: what matters in the normal course, unless [`LOG_VARIABLE`] says
/// otherwise.
pub fn subscribe(format: LogFormat) {
    subscribe_from("info", format);
}

/// Like [`subscribe`], but warnings and errors only.
pub fn subscribe_quietly(format: LogFormat) {
    subscribe_from("warn", format);
}

fn subscribe_from(level: &str, format: LogFormat) {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new(level));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    if installed.is_err() {
        tracing::debug!("log lines are already being written; the first subscriber stays");
    }
}
