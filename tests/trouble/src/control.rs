//! What a test wishes for: a page of numbers in a file that both have mapped.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicPtr, Ordering};

use crate::real;

pub use crate::wish::Wish;

const BYTES: usize = 4_096;

static PAGE: AtomicPtr<AtomicI64> = AtomicPtr::new(std::ptr::null_mut());

/// Maps the page. It stays mapped.
pub fn open(path: &Path) {
    let file = File::options().read(true).write(true).open(path).expect("the test made the page");
    // SAFETY: a shared mapping of a file that is that long and that nobody cuts.
    let page = unsafe { real::mmap(std::ptr::null_mut(), BYTES, 3, 1, file.as_raw_fd(), 0) };
    assert!(page as isize != -1, "the page cannot be mapped");
    PAGE.store(page.cast(), Ordering::Release);
}

/// The number; none where there is no page yet.
fn number(wish: Wish) -> Option<&'static AtomicI64> {
    let page = PAGE.load(Ordering::Acquire);
    // SAFETY: the page is mapped for ever, aligned, and longer than the list.
    (!page.is_null()).then(|| unsafe { &*page.add(wish as usize) })
}

/// What is wished for.
pub fn get(wish: Wish) -> i64 {
    number(wish).map_or(0, |number| number.load(Ordering::Acquire))
}

/// Counts one more.
pub fn count(wish: Wish) {
    if let Some(number) = number(wish) {
        number.fetch_add(1, Ordering::AcqRel);
    }
}

/// Counts down where it is counted; true for the one that comes to an end.
pub fn is_up(wish: Wish) -> bool {
    let less = |number: i64| (number > 0).then(|| number - 1);
    number(wish).is_some_and(|it| it.fetch_update(Ordering::AcqRel, Ordering::Acquire, less) == Ok(1))
}

/// Makes the next one the one that fails.
pub fn next_fails(wish: Wish) {
    if let Some(number) = number(wish) {
        number.store(1, Ordering::Release);
    }
}
