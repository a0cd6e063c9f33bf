//! What becomes of a command that makes a file where it is interrupted.

use anyhow::Context as _;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::store::sqlite::discard_unfinished;

/// What is added to a signal's number to exit with, as shells tell of who ended by one.
const BY_SIGNAL: i32 = 128;

/// From now on the process leaves nothing half-made behind where it is told to end.
///
/// # Errors
/// Where the system gives no thread or no descriptors.
pub(super) fn leave_nothing_behind() -> anyhow::Result<()> {
    let why = "cannot listen for signals";
    let runtime = Builder::new_current_thread().enable_io().build().context(why)?;
    let kinds = (SignalKind::interrupt(), SignalKind::terminate());
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(kinds.0).context(why)?, signal(kinds.1).context(why)?)
    };
    let wait = move || {
        let kind = runtime.block_on(async {
            tokio::select! {
                biased;
                _ = interrupt.recv() => kinds.0,
                _ = terminate.recv() => kinds.1,
            }
        });
        discard_unfinished();
        std::process::exit(BY_SIGNAL + kind.as_raw_value());
    };
    std::thread::Builder::new().name("windlass-signals".to_owned()).spawn(wait).context(why)?;
    Ok(())
}
