//! What the compiler's process gives up before it reads a byte of the component.

use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal};
use rustix::time::ClockId;

use super::super::compile::{CODE_BYTES_MAX, Order};

/// How much it gives way to whoever serves, at first.
const NICENESS: i32 = 10;
/// How much it gives way when it has taken long: as much as there is.
const NICENESS_MAX: i32 = 19;
/// CPU time after which it counts as one that takes long. What compilers make of a program of usual size takes less;
/// at the lowest priority a busy machine would keep it waiting for minutes.
const LONG: Duration = Duration::from_secs(5);
/// Open files: the three that it was given, and a few for a moment.
const FILES_MAX: u64 = 16;

/// Takes from this process what compiling does not need. `parent` is the host's.
pub(super) fn confine(order: &Order, parent: i32) -> Result<(), String> {
    die_with(parent)?;
    rustix::thread::set_no_new_privs(true).map_err(|error| format!("cannot give up new privileges: {error}"))?;
    // Where the system is short of memory this is what goes first. No right is needed to say so; where it cannot be
    // said, nothing is lost.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let _ = rustix::process::setpriority_process(None, NICENESS);
    let cpu_secs = order.bounds.cpu.0.as_millis().div_ceil(1_000);
    let cpu_secs = u64::try_from(cpu_secs).unwrap_or(u64::MAX);
    // At the first bound the system sends SIGXCPU, which says why; the second is for whoever survives that.
    limit(Resource::Cpu, cpu_secs, cpu_secs.saturating_add(2))?;
    limit(Resource::Fsize, CODE_BYTES_MAX, CODE_BYTES_MAX)?;
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Nofile, FILES_MAX, FILES_MAX)?;
    limit(Resource::As, order.bounds.memory.0, order.bounds.memory.0)
}

fn limit(resource: Resource, soft: u64, hard: u64) -> Result<(), String> {
    // Whoever started the host may have bounded it further already: that stays.
    let now = rustix::process::getrlimit(resource);
    let least = |wanted: u64, given: Option<u64>| Some(given.map_or(wanted, |given| given.min(wanted)));
    let maximum = least(hard, now.maximum);
    let new = Rlimit { current: least(soft, now.current), maximum };
    rustix::process::setrlimit(resource, new).map_err(|error| format!("cannot limit {resource:?}: {error}"))
}

/// Closes all files but the standard ones. Call it before any other is opened. The host's own are closed at this point
/// already; whoever started the host may have left some open.
pub(super) fn close_inherited() -> std::io::Result<()> {
    let open = std::fs::read_dir("/proc/self/fd")?;
    let numbers: Vec<i32> = open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    // The listing itself was among them, and is closed by now.
    let is_open = |number: &i32| std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok();
    for number in numbers.into_iter().filter(|number| *number > 2).filter(is_open) {
        // SAFETY: nothing in this process has opened a file yet that it still holds, so nobody here owns this one.
        unsafe { rustix::io::close(number) };
    }
    Ok(())
}

/// When the host dies, so does this process, however the host dies.
fn die_with(parent: i32) -> Result<(), String> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("cannot ask to end with the host: {error}"))?;
    // It may have died before that was asked.
    if rustix::process::getppid() == Pid::from_raw(parent) { Ok(()) } else { Err("the host is gone".to_owned()) }
}

/// Gives way as far as there is to go where the work takes long.
pub(super) fn sink_if_long() {
    let used = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
    if Duration::from_secs(used.tv_sec.try_into().unwrap_or(0)) < LONG {
        return;
    }
    // On Linux a priority is a thread's: that of each must be set. Where it fails, compiling is only less polite.
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return };
    for thread in threads.flatten() {
        let id = thread.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let _ = rustix::process::setpriority_process(id, NICENESS_MAX);
    }
}
