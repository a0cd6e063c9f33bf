//! What the making of a connection tells the call that it is made for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

tokio::task_local! {
    /// The call whose request is being polled.
    static CALL: Call;
}

/// One call. The client knows nothing of it, and its pool may give the call a connection that was made for another; but it
/// begins to make one while it polls the request that wants it, and so the connection finds its call.
#[derive(Clone, Debug, Default)]
pub(super) struct Call {
    is_in_line: Arc<AtomicBool>,
}

/// A place in line for a socket.
pub(super) struct InLine(Call);

impl Call {
    /// Has that request find this call.
    pub(super) fn of<F: Future>(&self, request: F) -> impl Future<Output = F::Output> + use<F> {
        CALL.scope(self.clone(), request)
    }

    /// The call that a connection is wanted for at this moment.
    pub(super) fn that_asks() -> Self {
        CALL.try_with(Clone::clone).unwrap_or_default()
    }

    /// The connection that was begun for it waits for a socket until that is dropped.
    pub(super) fn stand_in_line(&self) -> InLine {
        self.is_in_line.store(true, Ordering::Release);
        InLine(self.clone())
    }

    /// Whether the connection that was begun for it waits for a socket.
    pub(super) fn is_in_line(&self) -> bool {
        self.is_in_line.load(Ordering::Acquire)
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        self.0.is_in_line.store(false, Ordering::Release);
    }
}
