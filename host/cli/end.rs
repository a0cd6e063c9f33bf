//! What the program says where something cannot be done, and what it exits with.

use super::{ExitCode, print};
use crate::api::DoorError;
use crate::job::text;
use crate::telemetry::{LogError, LogFormat};

/// What is wrong with what was typed or set, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct WrongUsage(String);

impl WrongUsage {
    /// That it is this which is wrong.
    pub(super) fn new(why: &dyn std::fmt::Display) -> Self {
        Self(why.to_string())
    }
}

/// What to exit with, once it is said why something could not be done or told.
pub(super) fn told(done: anyhow::Result<ExitCode>, format: LogFormat) -> ExitCode {
    let told = done.and_then(|code| print::all_written().map(|()| code));
    told.unwrap_or_else(|error| refused(&error, format))
}

/// Says why it could not be done, in the form of the log; the chain of causes is for people.
pub(super) fn refused(error: &anyhow::Error, format: LogFormat) -> ExitCode {
    complain(&format!("{error:#}"), format);
    // A door may be one that must not be opened as the settings say.
    let is_usage = error.is::<WrongUsage>() || error.is::<DoorError>();
    if is_usage || matches!(error.downcast_ref(), Some(LogError::Wrong(_))) {
        ExitCode::WrongUsage
    } else {
        ExitCode::Failed
    }
}

/// Says what is wrong. In JSON it is a line of the log, whatever else the log leaves out.
fn complain(why: &str, format: LogFormat) {
    match format {
        LogFormat::Text => print::complain(&format!("windlass: {why}")),
        LogFormat::Json => {
            let lines = tracing_subscriber::fmt().with_writer(std::io::stderr).log_internal_errors(false);
            let lines = lines.json().flatten_event(true);
            let lines = lines.with_current_span(false).with_span_list(false).finish();
            tracing::subscriber::with_default(lines, || tracing::error!("{}", text::block(why)));
        }
    }
}
