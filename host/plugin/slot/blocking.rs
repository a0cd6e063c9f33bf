//! What blocks, off the threads that serve. Files are read and written there, and looked for.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::Duration;

use tokio::sync::oneshot;

use super::folder;

/// How long work may take before one more thread is asked for: it may wait for one that the system did not give.
const NO_THREAD: Duration = Duration::from_secs(1);

/// Does that work, as soon as the system has a thread for it.
pub(in super::super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, mut receiver) = oneshot::channel();
    // The receiver is gone where nobody waits any more.
    ask_for_thread(move || drop(sender.send(catch_unwind(AssertUnwindSafe(work)))));
    loop {
        match tokio::time::timeout(NO_THREAD, &mut receiver).await {
            Ok(Ok(Ok(done))) => return done,
            Ok(Ok(Err(panic))) => resume_unwind(panic),
            // It is not done any more: the runtime ends, and this with it.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => ask_for_thread(|| {}),
        }
    }
}

/// Where the system has no thread now and tokio has none itself, it panics; the work stays in its queue all the same, and
/// is done by the first thread that is there.
fn ask_for_thread(work: impl FnOnce() + Send + 'static) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(tokio::task::spawn_blocking(work))));
}

/// Looks through a folder, off the threads that serve.
pub(in super::super) async fn scan(dir: &Path) -> std::io::Result<folder::Scan> {
    let dir = dir.to_path_buf();
    blocking(move || folder::scan(&dir)).await
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn work_is_done_however_long_it_takes_and_its_panic_is_told() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let slow = tokio::spawn(blocking(move || receiver.recv().unwrap()));
        tokio::time::pause();
        tokio::time::advance(NO_THREAD * 3).await;
        tokio::time::resume();
        sender.send(7).unwrap();
        assert_eq!(slow.await.unwrap(), 7);
        let panic = AssertUnwindSafe(blocking(|| panic!("on purpose"))).catch_unwind().await.unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
    }
}
