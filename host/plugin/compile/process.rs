//! The host's side of the compiler's process: starting it, waiting for it, ending it.
//!
//! The thread that starts the process stays until it has ended. The system ties the two together: where the thread that
//! started a process ends, a process that asked to die with its parent is killed.
//!
//! The process runs only where no other thread wants to, from its birth on, so that nobody who serves waits for it. A
//! thread that stood back so far cannot return, so one of its own starts it. On a machine that is never idle the process
//! would get nowhere: then it is started once more, as one that has a small share.

use std::fs::File;
use std::io::{self, PipeReader, Seek as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::time::Timespec;
use tokio::sync::oneshot;

use super::super::priority::stand_back;
use super::super::{LoadCause, LoadError, report};
use super::verdict::{self, End};
use super::{Answer, Compiled, Order, Program, SUBCOMMAND, anonymous, host_failed, request, seal};
use crate::clock::Stopwatch;

/// What is read of the compiler's words: the end, where the answer stands. All names of a component take less.
const WORDS_BYTES_MAX: u64 = 4 << 20;
/// How often the code is tried to be sealed, and how long is waited in between. The system says that it is busy while it is
/// at one of the pages itself, to move it or to look at it.
const SEAL_TRIES: usize = 40;
const SEAL_PAUSE: Duration = Duration::from_millis(50);
/// A compiler starves where it has had less than one part of so many of the time.
const SHARE_MIN: u32 = 10;
/// What the process is called in lists of processes.
const SHOWN_NAME: &str = "windlass-compile";

/// Compiles in a process of that program. Who drops the future ends the process.
pub(super) async fn compile(program: Program, order: Order, component: Bytes) -> Result<Compiled, LoadError> {
    // The thread sees its end closed when the other one is dropped, with this future.
    let (abandoned, wanted) = io::pipe().map_err(|error| host_failed("cannot make a pipe", &error))?;
    let (sender, answer) = oneshot::channel();
    let thread = std::thread::Builder::new().name("compiling".to_owned());
    let started = thread.spawn(move || {
        // The receiver is gone where nobody waits any more.
        let _ = sender.send(supervise(&program, &order, &component, &abandoned));
    });
    started.map_err(|error| host_failed("there is no thread to compile from", &error))?;
    let answer = answer.await;
    drop(wanted);
    answer.unwrap_or_else(|_| Err(report::host_broke("the thread that compiles")))
}

fn supervise(
    program: &Program,
    order: &Order,
    component: &[u8],
    abandoned: &PipeReader,
) -> Result<Compiled, LoadError> {
    let failed = |what: &'static str| move |error: io::Error| host_failed(what, &error);
    let make = || Files::make(order, component);
    let (end, mut files) =
        run(program, make, abandoned, order.bounds.wall.0).map_err(failed("cannot run the compiler"))?;
    let words = last_of(&files.words).map_err(failed("cannot read the compiler's answer"))?;
    let has_begun = files.has_begun();
    let code = files.code;
    match verdict::verdict(&end, has_begun, &words, &order.bounds)? {
        Answer::Compiled { shape, engine } => {
            let sealed = unless_busy(|| seal(&code), || is_abandoned(abandoned, SEAL_PAUSE));
            sealed.map_err(failed("cannot seal the code"))?;
            Ok(Compiled { shape, engine, code })
        }
        // Whatever it may have been made to say: it refuses nothing but the component.
        Answer::Refused(error) => Err(LoadError { cause: LoadCause::Files, ..error }),
        Answer::Starved => Err(report::compile_memory(&order.bounds)),
        Answer::Failed(why) => Err(report::host_failed(&why)),
        Answer::Panicked => Err(verdict::panicked(&words)),
    }
}

/// A compiler at work. Whatever becomes of this value, no process of its group is left.
struct Process {
    child: Child,
    pid: Pid,
    pidfd: OwnedFd,
}

/// What a compiler reads and writes. Each that is started has its own: one that is being killed may still be at them.
#[derive(Debug)]
struct Files {
    input: File,
    /// Where the component begins in the input.
    begin: u64,
    code: File,
    words: File,
}

impl Files {
    fn make(order: &Order, component: &[u8]) -> io::Result<Self> {
        let (input, begin) = request(order, component)?;
        Ok(Self { input, begin, code: anonymous("code")?, words: anonymous("words")? })
    }

    /// For a process: it shares the places in them with these.
    fn try_clone(&self) -> io::Result<Self> {
        let [input, code, words] = [&self.input, &self.code, &self.words].map(File::try_clone);
        Ok(Self { input: input?, begin: self.begin, code: code?, words: words? })
    }

    /// Whether the process has read some of the component. One that cannot be told may have read any.
    fn has_begun(&mut self) -> bool {
        self.input.stream_position().map_or(true, |position| position > self.begin)
    }
}

/// Runs a compiler to its end: one that stands back, or where that starves, one that has its share.
fn run(
    program: &Program,
    make: impl Fn() -> io::Result<Files>,
    abandoned: &PipeReader,
    wall: Duration,
) -> io::Result<(End, Files)> {
    let age = Stopwatch::start();
    let files = make()?;
    let (process, _starter) = start_standing_back(program, files.try_clone()?)?;
    if let Some(process) = process
        && let Some(end) = process.end(abandoned, wall, Some(program.patience))?
    {
        return Ok((end, files));
    }
    drop(files);
    let files = make()?;
    let process = Process::start(command(&program.path), files.try_clone()?)?;
    let end = process.end(abandoned, wall.saturating_sub(age.elapsed()), None)?;
    Ok((end.unwrap_or(End::Overdue), files))
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg0(SHOWN_NAME).arg(SUBCOMMAND).env_clear();
    // The program's allocator would set a gigabyte of the address space aside, which is bounded here.
    command.env("MIMALLOC_ARENA_RESERVE", "0").current_dir("/");
    // A Ctrl-C on the terminal is for the host, which ends its compilers itself.
    command.process_group(0);
    command
}

/// Starts it on a thread that stands back, and so does the process. None where that thread starves. The thread stays until
/// the sender that is answered is dropped.
fn start_standing_back(program: &Program, files: Files) -> io::Result<(Option<Process>, mpsc::Sender<()>)> {
    let (sender, started) = mpsc::channel();
    let (hold, held) = mpsc::channel::<()>();
    let command = command(&program.path);
    std::thread::Builder::new().name("compiler-start".to_owned()).spawn(move || {
        // Where it cannot, compiling is only less polite.
        let _ = stand_back();
        // Where nobody waits for it any more, the process is killed as it comes back.
        if sender.send(Process::start(command, files)).is_ok() {
            let _ = held.recv();
        }
    })?;
    match started.recv_timeout(program.patience) {
        Ok(process) => Ok((Some(process?), hold)),
        Err(_) => Ok((None, hold)),
    }
}

impl Process {
    fn start(mut command: Command, files: Files) -> io::Result<Self> {
        let mut child = command.stdin(files.input).stdout(files.code).stderr(files.words).spawn()?;
        let pid = Pid::from_child(&child);
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Self { child, pid, pidfd }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error.into())
            }
        }
    }

    /// Waits until it has ended, nobody wants it any more, or its time is up. None where it starves, which is looked for
    /// that often.
    fn end(mut self, abandoned: &PipeReader, wall: Duration, patience: Option<Duration>) -> io::Result<Option<End>> {
        let age = Stopwatch::start();
        loop {
            let mut waited = [
                PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(abandoned.as_fd(), PollFlags::IN),
            ];
            let left = wall.saturating_sub(age.elapsed());
            let ready = wait(&mut waited, patience.map_or(left, |patience| left.min(patience)))?;
            let has_ended = !waited[0].revents().is_empty();
            if ready == 0 && age.elapsed() < wall {
                if patience.is_some() && is_starved(self.pid, age.elapsed()) {
                    return self.finish().map(|_| None);
                }
                continue;
            }
            let status = self.finish()?;
            return Ok(Some(match (has_ended, ready) {
                (true, _) => End::Ended(status),
                (false, 0) => End::Overdue,
                (false, _) => End::Abandoned,
            }));
        }
    }

    /// Kills what is left of it and of whatever it may have started: its number is its own until it is waited for.
    fn finish(&mut self) -> io::Result<ExitStatus> {
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // After an end this does nothing: the number is given up with the first wait, and the library knows.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process of that age has had next to nothing of a processor.
fn is_starved(pid: Pid, age: Duration) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    used(&stat, rustix::param::clock_ticks_per_second()).is_some_and(|used| used * SHARE_MIN < age)
}

/// The CPU time in what the system says of a process, see proc_pid_stat(5).
fn used(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut times = behind_name.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = times.next()?.ok()? + times.next()?.ok()?;
    Some(Duration::from_millis(ticks * 1_000 / ticks_per_second))
}

/// Tries it again while the system is busy, and not for ever: `gives_up` waits a little, and says whether nobody wants it
/// any more.
fn unless_busy(
    mut attempt: impl FnMut() -> io::Result<()>,
    mut gives_up: impl FnMut() -> io::Result<bool>,
) -> io::Result<()> {
    for _ in 1..SEAL_TRIES {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && !gives_up()? => {}
            other => return other,
        }
    }
    attempt()
}

fn is_abandoned(abandoned: &PipeReader, within: Duration) -> io::Result<bool> {
    Ok(wait(&mut [PollFd::from_borrowed_fd(abandoned.as_fd(), PollFlags::IN)], within)? > 0)
}

/// Waits for any of these, at most so long; how many of them are ready.
pub(in super::super) fn wait(waited: &mut [PollFd<'_>], most: Duration) -> io::Result<usize> {
    let timeout = Timespec::try_from(most).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
    // No signal is handled on this thread that would cut the wait short, and a second wait would only be longer.
    loop {
        match poll(waited, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

fn last_of(words: &File) -> io::Result<String> {
    let length = words.metadata()?.len();
    let start = length.saturating_sub(WORDS_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(length - start).unwrap_or(0)];
    words.read_exact_at(&mut bytes, start)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
