//! The signals that ask to end.

use std::mem::MaybeUninit;
use std::ptr;

use anyhow::Context as _;
use futures_util::future::OptionFuture;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// From when it is made on, they no longer end the process by themselves.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Not where it was to be ignored from the beginning, as by `nohup`.
    hangup: Option<Signal>,
    /// A file that may grow no more is an error of whoever writes it.
    _file_size: Signal,
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
            hangup: if is_ignored(SignalKind::hangup()) { None } else { Some(listen(SignalKind::hangup())?) },
            _file_size: listen(SignalKind::from_raw(libc::SIGXFSZ))?,
        })
    }

    /// Waits for the next one, and says which.
    pub(super) async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            // The terminal that it was started from is closed.
            Some(_) = OptionFuture::from(self.hangup.as_mut().map(Signal::recv)) => SignalKind::hangup(),
        }
    }

    /// Waits for one more.
    pub(super) async fn another(mut self) {
        self.next().await;
    }
}

/// Whether the process was started so that it ignores that signal, and nobody has listened for it since.
fn is_ignored(kind: SignalKind) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: it asks alone, and zeros are an action too.
    unsafe {
        let asked = libc::sigaction(kind.as_raw_value(), ptr::null(), action.as_mut_ptr());
        asked == 0 && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
