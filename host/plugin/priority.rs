//! How threads give way to those that serve.

use std::io;

/// How much a thread gives way that computes for plugins.
const NICENESS: i32 = 10;
/// The slice of such a thread, in nanoseconds: the longest that the system gives.
const SLICE_NS: u64 = 100_000_000;

/// Has the calling thread, and what it starts from here on, give way to others, and have a tenth of a processor that is never
/// idle. On Linux of 6.12 and later who wakes has the processor at once: there a thread goes on to the end of the shorter
/// slice of the two, which is milliseconds, unless the one that wakes has the shorter slice (sched(7); PREEMPT_SHORT and
/// RUN_TO_PARITY in the kernel's `kernel/sched/features.h`). So this one has the longest.
///
/// # Errors
/// Where the system does not let it.
pub fn give_way() -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: NICENESS,
        sched_priority: 0,
        // Older versions do not look at it.
        sched_runtime: SLICE_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: it reads the one structure that it is given, and of this thread (0) no more is changed than how it is scheduled.
    done(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })
}

/// Has the calling thread, and what it starts from here on, run only where no other wants to. There is no way back. On a machine
/// that is never idle it gets next to nothing.
///
/// # Errors
/// Where the system does not let it.
pub fn stand_back() -> io::Result<()> {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: it reads the one structure that it is given, and of this thread (0) no more is changed than its policy.
    done(unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const none) }.into())
}

fn done(answer: libc::c_long) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Of the calling thread: its niceness and its policy, see proc_pid_stat(5).
    fn scheduled() -> (i32, i32) {
        let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        (fields[16].parse().unwrap(), fields[38].parse().unwrap())
    }

    #[test]
    fn a_thread_gives_way_or_stands_back_alone() {
        let before = scheduled();
        let of_new = |set: fn() -> io::Result<()>| {
            let thread = std::thread::spawn(move || set().map(|()| scheduled()));
            thread.join().unwrap().unwrap()
        };
        assert_eq!(of_new(give_way), (NICENESS, libc::SCHED_OTHER));
        assert_eq!(of_new(stand_back).1, libc::SCHED_IDLE);
        assert_eq!(scheduled(), before);
    }
}
