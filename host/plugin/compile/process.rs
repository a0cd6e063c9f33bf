//! The host's side of the compiler's process: starting it, waiting for it, ending it.
//!
//! One thread starts the process and stays until it has ended. The system ties the two together: where the thread that
//! started a process ends, a process that asked to die with its parent is killed.

use std::fs::File;
use std::io::{self, PipeReader, Seek as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::time::Timespec;
use tokio::sync::oneshot;

use super::super::{LoadCause, LoadError, report};
use super::verdict::{self, End};
use super::{Answer, Compiled, Order, SUBCOMMAND, anonymous, host_failed, request, seal};

/// What is read of the compiler's words: the end, where the answer stands. All names of a component take less.
const WORDS_BYTES_MAX: u64 = 4 << 20;
/// How often the code is tried to be sealed, and how long is waited in between. The system says that it is busy while it is
/// at one of the pages itself, to move it or to look at it.
const SEAL_TRIES: usize = 40;
const SEAL_PAUSE: Duration = Duration::from_millis(50);
/// What the process is called in lists of processes.
const SHOWN_NAME: &str = "windlass-compile";

/// Compiles in a process of that program. Who drops the future ends the process.
pub(super) async fn compile(program: PathBuf, order: Order, component: Bytes) -> Result<Compiled, LoadError> {
    // The thread sees its end closed when the other one is dropped, with this future.
    let (abandoned, wanted) = io::pipe().map_err(|error| host_failed("cannot make a pipe", &error))?;
    let (sender, answer) = oneshot::channel();
    let thread = std::thread::Builder::new().name("compiling".to_owned());
    let started = thread.spawn(move || {
        // The receiver is gone where nobody waits any more.
        let _ = sender.send(supervise(program, &order, &component, &abandoned));
    });
    started.map_err(|error| host_failed("there is no thread to compile from", &error))?;
    let answer = answer.await;
    drop(wanted);
    answer.unwrap_or_else(|_| Err(report::host_broke("the thread that compiles")))
}

fn supervise(program: PathBuf, order: &Order, component: &[u8], abandoned: &PipeReader) -> Result<Compiled, LoadError> {
    let failed = |what: &'static str| move |error: io::Error| host_failed(what, &error);
    let handed = request(order, component).and_then(|(input, begin)| Ok((input.try_clone()?, input, begin)));
    let (mut read, input, begin) = handed.map_err(failed("cannot hand the component to the compiler"))?;
    let (code, words) = (anonymous("code"), anonymous("words"));
    let code = code.map_err(failed("cannot make a file for the code"))?;
    let words = words.map_err(failed("cannot make a file for the answer"))?;
    let process = Process::start(program, input, &code, &words).map_err(failed("cannot start the compiler"))?;
    let end = process.end(abandoned, order.bounds.wall.0).map_err(failed("cannot wait for the compiler"))?;
    let words = last_of(&words).map_err(failed("cannot read the compiler's answer"))?;
    // The two share one place in the file. One that cannot be told may have been any.
    let has_begun = read.stream_position().map_or(true, |position| position > begin);
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

impl Process {
    fn start(program: PathBuf, input: File, code: &File, words: &File) -> io::Result<Self> {
        let mut child = Command::new(program)
            .arg0(SHOWN_NAME)
            .arg(SUBCOMMAND)
            .env_clear()
            // The program's allocator would set a gigabyte of the address space aside, which is bounded here.
            .env("MIMALLOC_ARENA_RESERVE", "0")
            .current_dir("/")
            // A Ctrl-C on the terminal is for the host, which ends its compilers itself.
            .process_group(0)
            .stdin(input)
            .stdout(code.try_clone()?)
            .stderr(words.try_clone()?)
            .spawn()?;
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

    /// Waits until it has ended, nobody wants it any more, or its time is up.
    fn end(mut self, abandoned: &PipeReader, wall: Duration) -> io::Result<End> {
        let mut waited = [
            PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(abandoned.as_fd(), PollFlags::IN),
        ];
        let ready = wait(&mut waited, wall)?;
        let has_ended = !waited[0].revents().is_empty();
        let status = self.finish()?;
        Ok(match (has_ended, ready) {
            (true, _) => End::Ended(status),
            (false, 0) => End::Overdue,
            (false, _) => End::Abandoned,
        })
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
fn wait(waited: &mut [PollFd<'_>], most: Duration) -> io::Result<usize> {
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
mod tests {
    use super::super::super::testing::{program, small_limits};
    use super::*;
    use crate::config::Compile;

    fn busy() -> io::Result<()> {
        Err(rustix::io::Errno::BUSY.into())
    }

    #[test]
    fn what_is_busy_is_tried_again_while_it_is_wanted() {
        let mut tries = 0;
        let mut after = |busy_tries: usize| {
            tries += 1;
            if tries <= busy_tries { busy() } else { Ok(()) }
        };
        unless_busy(|| after(3), || Ok(false)).unwrap();
        assert_eq!(tries, 4);
        let mut pauses = 0;
        let pause = || {
            pauses += 1;
            Ok(pauses == 2)
        };
        assert_eq!(unless_busy(busy, pause).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        assert_eq!(pauses, 2, "nobody wants it any more");
        assert_eq!(unless_busy(busy, || Ok(false)).unwrap_err().kind(), io::ErrorKind::ResourceBusy, "not for ever");
        let mut tries = 0;
        let denied = || {
            tries += 1;
            Err(rustix::io::Errno::PERM.into())
        };
        assert_eq!(unless_busy(denied, || Ok(false)).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(tries, 1);
    }

    #[test]
    fn who_drops_the_future_is_noticed() {
        let (abandoned, wanted) = io::pipe().unwrap();
        assert!(!is_abandoned(&abandoned, Duration::from_millis(1)).unwrap());
        drop(wanted);
        // A process that another thread is just starting may hold it for a moment.
        assert!(is_abandoned(&abandoned, Duration::from_secs(60)).unwrap());
    }

    #[tokio::test]
    async fn what_the_compiler_does_over_the_component_stays_and_all_else_is_tried_again() {
        for (script, is_hosts_own) in [
            ("exit 3", true),
            ("kill -s SEGV $$", true),
            ("head -c 4 > /dev/null; exit 3", true),
            ("cat > /dev/null; exit 3", false),
            ("cat > /dev/null; kill -s SEGV $$", false),
            ("cat > /dev/null; kill -s XCPU $$", false),
            ("cat > /dev/null; kill -s KILL $$", true),
            ("cat > /dev/null; kill -s TERM $$", true),
            (r#"echo '"starved"' >&2"#, false),
            (r#"echo '"panicked"' >&2"#, false),
            (r#"echo '{"failed": "there is no thread"}' >&2"#, true),
            (r#"echo '{"refused": {"summary": "no plugin", "cause": "host"}}' >&2"#, false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let program = program(dir.path(), &format!("PATH=/usr/bin:/bin; ulimit -c 0; {script}"));
            let error = compile(program, order(), Bytes::from_static(b"\0asm")).await.unwrap_err();
            assert_eq!(error.is_hosts_own(), is_hosts_own, "{script} gave {error:?}");
        }
        let nowhere = PathBuf::from("/nonexistent/windlass");
        assert!(compile(nowhere, order(), Bytes::new()).await.unwrap_err().is_hosts_own());
    }

    fn order() -> Order {
        Order { limits: small_limits(), bounds: Compile::default() }
    }
}
