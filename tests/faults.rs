//! Faults of the disk, the process and the clock, with the real binary: never a hang, never a false acknowledgement, never
//! a panic; one clear line, and a way out, which `docs/faults.md` tells.
//!
//!     cargo test --test faults -- --nocapture
//!     FAULTS_N=100 FAULTS_STOP_SECS=60 cargo test --test faults -- --nocapture
#![cfg(target_os = "linux")]

#[path = "faults/clock.rs"]
mod clock;
mod common;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/folder.rs"]
mod folder;
#[path = "faults/process.rs"]
mod process;
#[path = "faults/relaxed.rs"]
mod relaxed;
#[path = "faults/support.rs"]
mod support;
