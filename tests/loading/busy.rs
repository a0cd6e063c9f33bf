//! Compiling on a machine on which others never rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{Setup, guests};
use crate::support::{put, ready};

/// So many threads for each processor leave one that stands back a thousandth of it, and a compiler of low priority a
/// fortieth.
const BUSY: usize = 4;

#[tokio::test]
async fn a_component_is_compiled_where_no_processor_is_ever_idle() {
    let host = Setup::default().start().await;
    let ends = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..BUSY * std::thread::available_parallelism().unwrap().get())
        .map(|_| {
            let ends = ends.clone();
            std::thread::spawn(move || while !ends.load(Ordering::Relaxed) {})
        })
        .collect();
    put(&host, "echo.wasm", &guests::component("echo"));
    ready(&host, "echo").await;
    ends.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
