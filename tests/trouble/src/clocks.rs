//! The clocks, shifted.

use std::ffi::{c_int, c_void};

use crate::control::{self, Wish};
use crate::real::{Timespec, Timeval, real};

/// Which wish shifts that clock. Clocks of processor time stay as they are.
fn shift_ns(clock: c_int) -> i64 {
    const WALL: [c_int; 2] = [0, 5];
    const STEADY: [c_int; 3] = [1, 4, 6];
    const WITH_SLEEP: c_int = 7;
    match clock {
        WITH_SLEEP => control::get(Wish::SteadyNs) + control::get(Wish::AsleepNs),
        clock if WALL.contains(&clock) => control::get(Wish::WallNs),
        clock if STEADY.contains(&clock) => control::get(Wish::SteadyNs),
        _ => 0,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, to: *mut Timespec) -> c_int {
    let real = real!(c"clock_gettime" as fn(c_int, *mut Timespec) -> c_int);
    // SAFETY: passed on as it came; what it must be the caller knows.
    let answer = unsafe { real(clock, to) };
    let shift_ns = shift_ns(clock);
    if answer == 0 && shift_ns != 0 {
        // SAFETY: the call went well, so there is a moment.
        let to = unsafe { &mut *to };
        let ns = to.secs * 1_000_000_000 + to.nanos + shift_ns;
        (to.secs, to.nanos) = (ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000));
    }
    answer
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn gettimeofday(to: *mut Timeval, zone: *mut c_void) -> c_int {
    let real = real!(c"gettimeofday" as fn(*mut Timeval, *mut c_void) -> c_int);
    // SAFETY: passed on as it came; what it must be the caller knows.
    let answer = unsafe { real(to, zone) };
    if answer == 0 && !to.is_null() {
        // SAFETY: the call went well, so there is a moment.
        unsafe { (*to).secs += control::get(Wish::WallNs) / 1_000_000_000 };
    }
    answer
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn time(to: *mut i64) -> i64 {
    let mut now = Timespec { secs: 0, nanos: 0 };
    // SAFETY: passed on as it came; what it must be the caller knows.
    unsafe { clock_gettime(0, &mut now) };
    if !to.is_null() {
        // SAFETY: the caller says where it wants the time.
        unsafe { *to = now.secs };
    }
    now.secs
}
