//! The calls of an attempt whose records are still open. What is known of it is taken when all are written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::Attempt;

/// How long an attempt that is over waits for them: a guest on the threads for those that compute is dropped there, at
/// the end of its slice.
const PATIENCE: Duration = Duration::from_millis(250);

/// Counts them.
#[derive(Debug, Default)]
pub(in crate::plugin) struct CallsOut {
    open: AtomicU32,
    handed_over: AtomicU32,
    all_ended: Notify,
}

impl CallsOut {
    /// One more.
    pub(in crate::plugin) fn begin(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
    }

    /// The record of one is written.
    pub(in crate::plugin) fn end(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.all_ended.notify_one();
        }
    }

    /// Whether a guest has handed over a request of which the head of its answer has not come.
    pub(super) fn has_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire) > 0
    }

    /// Waits a little for those that were given up and not yet dropped.
    pub(super) async fn ended(&self) {
        let all = async {
            while self.open.load(Ordering::Acquire) > 0 {
                self.all_ended.notified().await;
            }
        };
        if self.open.load(Ordering::Acquire) > 0 {
            // Where it takes longer, what they would have written is lost.
            let _ = tokio::time::timeout(PATIENCE, all).await;
        }
    }
}

/// A request that the guest has handed over, from then on: what is to send it is looked at only when the guest waits.
#[derive(Debug)]
pub(in crate::plugin) struct HandedOver(Arc<Attempt>);

impl HandedOver {
    /// The guest hands one over.
    pub(in crate::plugin) fn now(attempt: Arc<Attempt>) -> Self {
        attempt.calls_out.handed_over.fetch_add(1, Ordering::AcqRel);
        attempt.calls_out.begin();
        Self(attempt)
    }
}

impl Drop for HandedOver {
    fn drop(&mut self) {
        self.0.calls_out.handed_over.fetch_sub(1, Ordering::AcqRel);
        self.0.calls_out.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_waits_until_the_last_record_is_written() {
        let calls = Arc::new(CallsOut::default());
        calls.ended().await;
        calls.begin();
        calls.begin();
        calls.end();
        let last = calls.clone();
        let ending = tokio::spawn(async move { last.end() });
        calls.ended().await;
        ending.await.unwrap();
        assert_eq!(calls.open.load(Ordering::Acquire), 0);
    }
}
