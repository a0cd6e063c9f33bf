//! The call that says how a file stands.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use crate::control::{self, Wish};
use crate::real::{fail, real};

const INPUT_OUTPUT: c_int = 5;

#[unsafe(no_mangle)]
pub unsafe extern "C" fn statx(dir: c_int, path: *const c_char, flags: c_int, mask: c_uint, to: *mut c_void) -> c_int {
    let real = real!(c"statx" as fn(c_int, *const c_char, c_int, c_uint, *mut c_void) -> c_int);
    // SAFETY: where it is one, it is a path that ends with a zero.
    let path_bytes = if path.is_null() { &[] } else { unsafe { CStr::from_ptr(path) }.to_bytes() };
    let of: &[u8] = match control::get(Wish::LooksFail) {
        0 => b"\0",
        1 => b".wasm",
        _ => b".wasm.sig",
    };
    if path_bytes.ends_with(of) {
        return fail(INPUT_OUTPUT);
    }
    // SAFETY: passed on as it came; what it must be the caller knows.
    unsafe { real(dir, path, flags, mask, to) }
}
