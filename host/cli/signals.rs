//! The signals that ask to end.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// From when it is made on, they no longer end the process by themselves.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// On the runtime that one is in.
    ///
    /// # Errors
    /// Where the system gives no descriptors.
    pub(super) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one, and says which.
    pub(super) async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            // The terminal that it was started from is closed.
            _ = self.hangup.recv() => SignalKind::hangup(),
        }
    }

    /// Waits for one more.
    pub(super) async fn another(mut self) {
        self.next().await;
    }
}
