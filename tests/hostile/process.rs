//! What a process holds, as `/proc` has it.

/// What a process holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Resident memory now, in KiB.
    pub resident_kib: u64,
    /// The most that it ever was, in KiB.
    pub peak_kib: u64,
    pub threads: u64,
    pub descriptors: u64,
}

impl Held {
    /// By that process.
    pub fn by(pid: i32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the host lives");
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of that name");
            line.trim_start_matches(':').split_whitespace().next().and_then(|text| text.parse().ok()).expect("a number")
        };
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the host lives").count() as u64;
        Self { resident_kib: number("VmRSS"), peak_kib: number("VmHWM"), threads: number("Threads"), descriptors }
    }
}
