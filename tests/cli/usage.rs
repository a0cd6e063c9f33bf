//! Wrong usage: exit code 2, and one line that names the argument.

use std::os::unix::ffi::OsStrExt as _;

use crate::common::Setup;
use crate::said;

#[tokio::test]
async fn wrong_usage_is_one_line_that_names_the_argument() {
    let host = Setup::default().start().await;
    for (args, told) in [
        (&["serve", "--liste", "x"][..], "--liste"),
        (&["serve", "--listen", "nowhere"], "--listen"),
        (&["serve", "--log-format", "xml"], "--log-format"),
        (&["frobnicate"], "frobnicate"),
        (&[], "windlass --help"),
        (&["jobs"], "windlass jobs --help"),
        (&["enqueue"], "PLUGIN"),
        (&["token", "new"], "--scope"),
        (&["jobs", "list", "--server", "nonsense"], "--server"),
        (&["jobs", "list", "--server", "ftp://127.0.0.1"], "--server"),
        (&["jobs", "list", "--server", "http://127.0.0.1:99999"], "--server"),
        (&["jobs", "list", "--server", "http://[::1]:0/"], "--server"),
        (&["jobs", "list", "--server", "http://127.0.0.1:+7070"], "--server"),
        (&["jobs", "list", "--ca", "missing"], "--ca"),
        (&["jobs", "list", "--timeout", "0s"], "--timeout"),
        (&["jobs", "list", "--timeout", "soon"], "--timeout"),
        (&["jobs", "list", "--state", "lost"], "--state"),
        (&["enqueue", "http", "--idempotency-key", "a\nb"], "--idempotency-key"),
        (&["enqueue", "http", "--idempotency-key", ""], "--idempotency-key"),
        (&["enqueue", "http", "--delay", "soon"], "--delay"),
        (&["enqueue", "http", "--deadline", "never"], "--deadline"),
        (&["enqueue", "http", "--run-at", "tomorrow"], "--run-at"),
        (&["enqueue", "http", "--run-at", "2026-01-31T09:30:00Z", "--delay", "1s"], "--delay"),
        (&["enqueue", "http", "--wait", "long"], "--wait"),
        (&["enqueue", "http", "--downstream", ""], "--downstream"),
        (&["enqueue", "http", "--limit-key", "a\tb"], "--limit-key"),
        (&["enqueue", "http", "--payload", "@missing"], "--payload"),
        (&["enqueue", "http", "--label", "none"], "--label"),
        (&["enqueue", "http", "--label", "a:b=c"], "--label"),
        (&["jobs", "list", "--label", "a:b=c"], "--label"),
        (&["jobs", "list", "--limit", "0"], "--limit"),
        (&["downstreams", "list", "--limit", "0"], "--limit"),
        (&["enqueue", "http", "--label", "a=1", "--label", "b=1", "--label", "a=2"], "--label"),
        (&["enqueue", "http", "--max-attempts", "0"], "--max-attempts"),
        (&["downstreams", "hold", "erp", "--until", "tomorrow"], "--until"),
        (&["downstreams", "hold", "erp", "--for", "long"], "--for"),
        (&["downstreams", "limit", "erp", "--rate", "fast"], "--rate"),
    ] {
        let (code, stdout, stderr) = said(&host.command(args).output().unwrap());
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
        assert!(stderr.starts_with("windlass: ") && stderr.contains(told), "{args:?}: {stderr}");
    }
    let mut command = host.command(&["jobs", "list"]);
    let (code, _, stderr) = said(&command.env("WINDLASS_SERVER", "nonsense").output().unwrap());
    assert!(code == 2 && stderr.contains("WINDLASS_SERVER") && stderr.lines().count() == 1, "{stderr}");
    let odd = std::ffi::OsStr::from_bytes(b"caf\xe9");
    let mut command = host.command(&["jobs", "list"]);
    let (code, _, stderr) = said(&command.env("WINDLASS_TOKEN", odd).output().unwrap());
    assert!(code == 2 && stderr.contains("WINDLASS_TOKEN") && stderr.lines().count() == 1, "{stderr}");
    let (code, _, stderr) = said(&host.command(&["jobs", "list", "--token-file", "none"]).output().unwrap());
    assert!(code == 2 && stderr.contains("none") && stderr.lines().count() == 1, "{stderr}");
    let mut command = host.command(&["jobs", "show"]);
    let (code, _, stderr) = said(&command.arg(odd).output().unwrap());
    assert!(code == 2 && stderr.lines().count() == 1, "{stderr}");
}

#[tokio::test]
async fn a_named_file_that_cannot_be_read_is_wrong_usage_of_every_command() {
    let host = Setup::default().plugin("echo", b"no component".to_vec(), "").start().await;
    let key = "MCowBQYDK2VwAyEAskktoF6CrjXxH1/4wdvLUcFOkSynhNnsldh+DPobb04=";
    let echo = "plugins/echo.wasm";
    std::fs::write(host.dir().join("key.pem"), "").unwrap();
    for args in [
        &["serve", "--config", "none"][..],
        &["enqueue", "http", "--payload", "@none"],
        &["jobs", "list", "--token-file", "none"],
        &["jobs", "list", "--ca", "none"],
        &["plugin", "check", "none"],
        &["plugin", "run", "none"],
        &["plugin", "run", echo, "--grants", "none"],
        &["plugin", "test", echo, "none"],
        &["plugin", "dev", "none"],
        &["plugin", "wrap", "none", "-o", "x.wasm"],
        &["plugin", "put", "other", "none"],
        &["plugin", "put", "other", echo, "--signature", "none"],
        &["plugin", "sign", "--key", "none", echo],
        &["plugin", "verify", "--signed-by", key, "--name", "x", "none"],
        &["plugin", "verify", "--signed-by", key, echo, "--signature", "none"],
    ] {
        let (code, stdout, stderr) = said(&host.command(args).output().unwrap());
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (2, "", 1), "{args:?}: {stderr}");
        assert!(stderr.starts_with("windlass: ") && stderr.contains("none"), "{args:?}: {stderr}");
    }
    // What can be read and is not what it should be is another matter, and told by its name too.
    for args in [
        &["plugin", "check", echo][..],
        &["plugin", "put", "other", echo],
        &["plugin", "sign", "--key", "key.pem", echo],
        &["plugin", "verify", "--signed-by", key, echo],
    ] {
        let (code, _, stderr) = said(&host.command(args).output().unwrap());
        let file = if args.contains(&"key.pem") { "key.pem" } else { echo };
        assert!(code == 1 && stderr.contains(file), "{args:?}: {stderr}");
    }
}

#[tokio::test]
async fn help_and_the_version_are_data() {
    let host = Setup::default().start().await;
    for args in [&["--help"][..], &["-h"], &["serve", "--help"], &["jobs", "list", "--help"], &["--version"]] {
        let (code, stdout, stderr) = said(&host.command(args).output().unwrap());
        assert_eq!((code, stderr.as_str()), (0, ""), "{args:?}");
        assert!(stdout.contains("indlass"), "{args:?}: {stdout}");
    }
}

#[tokio::test]
async fn who_cannot_be_told_of_a_failure_has_its_exit_code() {
    let host = Setup::default().start().await;
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = host.command(&["jobs", "show", "no-such-job"]).stderr(full.try_clone().unwrap()).output().unwrap();
    let expected = host.command(&["jobs", "show", "no-such-job"]).output().unwrap();
    assert!(!expected.stderr.is_empty());
    assert_eq!(output.status.code(), expected.status.code());
    let output = host.command(&["token", "list"]).stderr(full).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}
