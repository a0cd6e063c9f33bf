//! The calls that change files, and those that sync them.

use std::ffi::{c_char, c_int, c_uint, c_void};

use crate::control::{self, Wish};
use crate::entry::Event;
use crate::entry::Of;
use crate::names;
use crate::real::{self, fail, real};
use crate::record;

const NO_SPACE: c_int = 28;
const READ_ONLY: c_int = 30;
const O_WRITES: c_int = 3;
const O_CREAT: c_int = 0o100;

/// Why nothing new may be made; none: it may.
fn no_new() -> Option<c_int> {
    match (control::get(Wish::ReadOnly), control::get(Wish::Full)) {
        (0, 0) => None,
        (0, _) => Some(NO_SPACE),
        _ => Some(READ_ONLY),
    }
}

unsafe fn opened(path: *const c_char, flags: c_int, open: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: passed on as it came; what it must be the caller knows.
    let of = unsafe { names::of_c(path) };
    let Some(of) = of else {
        let fd = open();
        names::set_fd(fd, None);
        return fd;
    };
    let mut turn = record::turn();
    // SAFETY: passed on as it came; what it must be the caller knows.
    let is_new = flags & O_CREAT != 0 && unsafe { real::access(path, 0) } != 0;
    if is_new && let Some(errno) = no_new() {
        return fail(errno);
    }
    if flags & O_WRITES != 0 && control::get(Wish::ReadOnly) != 0 {
        return fail(READ_ONLY);
    }
    let fd = open();
    names::set_fd(fd, Some(of));
    if is_new && fd >= 0 {
        turn.note(Event::Made, of, 0, &[]);
    }
    fd
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    let real = real!(c"open" as fn(*const c_char, c_int, c_uint) -> c_int);
    // SAFETY: passed on as it came; what it must be the caller knows.
    unsafe { opened(path, flags, || real(path, flags, mode)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    let real = real!(c"open64" as fn(*const c_char, c_int, c_uint) -> c_int);
    // SAFETY: passed on as it came; what it must be the caller knows.
    unsafe { opened(path, flags, || real(path, flags, mode)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    let real = real!(c"close" as fn(c_int) -> c_int);
    names::set_fd(fd, None);
    // SAFETY: passed on as it came; what it must be the caller knows.
    unsafe { real(fd) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn mkdir(path: *const c_char, mode: c_uint) -> c_int {
    let real = real!(c"mkdir" as fn(*const c_char, c_uint) -> c_int);
    // SAFETY: passed on as it came; what it must be the caller knows.
    let of = unsafe { names::of_c(path) };
    // SAFETY: passed on as it came; what it must be the caller knows.
    let Some(of) = of else { return unsafe { real(path, mode) } };
    let mut turn = record::turn();
    // SAFETY: passed on as it came; what it must be the caller knows.
    let answer = unsafe { real(path, mode) };
    if answer == 0 {
        turn.note(Event::Made, of, 0, &[]);
    }
    answer
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    let real = real!(c"unlink" as fn(*const c_char) -> c_int);
    // SAFETY: passed on as it came; what it must be the caller knows.
    let of = unsafe { names::of_c(path) };
    // SAFETY: passed on as it came; what it must be the caller knows.
    let Some(of) = of else { return unsafe { real(path) } };
    if control::get(Wish::ReadOnly) != 0 {
        return fail(READ_ONLY);
    }
    let mut turn = record::turn();
    // SAFETY: passed on as it came; what it must be the caller knows.
    let answer = unsafe { real(path) };
    if answer == 0 {
        turn.note(Event::Removed, of, 0, &[]);
    }
    answer
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, length: usize) -> isize {
    let real = real!(c"write" as fn(c_int, *const c_void, usize) -> isize);
    // SAFETY: passed on as it came; what it must be the caller knows.
    let Some(of) = names::of_fd(fd) else { return unsafe { real(fd, bytes, length) } };
    // SAFETY: passed on as it came; what it must be the caller knows.
    let offset = unsafe { real::lseek64(fd, 0, 1) };
    // SAFETY: passed on as it came; what it must be the caller knows.
    unsafe { written(fd, of, bytes, length, offset, |length| real(fd, bytes, length)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(fd: c_int, bytes: *const c_void, length: usize, offset: i64) -> isize {
    let real = real!(c"pwrite64" as fn(c_int, *const c_void, usize, i64) -> isize);
    // SAFETY: passed on as it came; what it must be the caller knows.
    let Some(of) = names::of_fd(fd) else { return unsafe { real(fd, bytes, length, offset) } };
    // SAFETY: passed on as it came; what it must be the caller knows.
    unsafe { written(fd, of, bytes, length, offset, |length| real(fd, bytes, length, offset)) }
}

unsafe fn written(
    fd: c_int,
    of: Of,
    bytes: *const c_void,
    length: usize,
    offset: i64,
    write: impl FnOnce(usize) -> isize,
) -> isize {
    let mut turn = record::turn();
    let length = match allowed(fd, of, length, offset) {
        Ok(length) => length,
        Err(errno) => return fail::<i64>(errno) as isize,
    };
    let done = write(length);
    if let Ok(done) = usize::try_from(done) {
        // SAFETY: the caller has as many bytes there, and more.
        turn.note(Event::Written, of, offset, unsafe { std::slice::from_raw_parts(bytes.cast(), done) });
    }
    done
}

/// How much of a write is allowed.
fn allowed(fd: c_int, of: Of, length: usize, offset: i64) -> Result<usize, c_int> {
    if control::get(Wish::ReadOnly) != 0 {
        return Err(READ_ONLY);
    }
    if control::get(Wish::Full) != 0 {
        let room = (size(fd) - offset).max(0).unsigned_abs();
        let length = length.min(usize::try_from(room).unwrap_or(usize::MAX));
        return if length == 0 { Err(NO_SPACE) } else { Ok(length) };
    }
    if of == Of::Index {
        return Ok(length);
    }
    control::count(Wish::Writes);
    if !control::is_up(Wish::WriteFails) {
        return Ok(length);
    }
    if control::get(Wish::Short) != 0 && length > 1 {
        control::next_fails(Wish::WriteFails);
        return Ok(length / 2);
    }
    Err(errno())
}

fn errno() -> c_int {
    c_int::try_from(control::get(Wish::Errno)).unwrap_or(5)
}

/// How long the file is. Leaves its cursor where it was.
fn size(fd: c_int) -> i64 {
    // SAFETY: the cursor of an open file, moved and moved back while nobody else has the turn.
    unsafe {
        let here = real::lseek64(fd, 0, 1);
        let end = real::lseek64(fd, 0, 2);
        real::lseek64(fd, here, 0);
        end
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate64(fd: c_int, length: i64) -> c_int {
    let real = real!(c"ftruncate64" as fn(c_int, i64) -> c_int);
    // SAFETY: passed on as it came; what it must be the caller knows.
    let Some(of) = names::of_fd(fd) else { return unsafe { real(fd, length) } };
    if control::get(Wish::ReadOnly) != 0 {
        return fail(READ_ONLY);
    }
    let mut turn = record::turn();
    // SAFETY: passed on as it came; what it must be the caller knows.
    let answer = unsafe { real(fd, length) };
    if answer == 0 {
        turn.note(Event::Cut, of, length, &[]);
    }
    answer
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    let real = real!(c"fsync" as fn(c_int) -> c_int);
    // SAFETY: passed on as it came; what it must be the caller knows.
    synced(fd, || unsafe { real(fd) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    let real = real!(c"fdatasync" as fn(c_int) -> c_int);
    // SAFETY: passed on as it came; what it must be the caller knows.
    synced(fd, || unsafe { real(fd) })
}

fn synced(fd: c_int, sync: impl FnOnce() -> c_int) -> c_int {
    let Some(of) = names::of_fd(fd) else { return sync() };
    control::count(Wish::Syncs);
    record::turn().note(Event::SyncBegan, of, 0, &[]);
    let is_meant = [0, of as i64].contains(&control::get(Wish::SyncOf));
    if is_meant && control::is_up(Wish::SyncFails) {
        record::turn().note(Event::SyncFailed, of, 0, &[]);
        return fail(errno());
    }
    let answer = sync();
    // In parts: a signal ends a sleep.
    let mut micros = c_uint::try_from(control::get(Wish::SyncUs)).unwrap_or(0);
    while micros > 0 {
        let part = micros.min(1_000);
        // SAFETY: waits.
        unsafe { real::usleep(part) };
        micros -= part;
    }
    let event = if answer == 0 { Event::Synced } else { Event::SyncFailed };
    record::turn().note(event, of, 0, &[]);
    answer
}
