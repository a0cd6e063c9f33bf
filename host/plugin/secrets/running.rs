//! The commands that run. A host that ends takes them along.

use std::sync::Mutex;

use rustix::process::{Pid, Signal};

use crate::lock::lock;

/// The groups of commands that run.
#[derive(Debug)]
pub(super) struct Running(Mutex<Groups>);

#[derive(Debug)]
struct Groups {
    /// The numbers of those that were not waited for yet, so that the system gives them to nobody else.
    noted: Vec<Pid>,
    /// Nothing is to run any more.
    is_over: bool,
}

/// A group that may be ended at any moment. It is to be let go of before its process is waited for.
#[derive(Debug)]
pub(super) struct Noted<'a> {
    running: &'a Running,
    group: Pid,
}

impl Running {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Groups { noted: Vec::new(), is_over: false }))
    }

    /// Notes a group that was started; it ends at once where nothing is to run any more.
    pub(super) fn note(&self, group: Pid) -> Noted<'_> {
        let mut groups = lock(&self.0);
        groups.noted.push(group);
        if groups.is_over {
            kill(group);
        }
        Noted { running: self, group }
    }

    /// Ends those that run, and whatever is noted from here on.
    pub(super) fn end(&self) {
        let mut groups = lock(&self.0);
        groups.is_over = true;
        groups.noted.iter().copied().for_each(kill);
    }

    /// Whether nothing is to run any more.
    pub(super) fn is_over(&self) -> bool {
        lock(&self.0).is_over
    }

    /// Whether nothing runs.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        lock(&self.0).noted.is_empty()
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        lock(&self.running.0).noted.retain(|group| *group != self.group);
    }
}

/// Ends a process with its group. It may have ended by itself meanwhile.
pub(super) fn kill(group: Pid) {
    let _ = rustix::process::kill_process_group(group, Signal::KILL);
}
