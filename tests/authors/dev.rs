//! `plugin dev`: what makes it go round, and what it leaves behind.

use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{code, err, fixture, out, run, windlass};

/// A project whose build takes no compiler: it copies a component.
fn project() -> TempDir {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::copy(fixture("plugin.wasm"), folder.path().join("made.bin")).unwrap();
    std::fs::copy(fixture("scenarios.toml"), folder.path().join("scenarios.toml")).unwrap();
    write(".gitignore", "*.wasm\ncache\n");
    write("orders.toml", "config = { erp = \"http://127.0.0.1:9\", token = \"t\" }\n");
    build(folder.path(), "");
    folder
}

/// Its build, which does something more at the end.
fn build(folder: &Path, more: &str) {
    let build = folder.join("build");
    let text = format!("#!/bin/sh\ncp made.bin .part && mv .part orders.wasm\n{more}\n");
    std::fs::write(&build, text).unwrap();
    std::fs::set_permissions(build, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The loop at work.
struct Dev {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Dev {
    fn start(folder: &Path) -> Self {
        let mut child = windlass(folder, &DEV).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// What it says up to a line with that word.
    fn until(&mut self, word: &str) -> String {
        let mut said = String::new();
        for line in self.lines.by_ref().map_while(Result::ok) {
            said = said + &line + "\n";
            if line.contains(word) {
                return said;
            }
        }
        panic!("the loop ended before it said {word:?}: {said}")
    }

    fn end(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn change_scenarios(folder: &Path, old: &str, new: &str) {
    let file = folder.join("scenarios.toml");
    let scenarios = std::fs::read_to_string(&file).unwrap();
    assert!(scenarios.contains(old));
    std::fs::write(file, scenarios.replace(old, new)).unwrap();
}

/// A pipe by which a build and a test wait for each other, where the loop does not look.
fn pipe(folder: &Path, name: &str) -> std::path::PathBuf {
    let path = folder.join("cache").join(name);
    std::fs::create_dir_all(folder.join("cache")).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    path
}

const DEV: [&str; 4] = ["plugin", "dev", "--listen", "127.0.0.1:0"];

#[test]
fn one_round_of_the_loop_builds_checks_swaps_and_tries() {
    let folder = project();
    let once = [&DEV[..], &["--once"]].concat();
    let output = run(folder.path(), &once);
    assert_eq!(code(&output), 0, "{}{}", out(&output), err(&output));
    for told in ["built orders.wasm", "checked: a plugin", "runs it as orders", "completed", "erp-number: 4711"] {
        assert!(out(&output).contains(told), "{told}: {}", out(&output));
    }
    std::fs::write(folder.path().join("made.bin"), "no component").unwrap();
    let output = run(folder.path(), &once);
    assert_eq!((code(&output), err(&output).contains("not WebAssembly")), (1, true), "{}", err(&output));
    std::fs::write(folder.path().join("build"), "#!/bin/sh\nexit 3\n").unwrap();
    let output = run(folder.path(), &once);
    assert_eq!((code(&output), out(&output).contains("./build failed")), (1, true), "{}", out(&output));
    std::fs::remove_file(folder.path().join("build")).unwrap();
    assert_eq!(code(&run(folder.path(), &once)), 2);
}

#[test]
fn the_loop_goes_round_when_a_file_changes() {
    let folder = project();
    let mut dev = Dev::start(folder.path());
    assert!(dev.until("waiting for a change").contains("completed"));
    change_scenarios(folder.path(), "status = 201", "status = 400");
    assert!(dev.until("waiting for a change").contains("not as expected"));
    dev.end();
}

#[test]
fn what_a_build_writes_by_itself_makes_it_go_round_no_more_than_a_few_times() {
    let folder = project();
    std::fs::remove_file(folder.path().join(".gitignore")).unwrap();
    build(folder.path(), "echo built >>log.txt; echo built >only-$$.txt");
    let rounds = |said: &str| said.matches("==> building").count();
    let mut dev = Dev::start(folder.path());
    let said = dev.until("waiting for a change");
    assert!((2..=5).contains(&rounds(&said)), "{said}");
    assert!(said.contains("log.txt") && said.contains(".gitignore"), "{said}");
    change_scenarios(folder.path(), "status = 201", "status = 400");
    let said = dev.until("waiting for a change");
    assert_eq!(rounds(&said), 1, "{said}");
    assert!(said.contains("not as expected"), "{said}");
    dev.end();
}

#[test]
fn a_change_during_a_build_makes_it_go_round_once_more() {
    let folder = project();
    let gate = pipe(folder.path(), "gate");
    build(folder.path(), "read line <cache/gate");
    // Opens when a build does, which then goes on.
    let open = || std::fs::OpenOptions::new().write(true).open(&gate).unwrap();
    let mut dev = Dev::start(folder.path());
    let mut first = open();
    change_scenarios(folder.path(), "status = 201", "status = 400");
    first.write_all(b"go on\n").unwrap();
    drop(first);
    let said = dev.until("==> changed during the build");
    assert!(said.contains("scenarios.toml"), "{said}");
    open().write_all(b"go on\n").unwrap();
    let said = dev.until("waiting for a change");
    assert_eq!(said.matches("==> building").count(), 1, "{said}");
    dev.end();
}

#[test]
fn a_folder_that_the_repository_around_it_ignores_is_looked_at_all_the_same() {
    let around = TempDir::new().unwrap();
    std::fs::write(around.path().join(".gitignore"), "*\n").unwrap();
    let folder = around.path().join("orders");
    std::fs::rename(project().keep(), &folder).unwrap();
    let mut dev = Dev::start(&folder);
    dev.until("waiting for a change");
    change_scenarios(&folder, "status = 201", "status = 400");
    assert!(dev.until("waiting for a change").contains("not as expected"));
    dev.end();
}

#[test]
fn what_a_build_has_started_ends_with_the_loop() {
    // The second one does not hear that it shall end.
    for (trap, held) in [("echo told >cache/told; exit 1", "sleep 333 & wait"), ("", "sleep 333; true")] {
        let folder = project();
        let pipe = pipe(folder.path(), "held");
        build(folder.path(), &format!("trap '{trap}' TERM; exec 9>cache/held; {held}"));
        let dev = Dev::start(folder.path());
        // Opens when the build does, and is at its end when the last of its processes is gone.
        let mut pipe = std::fs::File::open(&pipe).unwrap();
        dev.end();
        let (sender, gone) = mpsc::channel();
        std::thread::spawn(move || sender.send(pipe.read_to_end(&mut Vec::new())));
        let gone = gone.recv_timeout(Duration::from_secs(30));
        assert!(gone.is_ok(), "{held:?} goes on");
        assert_eq!(folder.path().join("cache/told").exists(), trap.contains("told"), "{held:?}");
    }
}

#[test]
fn a_sample_that_was_named_must_be_there() {
    let folder = project();
    std::fs::write(folder.path().join("build"), "#!/bin/sh\ntouch was-built\n").unwrap();
    for (words, told) in [
        (&["--scenarios", "nope.toml"][..], "--scenarios: "),
        (&["--sample", "typo"], "\"typo\""),
        (&["--scenarios", "scenarios.toml", "--sample", "typo"], "scenarios.toml"),
    ] {
        let output = run(folder.path(), &[&DEV[..], &["--once"], words].concat());
        assert_eq!((code(&output), err(&output).contains(told)), (2, true), "{words:?}: {}", err(&output));
        assert_eq!(err(&output).trim().lines().count(), 1, "{words:?}: {}", err(&output));
    }
    std::fs::remove_file(folder.path().join("scenarios.toml")).unwrap();
    let output = run(folder.path(), &[&DEV[..], &["--once", "--sample", "typo"]].concat());
    assert_eq!((code(&output), err(&output).contains("scenarios.toml")), (2, true), "{}", err(&output));
    assert!(!folder.path().join("was-built").exists());
    // Without a word of it there need not be any.
    build(folder.path(), "");
    let output = run(folder.path(), &[&DEV[..], &["--once"]].concat());
    assert_eq!((code(&output), out(&output).contains("no sample job")), (0, true), "{}", out(&output));
}
