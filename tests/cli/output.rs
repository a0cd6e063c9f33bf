//! What cannot be printed is not passed over; who closed the pipe has seen enough.

use std::fs::OpenOptions;
use std::process::Stdio;

use crate::common::Setup;
use crate::said;

#[tokio::test]
async fn output_that_cannot_be_written_is_a_failure_in_one_line() {
    let host = Setup::default().start().await;
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    for args in [
        &["jobs", "list", "--json"][..],
        &["jobs", "list"],
        &["plugin", "list"],
        &["token", "list", "--json"],
        &["backup", "copy.db", "--json"],
        &["plugin", "keygen", "key"],
        &["--help"],
        &["--version"],
    ] {
        let output = host.command(args).stdout(full.try_clone().unwrap()).output().unwrap();
        let (code, _, stderr) = said(&output);
        assert_eq!(code, 1, "{args:?}: {stderr}");
        assert!(stderr.contains("standard output") && stderr.lines().count() == 1, "{args:?}: {stderr}");
    }
}

#[tokio::test]
async fn who_closed_the_pipe_has_seen_enough() {
    let host = Setup::default().start().await;
    for args in [&["jobs", "list", "--json"][..], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = host.command(args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let (code, _, stderr) = said(&output);
        assert_eq!((code, stderr.as_str()), (0, ""), "{args:?}");
    }
}
