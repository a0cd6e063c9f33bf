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

/// Its answer, or why there is none. What ends the compiler before it has begun to read the component cannot lie in that,
/// nor can what others do to it: these are the host's own matter, and are tried again.
pub(super) fn verdict(end: &End, has_begun: bool, words: &str, bounds: &Compile) -> Result<Answer, LoadError> {
    let status = match end {
        End::Ended(status) => status,
        End::Overdue if !has_begun || is_starved(bounds) => return Err(report::compile_starved(bounds)),
        End::Overdue => return Err(report::compile_wall(bounds)),
        End::Abandoned => return Err(report::host_failed("compiling was given up")),
    };
    let broke = |how: &str| match has_begun {
        true => report::compiler_broke(how, last_words(words)),
        false => report::host_failed(&format!(
            "its compiler did not come to look at it: {how}; its last words: {}",
            last_words(words)
        )),
    };
    match status.signal() {
        Some(signal) if is_sent(signal) => Err(report::compile_killed()),
        Some(signal) if has_begun => Err(of_signal(signal, words, bounds)),
        Some(signal) => Err(broke(&format!("signal {signal} ended it"))),
        None => {
            let answer = words.lines().next_back().and_then(|line| serde_json::from_str(line).ok());
            answer.ok_or_else(|| broke(&format!("it ended with {status} and no answer")))
        }
    }
}

/// Whether one who computes all the while would have met the other bound first, twice over: then the machine had other
/// things to do.
fn is_starved(bounds: &Compile) -> bool {
    bounds.wall.0 >= bounds.cpu.0 * 2
}

/// Whether no compiler brings that upon itself.
fn is_sent(signal: i32) -> bool {
    [Signal::KILL, Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP].iter().any(|sent| sent.as_raw() == signal)
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
        _ if is(Signal::BUS) => report::host_failed("the machine had no page of memory for its compiler (SIGBUS)"),
        other => report::compiler_broke(&format!("signal {other} ended it"), last_words(words)),
    }
}

/// It panicked over the component, and said so behind what the panic said.
pub(super) fn panicked(words: &str) -> LoadError {
    let said = words.trim_end().rsplit_once('\n').map_or("", |(said, _)| said);
    report::compiler_broke("it panicked", last_words(said))
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
    use crate::job::units::TimeSpan;

    /// What is told of a compiler that had begun, and whether the host tries again.
    fn told(status: i32, words: &str) -> (String, bool) {
        let end = End::Ended(ExitStatus::from_raw(status));
        let error = verdict(&end, true, words, &Compile::default()).unwrap_err();
        let is_hosts_own = error.is_hosts_own();
        (format!("{}; {}", error.summary, error.help.unwrap_or_default()), is_hosts_own)
    }

    #[test]
    fn each_end_names_what_was_passed_and_what_to_raise() {
        for (status, words, told_of, is_hosts_own) in [
            (24, "", "2m of CPU time", false),
            (24, "", "cpu = ", false),
            (25, "", "512 MiB", false),
            (6, "memory allocation of 12 bytes failed", "2GiB of memory", false),
            (6, "memory allocation of 12 bytes failed", "memory = ", false),
            (6, "thread 'compile' has overflowed its stack", "nested too deeply", false),
            (6, "\u{1b}[31mpanic in a destructor", "panic in a destructor", false),
            (7, "", "no page of memory", true),
            (9, "", "was killed", true),
            (15, "", "was killed", true),
            (11, "", "signal 11", false),
            (1 << 8, "windlass: no such thing", "no such thing", false),
            (
                101 << 8,
                "\nthread 'main' panicked at a.rs:1:2:\nhalt\nnote: more\n",
                "panicked at a.rs:1:2: halt",
                false,
            ),
            (0, "no answer", "no answer", false),
        ] {
            let (error, is_tried_again) = told(status, words);
            assert!(error.contains(told_of) && !error.contains('\u{1b}'), "{status} {words:?} gave {error:?}");
            assert_eq!(is_tried_again, is_hosts_own, "{error}");
        }
    }

    #[test]
    fn what_ends_it_before_it_reads_the_component_is_the_hosts_own() {
        for (status, words) in
            [(127 << 8, "cannot open shared object file"), (11, ""), (24, ""), (6, "memory allocation")]
        {
            let end = End::Ended(ExitStatus::from_raw(status));
            let error = verdict(&end, false, words, &Compile::default()).unwrap_err();
            assert!(error.is_hosts_own() && error.summary.contains(words), "{error:?}");
        }
    }

    #[test]
    fn wall_time_that_the_machine_did_not_have_is_the_hosts_own() {
        let overdue = |has_begun, cpu_secs, wall_secs| {
            let (cpu, wall) = (TimeSpan::from_secs(cpu_secs), TimeSpan::from_secs(wall_secs));
            verdict(&End::Overdue, has_begun, "", &Compile { cpu, wall, ..Compile::default() }).unwrap_err()
        };
        let error = overdue(true, 120, 900);
        assert!(error.is_hosts_own() && error.summary.contains("15m of wall time"), "{error:?}");
        assert!(overdue(false, 120, 8).is_hosts_own());
        for (cpu_secs, wall_secs) in [(120, 8), (10, 10), (10, 19)] {
            let error = overdue(true, cpu_secs, wall_secs);
            assert!(!error.is_hosts_own() && error.help.unwrap().contains("wall = "), "{cpu_secs} {wall_secs}");
        }
    }

    #[test]
    fn the_answer_is_the_last_line_whatever_was_said_before() {
        let end = End::Ended(ExitStatus::from_raw(0));
        let answer = |words| verdict(&end, true, words, &Compile::default()).unwrap();
        let words = "a warning\n{\"failed\":\"for a reason\"}";
        assert!(matches!(answer(words), Answer::Failed(why) if why == "for a reason"));
        let words = "thread 'compile' panicked at a.rs:1:2:\nhalt\n\n\"panicked\"";
        assert!(matches!(answer(words), Answer::Panicked));
        let error = panicked(words);
        assert!(!error.is_hosts_own() && error.summary.ends_with("panicked at a.rs:1:2: halt"), "{error:?}");
    }
}
