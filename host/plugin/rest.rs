//! Files at rest: one that may be half-written is not taken up.

use std::time::Duration;

use tokio::time::Instant;

/// How long a file must stay the same before it is read.
pub(super) const REST: Duration = Duration::from_millis(100);

/// Something as it was first seen like this.
#[derive(Debug)]
pub(super) struct Rest<S> {
    seen: S,
    since: Instant,
}

impl<S: PartialEq> Rest<S> {
    /// It is seen for the first time.
    pub(super) fn new(seen: S) -> Self {
        Self { seen, since: Instant::now() }
    }

    /// It is seen again; whether it has been the same for as long as is asked for.
    pub(super) fn is_over(&mut self, seen: S) -> bool {
        if self.seen != seen {
            *self = Self::new(seen);
        }
        self.has_lasted()
    }

    /// Whether it was the same for so long when it was seen last.
    pub(super) fn has_lasted(&self) -> bool {
        self.since.elapsed() >= REST
    }
}
