//! `windlass:plugin/log`: lines that are kept with the attempt.

use crate::job::LogLevel;

use super::bindings::windlass::plugin::log::{Host, Level};
use super::bindings::windlass::plugin::types;
use super::state::State;

impl Host for State {
    fn log(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        self.attempt.passed(message.len() as u64);
        self.called()?;
        let level = match level {
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        self.attempt.log(level, &message);
        Ok(())
    }
}

/// The shared types have no functions of their own.
impl types::Host for State {}
