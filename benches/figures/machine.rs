//! What the machine says of itself and of processes.

#![expect(clippy::disallowed_methods, reason = "benches measure real time")]

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A temporary folder.
pub use tempfile::TempDir as Folder;

/// How many processors there are.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The present.
pub fn now() -> Instant {
    Instant::now()
}

/// The median time of one write of 4 KiB over a written file, with its fdatasync.
pub fn fdatasync_median() -> Duration {
    let folder = Folder::new().expect("a temporary folder");
    let file = std::fs::File::create(folder.path().join("sync")).expect("a file");
    let page = [7_u8; 4_096];
    let write = |place: u64| {
        use std::os::unix::fs::FileExt as _;
        let started = now();
        file.write_all_at(&page, place * 4_096).expect("a write");
        rustix::fs::fdatasync(file.as_fd()).expect("a sync");
        started.elapsed()
    };
    for place in 0..256 {
        write(place);
    }
    let mut times: Vec<_> = (0..512).map(|place| write(place % 256)).collect();
    times.sort();
    times[times.len() / 2]
}

/// The CPU time that a process has used, of `/proc/PID/stat`.
pub fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    let fields: Vec<_> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("user") + fields[12].parse::<u64>().expect("system");
    Duration::from_millis(ticks * 10)
}

/// The CPU time that this process has used, to the nanosecond.
pub fn own_cpu() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(spent).expect("it grows from zero")
}

/// Measures how often this process does something, and what it costs.
pub struct Meter {
    started: Instant,
    cpu_before: Duration,
}

impl Meter {
    /// From now on.
    pub fn start() -> Self {
        Self { started: now(), cpu_before: own_cpu() }
    }

    /// How long it has been.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Where it was done so often until now: how many a second, and CPU microseconds of this process for each.
    pub fn numbers(&self, count: usize) -> Vec<f64> {
        let cpu_used = own_cpu() - self.cpu_before;
        vec![count as f64 / self.elapsed().as_secs_f64(), cpu_used.as_secs_f64() * 1e6 / count as f64]
    }
}

/// The resident memory of a process, in KiB.
pub fn resident_kib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line of VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("KiB")
}

/// The same without what is there once and mapped often: the pages of a plugin's file, that each of its guests reads.
pub fn held_kib(pid: u32) -> f64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the process lives");
    let line = rollup.lines().find(|line| line.starts_with("Pss:")).expect("a line of Pss");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("KiB")
}

/// How many mappings of memory a process has. The system allows as many as `vm.max_map_count`.
pub fn maps(pid: u32) -> usize {
    std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process lives").lines().count()
}

/// How many mappings of memory a process may have.
pub fn maps_max() -> String {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").expect("the system is Linux").trim().to_owned()
}

/// Lets this process, and those that it starts, have as many open files as the system allows. How many that is.
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let got = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    got.unwrap_or(u64::MAX)
}
