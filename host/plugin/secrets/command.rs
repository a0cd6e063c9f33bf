//! A secret that a program prints. It runs by itself, without a shell, for a bounded time, and ends with all that it
//! started.

use std::io::{self, PipeReader, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags};
use zeroize::Zeroizing;

use super::super::compile::wait;
use super::super::load_error::Unusable;
use super::super::text;
use super::running::{Running, kill};
use super::source::SECRET_BYTES_MAX;
use crate::clock::Stopwatch;

/// How long it may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What is kept of what it prints: enough to see that it is too much.
const KEPT_BYTES_MAX: usize = SECRET_BYTES_MAX as usize + 1;
/// What is told of its standard error.
const TOLD_BYTES_MAX: usize = 512;

/// Those of this process.
static RUNNING: Running = Running::new();

/// Ends all commands that run, with all that they started, and those that are started from here on: for a host that ends.
pub fn end_commands() {
    RUNNING.end();
}

/// What it printed. Blocks until it has ended.
pub(super) fn output(words: &[String]) -> Result<Zeroizing<Vec<u8>>, Unusable> {
    within(words, TIMEOUT, &RUNNING)
}

fn within(words: &[String], timeout: Duration, running: &Running) -> Result<Zeroizing<Vec<u8>>, Unusable> {
    let (program, arguments) = words.split_first().ok_or_else(|| "command names no program".to_owned())?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let of_system = |error: &io::Error| Unusable::of_system(error, |error| format!("cannot run {program}: {error}"));
    let stopping = || Unusable::hosts_own(format!("{program} is not run any more: the host stops"));
    if running.is_over() {
        return Err(stopping());
    }
    let mut child = command.spawn().map_err(|error| of_system(&error))?;
    let group = Pid::from_child(&child);
    let noted = running.note(group);
    let ended = watch(&mut child, timeout);
    if ended.is_err() {
        // Not waited for yet, so that the number is still this group's.
        kill(group);
    }
    drop(noted);
    let status = child.wait().map_err(|error| format!("cannot wait for {program}: {error}"))?;
    if running.is_over() {
        return Err(stopping());
    }
    let (printed, said) = ended.map_err(|unusable| unusable.told(|why| format!("{program} {why}")))?;
    Ok(judge(program, status, printed, &said)?)
}

fn judge(
    program: &str,
    status: ExitStatus,
    printed: Zeroizing<Vec<u8>>,
    said: &[u8],
) -> Result<Zeroizing<Vec<u8>>, String> {
    if !status.success() {
        let said = text::line(&String::from_utf8_lossy(said), TOLD_BYTES_MAX);
        let said = if said.is_empty() { said } else { format!(": {said}") };
        return Err(format!("{program} failed ({status}){said}"));
    }
    if printed.len() as u64 > SECRET_BYTES_MAX {
        return Err(format!("{program} printed more than {SECRET_BYTES_MAX} bytes"));
    }
    Ok(printed)
}

type Printed = (Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>);

/// Reads both its streams until it has ended, without taking its number away. What it has left behind may hold them open
/// for as long as it likes: what lies in them at the end is all that there is.
fn watch(child: &mut Child, timeout: Duration) -> Result<Printed, Unusable> {
    let watch = Stopwatch::start();
    let unwatched = |error: io::Error| Unusable::hosts_own(format!("cannot be waited for: {error}"));
    let opened = rustix::process::pidfd_open(Pid::from_child(child), PidfdFlags::empty());
    let process = opened.map_err(|error| unwatched(error.into()))?;
    let mut printed = Stream::of(child.stdout.take()).map_err(unwatched)?;
    let mut said = Stream::of(child.stderr.take()).map_err(unwatched)?;
    loop {
        let left = timeout.saturating_sub(watch.elapsed());
        let pipes = [&printed, &said].into_iter().filter_map(|stream| stream.pipe.as_ref()).map(PipeReader::as_fd);
        let waited = std::iter::once(process.as_fd()).chain(pipes);
        let mut waited: Vec<_> = waited.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        wait(&mut waited, left).map_err(unwatched)?;
        if !waited[0].revents().is_empty() {
            printed.drain();
            said.drain();
            return Ok((printed.kept, said.kept));
        }
        if left.is_zero() {
            return Err(format!("did not end within {timeout:?}").into());
        }
        printed.read();
        said.read();
    }
}

/// One of its streams: as much as is wanted is kept, and the rest thrown away.
struct Stream {
    /// None once it has ended.
    pipe: Option<PipeReader>,
    kept: Zeroizing<Vec<u8>>,
}

impl Stream {
    fn of(pipe: Option<impl Into<OwnedFd>>) -> io::Result<Self> {
        let pipe = pipe.map(|pipe| PipeReader::from(pipe.into()));
        if let Some(pipe) = &pipe {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        // It has its whole room at once: what moves to a larger one leaves a copy behind that nobody wipes.
        Ok(Self { pipe, kept: Zeroizing::new(Vec::with_capacity(KEPT_BYTES_MAX)) })
    }

    /// Reads a piece where one is there. True where there may be more.
    fn read(&mut self) -> bool {
        let Some(pipe) = &mut self.pipe else { return false };
        let mut piece = Zeroizing::new([0_u8; 16 << 10]);
        match pipe.read(&mut piece[..]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Ok(length) if length > 0 => {
                let wanted = length.min(KEPT_BYTES_MAX - self.kept.len());
                self.kept.extend_from_slice(&piece[..wanted]);
                true
            }
            // One that breaks has ended too.
            _ => {
                self.pipe = None;
                false
            }
        }
    }

    /// Reads what lies there, of which no more is wanted than is kept: somebody may go on writing.
    fn drain(&mut self) {
        while self.kept.len() < KEPT_BYTES_MAX && self.read() {}
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::Signal;

    use super::*;

    fn run(words: &[&str], timeout: Duration) -> Result<Vec<u8>, String> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        within(&words, timeout, &Running::new()).map(|bytes| bytes.to_vec()).map_err(|unusable| unusable.why)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_it_prints_is_the_secret_and_no_shell_reads_its_words() {
        assert_eq!(run(&["printf", "%s", "$HOME;x"], LONG), Ok(b"$HOME;x".to_vec()));
        assert_eq!(run(&["cat"], LONG), Ok(Vec::new()), "its standard input is empty");
    }

    #[test]
    fn a_failure_tells_what_it_said_and_not_what_it_printed() {
        let error =
            run(&["sh", "-c", "echo s3cret; printf 'no such\\033[31m entry\\n' >&2; exit 3"], LONG).unwrap_err();
        assert!(error.contains("no such entry") && error.contains("exit status: 3"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
        let error = run(&["no-such-program-here"], LONG).unwrap_err();
        assert!(error.contains("cannot run no-such-program-here"), "{error}");
        let error = run(&["head", "-c", "70000", "/dev/zero"], LONG).unwrap_err();
        assert!(error.contains("more than 65536 bytes"), "{error}");
    }

    #[test]
    fn what_takes_too_long_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > '{}'; echo s3cret; wait", note.display());
        let error = run(&["sh", "-c", &script], Duration::from_millis(500)).unwrap_err();
        assert!(error.contains("did not end within") && !error.contains("s3cret"), "{error}");
        let Ok(noted) = std::fs::read_to_string(&note) else { return };
        let Ok(grandchild) = noted.trim().parse() else { return };
        let is_gone = || {
            let state = std::fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
            let _: i32 = grandchild;
            state.is_empty() || state.contains(") Z ")
        };
        let watch = Stopwatch::start();
        while !is_gone() {
            assert!(watch.elapsed() < LONG, "it goes on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_it_leaves_behind_keeps_nobody_waiting() {
        let printed = run(&["sh", "-c", "setsid sleep 1000 & echo $!"], Duration::from_secs(20));
        let printed = printed.map(|bytes| String::from_utf8(bytes).unwrap());
        let pid = printed.as_ref().unwrap().trim().to_owned();
        let its_output = std::fs::read_link(format!("/proc/{pid}/fd/1")).unwrap();
        let of_host = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let held = of_host.filter(|file| std::fs::read_link(file.path()).is_ok_and(|file| file == its_output)).count();
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).expect("it goes on by itself");
        assert_eq!(held, 0, "its output is let go of");
    }

    #[test]
    fn a_host_that_stops_ends_what_runs_and_starts_nothing_more() {
        let running = Running::new();
        let words = ["sh", "-c", "sleep 1000 & wait"].map(str::to_owned);
        let error = std::thread::scope(|scope| {
            let run = scope.spawn(|| within(&words, LONG, &running));
            while running.is_idle() && !run.is_finished() {
                std::thread::yield_now();
            }
            running.end();
            run.join().unwrap().unwrap_err()
        });
        assert!(error.why.contains("the host stops") && running.is_idle(), "{error:?}");
        let error = within(&["no-such-program-here".to_owned()], LONG, &running).unwrap_err();
        assert!(error.why.contains("the host stops"), "{error:?}");
    }
}
