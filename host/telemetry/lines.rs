//! Log lines on their way out: whoever says something waits for nobody who does not read it, and no line that cannot be
//! written is anybody's fault.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::lock::lock;

/// How many bytes of lines wait at most. What comes beyond is lost, and how many lines that were is said later.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// How long the end waits for what is still to be written.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Where lines wait for the thread that writes them.
#[derive(Clone)]
pub(super) struct Lines(Arc<Queue>);

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// There is something to write.
    more: Condvar,
    /// Nothing is left to write.
    done: Condvar,
}

#[derive(Default)]
struct State {
    /// Whole lines.
    waiting: Vec<u8>,
    is_writing: bool,
    /// Lines that nobody will see, since the last time that it was said.
    lost: u64,
}

impl Queue {
    /// Writes what waits, for ever. After lines were lost it says how many, as soon as one is written again.
    fn write_to(&self, mut out: impl Write, say_lost: impl Fn(u64)) {
        let mut taken = Vec::new();
        loop {
            let mut state = lock(&self.state);
            while state.waiting.is_empty() {
                state.is_writing = false;
                self.done.notify_all();
                state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut state.waiting, &mut taken);
            state.is_writing = true;
            drop(state);
            let written = out.write_all(&taken).and_then(|()| out.flush());
            let mut state = lock(&self.state);
            let lost = match written {
                Ok(()) => std::mem::take(&mut state.lost),
                Err(_) => {
                    state.lost += taken.iter().filter(|byte| **byte == b'\n').count() as u64;
                    0
                }
            };
            drop(state);
            taken.clear();
            if lost > 0 {
                say_lost(lost);
            }
        }
    }
}

impl Lines {
    /// Starts the thread that writes them, and says through `say_lost` how many were not to be written.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub(super) fn start(out: impl Write + Send + 'static, say_lost: impl Fn(u64) + Send + 'static) -> io::Result<Self> {
        let lines = Self(Arc::default());
        let queue = lines.0.clone();
        std::thread::Builder::new().name("windlass-log".to_owned()).spawn(move || queue.write_to(out, say_lost))?;
        Ok(lines)
    }

    /// Waits until all that was said is written, or a moment: who does not read it holds nobody's end.
    pub(super) fn drained(&self) {
        let is_left = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        drop(self.0.done.wait_timeout_while(lock(&self.0.state), LAST_LINES, is_left));
    }
}

impl Write for Lines {
    /// Takes a whole line, or loses it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = lock(&self.0.state);
        if state.waiting.len() + line.len() <= WAITING_BYTES_MAX {
            state.waiting.extend_from_slice(line);
            self.0.more.notify_one();
        } else {
            state.lost += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Takes what the test lets it take: a write waits for a word of whether it succeeds.
    struct Out {
        words: Receiver<bool>,
        written: Sender<String>,
    }

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.words.recv().unwrap_or(false) {
                return Err(io::Error::from(io::ErrorKind::BrokenPipe));
            }
            _ = self.written.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn started() -> (Lines, Sender<bool>, Receiver<String>, Receiver<u64>) {
        let ((word, words), (written, seen), (told, lost)) = (channel(), channel(), channel());
        let lines = Lines::start(Out { words, written }, move |lost| _ = told.send(lost)).unwrap();
        (lines, word, seen, lost)
    }

    /// Says it until it is under way, alone.
    fn say(lines: &mut Lines, line: &str) {
        lines.write_all(line.as_bytes()).unwrap();
        while !lock(&lines.0.state).waiting.is_empty() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn lines_are_written_whole_and_in_order() {
        let (mut lines, word, seen, _lost) = started();
        say(&mut lines, "a\n");
        lines.write_all(b"b\n").unwrap();
        lines.write_all(b"c\n").unwrap();
        word.send(true).unwrap();
        word.send(true).unwrap();
        lines.drained();
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), ["a\n", "b\nc\n"]);
    }

    #[test]
    fn who_does_not_read_holds_nobody_and_what_is_lost_is_counted() {
        let (mut lines, word, seen, lost) = started();
        say(&mut lines, "first\n");
        let line = format!("{}\n", "x".repeat(1023));
        for _ in 0..WAITING_BYTES_MAX / line.len() + 3 {
            lines.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(lock(&lines.0.state).waiting.len(), WAITING_BYTES_MAX);
        // Does not wait for ever either.
        lines.drained();
        word.send(true).unwrap();
        assert_eq!(seen.recv().unwrap(), "first\n");
        assert_eq!(lost.recv().unwrap(), 3, "those beyond the bound");
        word.send(true).unwrap();
        assert_eq!(seen.recv().unwrap().len(), WAITING_BYTES_MAX);
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_told_once_lines_are_written_again() {
        let (mut lines, word, seen, lost) = started();
        for line in ["a\n", "b\n"] {
            say(&mut lines, line);
            word.send(false).unwrap();
        }
        say(&mut lines, "c\n");
        assert!(lost.try_recv().is_err(), "there is nobody to tell it to");
        word.send(true).unwrap();
        assert_eq!((seen.recv().unwrap().as_str(), lost.recv().unwrap()), ("c\n", 2));
        lines.drained();
        assert!(lost.try_recv().is_err(), "it is told once");
    }
}
