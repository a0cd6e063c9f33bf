//! One run of a project's own `build`, in a process group of its own, so that all that it has started can be ended.

use std::future::Future;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

use crate::clock::Stopwatch;

/// How long it may take to end where it is told to.
const GRACE: Duration = Duration::from_secs(2);
/// How often it is looked whether the last of it is gone: nobody says so.
const LOOK: Duration = Duration::from_millis(10);

/// A build that runs. It ends with this value.
pub(super) struct Build {
    child: Child,
    started: Stopwatch,
    /// Until it has ended: then the number may be another's.
    group: Option<Pid>,
}

impl Build {
    /// Starts it.
    ///
    /// # Errors
    /// Where it cannot be run.
    pub(super) fn start(folder: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(folder.join("build"));
        // A Ctrl-C on the terminal is for the loop, which ends its build itself.
        command.current_dir(folder).stdin(Stdio::null()).process_group(0);
        if let Ok(own) = std::env::current_exe() {
            command.env("WINDLASS", own);
        }
        let started = Stopwatch::start();
        let child = command.spawn().context("cannot run ./build")?;
        let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        Ok(Self { child, started, group })
    }

    /// Waits for its end, and says how long it took.
    ///
    /// # Errors
    /// Where it failed.
    pub(super) async fn ended(&mut self) -> anyhow::Result<Duration> {
        let status = self.child.wait().await.context("cannot wait for ./build")?;
        self.group = None;
        anyhow::ensure!(status.success(), "./build failed; what it said stands above");
        Ok(self.started.elapsed())
    }

    /// Asks it and all that it has started to end, and kills what is left after a moment, or once `hurry` is done.
    pub(super) async fn end(mut self, hurry: impl Future) {
        self.signal(Signal::TERM);
        tokio::select! {
            () = self.gone() => self.group = None,
            () = tokio::time::sleep(GRACE) => {}
            _ = hurry => {}
        }
    }

    /// Waits for the last of its processes. The number is the group's as long as one of them is there.
    async fn gone(&mut self) {
        // It cannot be waited for where it has been already.
        let _ = self.child.wait().await;
        while self.group.is_some_and(|group| rustix::process::test_kill_process_group(group).is_ok()) {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It may have ended by itself meanwhile.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
