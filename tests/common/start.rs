//! A start that may fail.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// How a start ended.
#[derive(Debug)]
pub enum Start {
    /// It was ready, and was then killed.
    Ready,
    /// It gave up with that code, after these lines.
    Gone(Option<i32>, Vec<String>),
}

/// Starts a host in that folder until it is ready or gives up.
pub fn try_start(mut command: Command, folder: &Path) -> Start {
    command.args(["serve", "--listen", "127.0.0.1:0"]).current_dir(folder).env("NO_COLOR", "1");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the host starts");
    let mut said = Vec::new();
    for line in BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok) {
        assert!(!line.contains("panicked"), "{line}");
        if line.contains("windlass is ready") {
            child.kill().expect("it runs");
            child.wait().expect("it ends");
            return Start::Ready;
        }
        said.push(line);
    }
    Start::Gone(child.wait().expect("it ends").code(), said)
}
