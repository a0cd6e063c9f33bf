//! What becomes of a command that makes a file where it is interrupted.

use anyhow::Context as _;
use tokio::runtime::Builder;
use tokio::signal::unix::SignalKind;

use super::signals::Signals;
use crate::store::sqlite::discard_unfinished;

/// From now on the process leaves nothing half-made behind where it is told to end.
///
/// # Errors
/// Where the system gives no thread or no descriptors.
pub(super) fn leave_nothing_behind() -> anyhow::Result<()> {
    let why = "cannot listen for signals";
    let runtime = Builder::new_current_thread().enable_io().build().context(why)?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    let wait = move || {
        let kind = runtime.block_on(signals.next());
        discard_unfinished();
        end_by(kind);
    };
    std::thread::Builder::new().name("windlass-signals".to_owned()).spawn(wait).context(why)?;
    Ok(())
}

/// Ends as if nobody had listened: a shell ends the loop around a command that an interrupt ended, and goes on behind one
/// that exited by itself.
fn end_by(kind: SignalKind) {
    let number = kind.as_raw_value();
    // SAFETY: both take numbers alone, and the first puts the system's own way in the place of tokio's.
    unsafe {
        libc::signal(number, libc::SIG_DFL);
        libc::raise(number);
    }
}
