//! What the end of a compiler's process means.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::process::Signal;

use crate::config::Compile;

use super::super::{LoadError, report};
use super::Answer;

/// How a compiler's process ended.
#[derive(Debug)]
pub(super) enum End {
    /// By itself, or by a signal.
    Ended(ExitStatus),
    /// Its wall time was up, and it was killed.
    Overdue,
    /// Nobody wanted it any more, and it was killed.
    Abandoned,
}

/// Its answer, or why there is none.
pub(super) fn verdict(end: &End, words: &str, bounds: &Compile) -> Result<Answer, LoadError> {
    let status = match end {
        End::Ended(status) => status,
        End::Overdue => return Err(report::compile_wall(bounds)),
        End::Abandoned => return Err(report::host_failed("compiling was given up")),
    };
    if let Some(signal) = status.signal() {
        return Err(of_signal(signal, words, bounds));
    }
    let answer = words.lines().next_back().and_then(|line| serde_json::from_str(line).ok());
    answer.ok_or_else(|| report::compiler_broke(&format!("it ended with {status} and no answer"), last_words(words)))
}

fn of_signal(signal: i32, words: &str, bounds: &Compile) -> LoadError {
    let is = |named: Signal| signal == named.as_raw();
    // What Rust says before it gives up. There is no other sign of it.
    if is(Signal::ABORT) && words.contains("memory allocation of") {
        return report::compile_memory(bounds);
    }
    if is(Signal::ABORT) && words.contains("overflowed its stack") {
        return report::compile_depth();
    }
    match signal {
        _ if is(Signal::XCPU) => report::compile_cpu(bounds),
        _ if is(Signal::XFSZ) => report::compile_code(super::CODE_BYTES_MAX),
        _ if is(Signal::KILL) => report::compile_killed(),
        other => report::compiler_broke(&format!("signal {other} ended it"), last_words(words)),
    }
}

/// What a panic said, or else the last line.
fn last_words(words: &str) -> &str {
    match words.find("panicked at ") {
        Some(start) => words[start..].trim_end(),
        None => words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: i32, words: &str) -> String {
        let end = End::Ended(ExitStatus::from_raw(status));
        let error = verdict(&end, words, &Compile::default()).unwrap_err();
        format!("{}; {}", error.summary, error.help.unwrap_or_default())
    }

    #[test]
    fn each_end_names_what_was_passed_and_what_to_raise() {
        for (status, words, told_of) in [
            (24, "", "2m of CPU time"),
            (24, "", "cpu = "),
            (25, "", "512 MiB"),
            (6, "memory allocation of 12 bytes failed", "2GiB of memory"),
            (6, "memory allocation of 12 bytes failed", "memory = "),
            (6, "thread 'compile' has overflowed its stack", "nested too deeply"),
            (6, "\u{1b}[31mpanic in a destructor", "panic in a destructor"),
            (9, "", "was killed"),
            (11, "", "signal 11"),
            (1 << 8, "windlass: no such thing", "no such thing"),
            (101 << 8, "\nthread 'main' panicked at a.rs:1:2:\nhalt\nnote: more\n", "panicked at a.rs:1:2: halt"),
            (0, "no answer", "no answer"),
        ] {
            let error = told(status, words);
            assert!(error.contains(told_of) && !error.contains('\u{1b}'), "{status} {words:?} gave {error:?}");
        }
        let overdue = verdict(&End::Overdue, "", &Compile::default()).unwrap_err();
        assert!(overdue.summary.contains("15m") && overdue.help.unwrap().contains("wall = "));
    }

    #[test]
    fn the_answer_is_the_last_line_whatever_was_said_before() {
        let end = End::Ended(ExitStatus::from_raw(0));
        let words = "a warning\n{\"failed\":\"for a reason\"}";
        let answer = verdict(&end, words, &Compile::default()).unwrap();
        assert!(matches!(answer, Answer::Failed(why) if why == "for a reason"));
    }
}
