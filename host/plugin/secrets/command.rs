//! A secret that a program prints. It runs by itself, without a shell, for a bounded time, and ends with all that it
//! started.

use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use zeroize::Zeroizing;

use super::super::load_error::Unusable;
use super::super::text;
use super::source::SECRET_BYTES_MAX;
use crate::clock::Stopwatch;

/// How long it may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What is told of its standard error.
const TOLD_BYTES_MAX: usize = 512;

/// What it printed. Blocks until it has ended.
pub(super) fn output(words: &[String]) -> Result<Zeroizing<Vec<u8>>, Unusable> {
    within(words, TIMEOUT)
}

fn within(words: &[String], timeout: Duration) -> Result<Zeroizing<Vec<u8>>, Unusable> {
    let (program, arguments) = words.split_first().ok_or_else(|| "command names no program".to_owned())?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let of_system = |error: &io::Error| Unusable::of_system(error, |error| format!("cannot run {program}: {error}"));
    let mut child = command.spawn().map_err(|error| of_system(&error))?;
    let ended = watch(&mut child, timeout);
    if ended.is_err() {
        // Not waited for yet, so that the number is still this group's.
        if let Some(group) = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)) {
            // It may have ended by itself meanwhile.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
    let status = child.wait().map_err(|error| format!("cannot wait for {program}: {error}"))?;
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

/// Reads both its streams to their ends and waits until it has ended, without taking its number away.
fn watch(child: &mut Child, timeout: Duration) -> Result<Printed, Unusable> {
    let watch = Stopwatch::start();
    let unwatched = |error| Unusable::hosts_own(format!("cannot be waited for: there is no thread: {error}"));
    let printed = read(child.stdout.take()).map_err(unwatched)?;
    let said = read(child.stderr.take()).map_err(unwatched)?;
    let ended = ended(child.id()).map_err(unwatched)?;
    let late = |_| format!("did not end within {timeout:?}");
    let left = || timeout.saturating_sub(watch.elapsed());
    let printed = printed.recv_timeout(left()).map_err(late)?;
    let said = said.recv_timeout(left()).map_err(late)?;
    ended.recv_timeout(left()).map_err(late)?;
    Ok((printed, said))
}

/// Reads a stream on a thread of its own: as much as is wanted, and the rest to throw it away.
fn read(stream: Option<impl Read + Send + 'static>) -> io::Result<Receiver<Zeroizing<Vec<u8>>>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::Builder::new().spawn(move || {
        let Some(mut stream) = stream else { return };
        let mut bytes = Zeroizing::new(Vec::with_capacity(4 << 10));
        // A stream that breaks has ended.
        let _ = stream.by_ref().take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
        // Nobody waits any more where it took too long.
        let _ = sender.send(bytes);
    })?;
    Ok(receiver)
}

fn ended(id: u32) -> io::Result<Receiver<()>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::Builder::new().spawn(move || {
        if let Some(id) = Pid::from_raw(i32::try_from(id).unwrap_or(0)) {
            // Fails only where it was waited for already.
            let _ = rustix::process::waitid(WaitId::Pid(id), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        }
        let _ = sender.send(());
    })?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &[&str], timeout: Duration) -> Result<Vec<u8>, String> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        within(&words, timeout).map(|bytes| bytes.to_vec()).map_err(|unusable| unusable.why)
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
}
