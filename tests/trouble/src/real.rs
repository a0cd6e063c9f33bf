//! The C library's own functions, found behind this library.

use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_void};

/// A moment, as the C library has it.
#[repr(C)]
pub struct Timespec {
    pub secs: i64,
    pub nanos: c_long,
}

/// A moment, as `gettimeofday` has it.
#[repr(C)]
pub struct Timeval {
    pub secs: i64,
    pub micros: i64,
}

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    pub fn mmap(at: *mut c_void, length: usize, prot: c_int, flags: c_int, fd: c_int, offset: i64) -> *mut c_void;
    pub fn access(path: *const c_char, mode: c_int) -> c_int;
    pub fn lseek64(fd: c_int, offset: i64, whence: c_int) -> i64;
    pub fn usleep(micros: c_uint) -> c_int;
    pub fn __errno_location() -> *mut c_int;
}

/// The address of the next function of that name.
pub fn find(name: &CStr) -> usize {
    const NEXT: *mut c_void = -1_isize as *mut c_void;
    // SAFETY: the name ends with a zero; the answer is an address or null.
    let found = unsafe { dlsym(NEXT, name.as_ptr()) } as usize;
    assert!(found != 0, "the C library has no {name:?}");
    found
}

/// Fails as that error says.
pub fn fail<T: From<i8>>(errno: c_int) -> T {
    // SAFETY: each thread has an errno of its own.
    unsafe { *__errno_location() = errno };
    T::from(-1)
}

/// The real function of a signature: looked up once.
macro_rules! real {
    ($name:literal as fn($($arg:ty),*) -> $ret:ty) => {{
        static FOUND: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let mut found = FOUND.load(std::sync::atomic::Ordering::Relaxed);
        if found == 0 {
            found = $crate::real::find($name);
            FOUND.store(found, std::sync::atomic::Ordering::Relaxed);
        }
        // SAFETY: that is the function's signature in the C library.
        unsafe { std::mem::transmute::<usize, unsafe extern "C" fn($($arg),*) -> $ret>(found) }
    }};
}
pub(crate) use real;
