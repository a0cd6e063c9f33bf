//! What is written down of one attempt while it runs: its log lines, its calls, its denials.

use crate::clock::Stopwatch;
use crate::job::{Exchange, LogLevel, LogLine};

use super::last_words::LastWords;
use super::secrets::Secrets;
use super::text;

/// What a log line costs beside its text: empty lines are not free.
const LINE_BYTES: usize = 16;
/// The longest line that is kept whole.
pub(super) const LINE_BYTES_MAX: usize = 8 << 10;
/// How many calls are kept per attempt.
pub(super) const EXCHANGES_MAX: usize = 100;

/// The record of one attempt.
#[derive(Debug)]
pub(super) struct Ledger {
    started: Stopwatch,
    /// The kept lines.
    pub(super) log: Vec<LogLine>,
    room_bytes: usize,
    /// What did not fit.
    pub(super) dropped_bytes: u64,
    /// The calls, in the order in which they ended.
    pub(super) exchanges: Vec<Exchange>,
    /// What the guest asked for without a grant, first of all: what the operator can do about it.
    pub(super) denied: Option<String>,
    last_words: LastWords,
}

impl Ledger {
    /// An empty record with room for so much output.
    pub(super) fn new(started: Stopwatch, output_bytes_max: usize) -> Self {
        Self {
            started,
            log: Vec::new(),
            room_bytes: output_bytes_max,
            dropped_bytes: 0,
            exchanges: Vec::new(),
            denied: None,
            last_words: LastWords::default(),
        }
    }

    /// Keeps the lines of a message as far as there is room.
    pub(super) fn log(&mut self, level: LogLevel, message: &str) {
        if self.room_bytes < LINE_BYTES && level != LogLevel::Stderr {
            self.dropped_bytes += message.len() as u64;
            return;
        }
        for line in text::lines(message, LINE_BYTES_MAX) {
            self.keep(level, line);
        }
    }

    fn keep(&mut self, level: LogLevel, message: String) {
        if level == LogLevel::Stderr && !message.is_empty() {
            self.last_words.hear(&message);
        }
        let Some(text_room_bytes) = self.room_bytes.checked_sub(LINE_BYTES) else {
            self.dropped_bytes += message.len() as u64;
            return;
        };
        let kept =
            if message.len() > text_room_bytes { text::line(&message, text_room_bytes) } else { message.clone() };
        self.dropped_bytes += message.len().saturating_sub(kept.len()) as u64;
        if kept.len() < message.len() {
            self.room_bytes = 0;
        } else {
            self.room_bytes = text_room_bytes - kept.len();
        }
        let at_ms = u32::try_from(self.started.elapsed().as_millis()).unwrap_or(u32::MAX);
        self.log.push(LogLine { at_ms, level, message: kept });
    }

    /// Keeps a call as far as there is room.
    pub(super) fn exchanged(&mut self, exchange: Exchange) {
        if self.exchanges.len() < EXCHANGES_MAX {
            self.exchanges.push(exchange);
        }
    }

    /// Remembers the first denial.
    pub(super) fn deny(&mut self, remedy: &str) {
        self.denied.get_or_insert_with(|| remedy.to_owned());
    }

    /// Why the guest ended, in its own words on its standard error, without its secrets: also those that it said line by
    /// line.
    pub(super) fn last_words(&mut self, secrets: &Secrets) -> Option<String> {
        if secrets.is_empty() || self.dropped_bytes > 0 {
            return self.last_words.told().map(|words| secrets.fragment(words));
        }
        secrets.mask_lines(&mut self.log, false);
        let mut words = LastWords::default();
        let said = self.log.iter().filter(|line| line.level == LogLevel::Stderr && !line.message.is_empty());
        said.for_each(|line| words.hear(&line.message));
        words.told().map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(output_bytes_max: usize) -> Ledger {
        Ledger::new(Stopwatch::start(), output_bytes_max)
    }

    #[test]
    fn output_over_the_limit_is_counted_and_dropped() {
        let mut ledger = ledger(LINE_BYTES * 2 + 10);
        ledger.log(LogLevel::Info, "12345");
        ledger.log(LogLevel::Stdout, "1234567890");
        ledger.log(LogLevel::Error, "lost");
        assert_eq!(ledger.log.len(), 2);
        assert!(ledger.log[1].message.len() <= 5);
        assert_eq!(ledger.dropped_bytes, 10 - ledger.log[1].message.len() as u64 + 4);
    }

    #[test]
    fn a_message_of_several_lines_is_several_lines() {
        let mut ledger = ledger(1000);
        ledger.log(LogLevel::Warn, "one\n\u{1b}[2Jtwo");
        let lines: Vec<_> = ledger.log.iter().map(|line| line.message.as_str()).collect();
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn a_trace_in_any_language_keeps_its_indentation() {
        let mut ledger = ledger(1000);
        let trace =
            "Traceback (most recent call last):\n  File \"a.py\", line 2\n    raise ValueError(\"é\")\nValueError: é";
        ledger.log(LogLevel::Stderr, trace);
        assert_eq!(ledger.last_words(), Some("ValueError: é"));
    }

    #[test]
    fn the_message_of_a_panic_is_found_even_without_room() {
        let mut ledger = ledger(0);
        for line in ["thread 'main' panicked at src/lib.rs:3:5:", "boom", "note: run with RUST_BACKTRACE=1"] {
            ledger.log(LogLevel::Stderr, line);
        }
        assert_eq!(ledger.last_words(&Secrets::default()).unwrap(), "thread 'main' panicked at src/lib.rs:3:5: boom");
        assert!(ledger.log.is_empty());
    }
}
