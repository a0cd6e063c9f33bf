//! Stands between the host and the C library, by `LD_PRELOAD`, and is trouble there: it writes down what the host does to
//! its store's files, makes calls fail as a test asks, and shifts the clocks.
//!
//! The environment says where: `TROUBLE_CONTROL` names the page that a test writes its wishes on ([`control`]),
//! `TROUBLE_FOLDER` the data folder, `TROUBLE_RECORD` the file that takes the record ([`record`]), where there is to be one.

#![cfg(target_os = "linux")]

mod clocks;
mod control;
mod entry;
mod files;
mod looks;
mod names;
mod real;
mod record;
mod wish;

/// Runs before the program does. What the host starts itself is left in peace.
#[unsafe(link_section = ".init_array")]
#[used]
static BEGIN: extern "C" fn() = begin;

extern "C" fn begin() {
    // SAFETY: the dynamic linker runs this on the one thread that there is.
    unsafe { std::env::remove_var("LD_PRELOAD") };
    if let (Some(control), Some(folder)) = (std::env::var_os("TROUBLE_CONTROL"), std::env::var_os("TROUBLE_FOLDER")) {
        names::watch(folder.as_ref());
        record::open(std::env::var_os("TROUBLE_RECORD").as_deref().map(AsRef::as_ref));
        control::open(control.as_ref());
    }
}
