//! What a guest said on its standard error before it ended: the line that tells a person why.

/// From here on a message is long enough.
const MESSAGE_BYTES_MAX: usize = 1 << 10;

/// Watches standard error for the message of a panic or an exception, in the forms of the usual languages.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    /// What the next line is.
    next: Next,
    /// The message of a panic or an exception.
    message: Option<String>,
    /// The last line that is no part of a trace.
    last: Option<String>,
}

#[derive(Debug, Default)]
enum Next {
    #[default]
    Anything,
    /// The message of a Rust panic, a line or more of it, whose place is known.
    PanicMessage,
    /// A trace of Python, whose exception stands at its end.
    PythonTrace,
}

impl LastWords {
    /// Hears a line.
    pub(super) fn hear(&mut self, line: &str) {
        let is_indented = line.starts_with([' ', '\t']);
        match std::mem::take(&mut self.next) {
            Next::PanicMessage if line.starts_with("note: ") => {}
            Next::PanicMessage => self.go_on(line),
            Next::PythonTrace if is_indented => self.next = Next::PythonTrace,
            // The last of a chain is the one that nobody handled.
            Next::PythonTrace => self.message = Some(line.to_owned()),
            Next::Anything if line == "Traceback (most recent call last):" => self.next = Next::PythonTrace,
            // Not over the exception of a language whose runtime is written in Rust and panics because of it.
            Next::Anything if line.contains("panicked at ") && self.message.is_none() => self.go_on(line),
            Next::Anything if line.starts_with("panic: ") || line.starts_with("fatal error: ") => {
                self.message.get_or_insert_with(|| line.to_owned());
            }
            Next::Anything => {}
        }
        if !is_indented && !line.starts_with("note: ") {
            self.last = Some(line.to_owned());
        }
    }

    fn go_on(&mut self, line: &str) {
        let message = self.message.get_or_insert_default();
        if message.len() < MESSAGE_BYTES_MAX {
            message.push_str(if message.is_empty() { "" } else { " " });
            message.push_str(line.trim_start());
        }
        self.next = Next::PanicMessage;
    }

    /// The message, or else the last line.
    pub(super) fn told(&self) -> Option<&str> {
        self.message.as_deref().or(self.last.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_found_in_what_each_language_prints() {
        for (said, told) in [
            (
                "thread 'main' panicked at src/lib.rs:3:5:\nboom\nnote: run with RUST_BACKTRACE=1",
                "thread 'main' panicked at src/lib.rs:3:5: boom",
            ),
            (
                "Traceback (most recent call last):\n  File \"a.py\", line 1, in run\nValueError: no\n\
                 The above exception was the direct cause of the following exception:\n\
                 Traceback (most recent call last):\n  File \"a.py\", line 2, in run\nRuntimeError: broken\n\
                 thread '<unnamed>' (1) panicked at runtime/src/lib.rs:1:2:\nPython function threw an unexpected exception",
                "RuntimeError: broken",
            ),
            (
                "thread '<unnamed>' (1) panicked at a.rs:51:31:\nFailed to call 'run': Value(Exception(\n\
                 Exception { message: Some(\"broken\") })\n)\nnote: run with RUST_BACKTRACE=1\nmore",
                "thread '<unnamed>' (1) panicked at a.rs:51:31: Failed to call 'run': Value(Exception( \
                 Exception { message: Some(\"broken\") }) )",
            ),
            ("panic: broken\n\ngoroutine 1 [running]:\nmain.main()\n\t/a.go:3", "panic: broken"),
            ("Error: broken\n    at run (order.js:7)\n    at call (order.js:9)", "Error: broken"),
            ("one\ntwo", "two"),
            ("order.c:7: broken\n", "order.c:7: broken"),
        ] {
            let mut words = LastWords::default();
            said.lines().filter(|line| !line.is_empty()).for_each(|line| words.hear(line));
            assert_eq!(words.told(), Some(told), "{said}");
        }
        assert_eq!(LastWords::default().told(), None);
    }
}
