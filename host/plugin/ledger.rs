//! What is written down of one attempt while it runs: its log lines, its calls, its denials.

use crate::clock::Stopwatch;
use crate::config::AttemptLimits;
use crate::job::{Calls, Exchange, LogLevel, LogLine};

use super::egress::Part;
use super::last_words::LastWords;
use super::secrets::Secrets;
use super::text;

/// What a log line costs beside its text: empty lines are not free.
const LINE_BYTES: usize = 16;
/// The longest line that is kept whole.
pub(super) const LINE_BYTES_MAX: usize = 8 << 10;

/// What the host has so much of and no more, for all plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scarce {
    /// Connections to downstreams.
    Connections,
    /// Instances, and what they need of the machine.
    Instances,
}

impl Scarce {
    /// The code of an attempt that is tried again because there was none.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Connections => "no-connection",
            Self::Instances => "no-instance",
        }
    }
}

/// What there was none of, and why.
#[derive(Clone, Debug)]
pub(super) struct Crowded {
    pub(super) of: Scarce,
    pub(super) why: String,
}

/// The record of one attempt.
#[derive(Debug)]
pub(super) struct Ledger {
    started: Stopwatch,
    /// The kept lines.
    pub(super) log: Vec<LogLine>,
    room_bytes: usize,
    room_lines: u32,
    /// What did not fit.
    pub(super) dropped_bytes: u64,
    /// The lines that did not fit, those that were cut among them.
    pub(super) dropped_lines: u64,
    /// The kept calls, in the order in which they ended.
    pub(super) exchanges: Vec<Exchange>,
    room_exchanges: u32,
    /// The calls that did not fit.
    pub(super) exchanges_dropped: u64,
    /// What all calls come to.
    pub(super) calls: Calls,
    /// What the guest asked for without a grant, first of all: what the operator can do about it.
    pub(super) denied: Option<String>,
    /// What the host had none to give of when it was asked for, first of all.
    pub(super) crowded: Option<Crowded>,
    last_words: LastWords,
}

impl Ledger {
    /// An empty record with room for as much as the limits say.
    pub(super) fn new(started: Stopwatch, limits: &AttemptLimits) -> Self {
        Self {
            started,
            log: Vec::new(),
            room_bytes: limits.output.as_usize(),
            room_lines: limits.log_lines,
            dropped_bytes: 0,
            dropped_lines: 0,
            exchanges: Vec::new(),
            room_exchanges: limits.exchanges,
            exchanges_dropped: 0,
            calls: Calls::default(),
            denied: None,
            crowded: None,
            last_words: LastWords::default(),
        }
    }

    /// Keeps the lines of a message as far as there is room.
    pub(super) fn log(&mut self, level: LogLevel, message: &str) {
        // Without room nothing of it is looked at, but for what may be its last words.
        let mut rest = Some(message);
        while let Some(left) = rest {
            if !self.has_room() && level != LogLevel::Stderr {
                self.dropped_lines += left.matches('\n').count() as u64;
                self.drop_line(left.len());
                return;
            }
            let line = left.split_once('\n');
            rest = line.map(|(_, rest)| rest);
            self.keep(level, text::line(line.map_or(left, |(line, _)| line), LINE_BYTES_MAX));
        }
    }

    fn has_room(&self) -> bool {
        self.room_lines > 0 && self.room_bytes >= LINE_BYTES
    }

    fn keep(&mut self, level: LogLevel, message: String) {
        if level == LogLevel::Stderr && !message.is_empty() {
            self.last_words.hear(&message);
        }
        let room_bytes = self.room_bytes.checked_sub(LINE_BYTES).filter(|_| self.room_lines > 0);
        let Some(text_room_bytes) = room_bytes else { return self.drop_line(message.len()) };
        let kept =
            if message.len() > text_room_bytes { text::line(&message, text_room_bytes) } else { message.clone() };
        self.room_lines -= 1;
        if kept.len() < message.len() {
            self.drop_line(message.len() - kept.len());
            self.room_bytes = 0;
        } else {
            self.room_bytes = text_room_bytes - kept.len();
        }
        let at_ms = u32::try_from(self.started.elapsed().as_millis()).unwrap_or(u32::MAX);
        self.log.push(LogLine { at_ms, level, message: kept });
    }

    /// Counts a line that is not kept, or not whole.
    pub(super) fn drop_line(&mut self, bytes: usize) {
        self.dropped_bytes += bytes as u64;
        self.dropped_lines += 1;
    }

    /// Counts a call by what its downstream had to do with it, and keeps it as far as there is room.
    pub(super) fn exchanged(&mut self, exchange: Exchange, part: Part) {
        if part != Part::None {
            self.calls.count(&exchange, part == Part::Answered);
        }
        match self.room_exchanges.checked_sub(1) {
            Some(room) => {
                self.room_exchanges = room;
                self.exchanges.push(exchange);
            }
            None => self.exchanges_dropped += 1,
        }
    }

    /// Remembers the first denial.
    pub(super) fn deny(&mut self, remedy: &str) {
        self.denied.get_or_insert_with(|| remedy.to_owned());
    }

    /// Remembers the first thing that there was no room for.
    pub(super) fn crowd(&mut self, of: Scarce, why: &str) {
        self.crowded.get_or_insert_with(|| Crowded { of, why: why.to_owned() });
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
    use crate::config::{LimitOverride, Limits};
    use crate::job::units::ByteSize;

    use super::*;

    fn ledger(output_bytes_max: usize) -> Ledger {
        let limits = Limits { output: ByteSize(output_bytes_max as u64), log_lines: 3, ..Limits::default() };
        Ledger::new(Stopwatch::start(), &limits.attempt(&LimitOverride::default()))
    }

    #[test]
    fn lines_over_the_limit_are_counted_and_dropped() {
        let mut ledger = ledger(10_000);
        (0..5).for_each(|_| ledger.log(LogLevel::Info, ""));
        assert_eq!((ledger.log.len(), ledger.dropped_lines, ledger.dropped_bytes), (3, 2, 0));
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
        assert_eq!(ledger.dropped_lines, 2);
    }

    #[test]
    fn of_lines_beyond_the_limits_nothing_is_looked_at_and_each_is_counted() {
        let mut ledger = ledger(1000);
        ledger.log(LogLevel::Info, "1\n2\n3\n\u{1}four\n\n");
        assert_eq!((ledger.log.len(), ledger.dropped_lines), (3, 3));
        assert_eq!(ledger.dropped_bytes, "\u{1}four\n\n".len() as u64, "as they came");
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
        assert_eq!(ledger.last_words(&Secrets::default()).as_deref(), Some("ValueError: é"));
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
