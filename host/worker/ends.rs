//! Ends of attempts on their way to the store. As many wait as are brief; those that bring much text wait within a bound of
//! bytes, and what is brief passes them: neither a slow disk nor a plugin that says more than the disk takes fills the
//! memory or keeps others from beginning.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::job::{Evidence, Outcome};
use crate::store::Finish;

/// How many brief ends may wait; when so many wait, no further attempt begins.
const BRIEF_MAX: usize = 4_096;
/// From so many bytes on an end is long.
const LONG_BYTES: usize = 4 << 10;
/// How many bytes of long ends may wait.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// So many are recorded in one go, ...
const BATCH_MAX: usize = 512;
/// ... and none more once they bring so many bytes, so that no 202 waits until a hundred long logs are written.
const BATCH_BYTES_MAX: usize = 128 << 10;
/// What a line or a call takes beside its text, about.
const LINE_BYTES: usize = 64;

/// Where ends go in.
#[derive(Clone)]
pub(super) struct Ends {
    brief: mpsc::Sender<End>,
    /// Bounded by `bytes`.
    long: mpsc::UnboundedSender<End>,
    bytes: Arc<Semaphore>,
}

/// Where they come out.
pub(super) struct Unrecorded {
    brief: mpsc::Receiver<End>,
    long: mpsc::UnboundedReceiver<End>,
}

/// Room for an end, given back when it is dropped.
pub(super) struct Room {
    bytes: usize,
    permit: Option<OwnedSemaphorePermit>,
}

struct End {
    finish: Finish,
    room: Room,
}

/// What is recorded in one go.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) finishes: Vec<Finish>,
    bytes: usize,
    /// Of the long ones.
    rooms: Vec<OwnedSemaphorePermit>,
}

pub(super) fn channel() -> (Ends, Unrecorded) {
    let ((brief, brief_out), (long, long_out)) = (mpsc::channel(BRIEF_MAX), mpsc::unbounded_channel());
    let bytes = Arc::new(Semaphore::new(WAITING_BYTES_MAX));
    (Ends { brief, long, bytes }, Unrecorded { brief: brief_out, long: long_out })
}

/// How many bytes of text and result an attempt leaves, about.
pub(super) fn bytes_of(outcome: &Outcome, evidence: &Evidence) -> usize {
    let lines = evidence.log.iter().map(|line| line.message.len() + LINE_BYTES);
    let calls = evidence.exchanges.iter().map(|call| call.url.len() + LINE_BYTES);
    let result = if let Outcome::Completed(completion) = outcome {
        let attributes = completion.attributes.iter().map(|(name, value)| name.len() + value.len());
        completion.body.len() + attributes.sum::<usize>()
    } else {
        0
    };
    lines.chain(calls).sum::<usize>() + result + outcome.message().map_or(0, str::len)
}

impl Ends {
    /// How many more brief ones may come; waits until it is one at least. None where nobody records any more.
    pub(super) async fn room(&self) -> usize {
        match self.brief.reserve().await {
            Ok(permit) => {
                drop(permit);
                // Attempts that end meanwhile may have taken it again.
                self.brief.capacity().max(1)
            }
            Err(_) => 0,
        }
    }

    /// Room for an end of so many bytes. Waits where long ones have taken all of it: whoever does keeps its place among
    /// the running attempts, so that its plugin goes on at the pace of the disk.
    pub(super) async fn room_for(&self, bytes: usize) -> Room {
        if bytes < LONG_BYTES {
            return Room { bytes, permit: None };
        }
        let permits = u32::try_from(bytes.min(WAITING_BYTES_MAX)).expect("fewer than four thousand million");
        let permit = self.bytes.clone().acquire_many_owned(permits).await.expect("it is never closed");
        Room { bytes, permit: Some(permit) }
    }

    /// False where nobody records any more.
    pub(super) async fn send(&self, finish: Finish, room: Room) -> bool {
        let end = End { finish, room };
        if end.room.permit.is_some() { self.long.send(end).is_ok() } else { self.brief.send(end).await.is_ok() }
    }
}

impl Unrecorded {
    /// Waits for an end; then takes what waits after `pause`, as much as goes into one batch. None once every sender is
    /// gone and nothing waits.
    pub(super) async fn next(&mut self, pause: impl Future<Output = ()>) -> Option<Batch> {
        let mut batch = Batch::default();
        tokio::select! {
            biased;
            Some(end) = self.brief.recv() => batch.push(end),
            Some(end) = self.long.recv() => batch.push(end),
            else => return None,
        }
        pause.await;
        while !batch.is_full()
            && let Ok(end) = self.brief.try_recv()
        {
            batch.push(end);
        }
        // One at least, however many brief ones there are.
        while (!batch.is_full() || batch.rooms.is_empty())
            && let Ok(end) = self.long.try_recv()
        {
            batch.push(end);
        }
        Some(batch)
    }
}

impl Batch {
    fn push(&mut self, End { finish, room }: End) {
        self.finishes.push(finish);
        self.bytes += room.bytes;
        self.rooms.extend(room.permit);
    }

    /// Whether more may wait.
    pub(super) fn is_full(&self) -> bool {
        self.finishes.len() >= BATCH_MAX || self.bytes >= BATCH_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;
    use crate::clock::UnixMs;
    use crate::job::{Completion, Disposition, HostFault, JobId, LogLevel, LogLine, OutcomeKind};
    use crate::store::Lease;

    const LONGEST: usize = 256 << 10;

    fn finish(attempt: u32) -> Finish {
        let lease = Lease { job: JobId::from_parts(1, 1), token: 1 };
        Finish::bare(lease, attempt, UnixMs(0), UnixMs(0), OutcomeKind::Completed, Disposition::Complete)
    }

    async fn send(ends: &Ends, attempt: u32, bytes: usize) {
        assert!(ends.send(finish(attempt), ends.room_for(bytes).await).await);
    }

    async fn next(unrecorded: &mut Unrecorded) -> Batch {
        unrecorded.next(std::future::ready(())).await.expect("something waits")
    }

    fn attempts(batch: &Batch) -> Vec<u32> {
        batch.finishes.iter().map(|finish| finish.attempt).collect()
    }

    #[test]
    fn lines_results_and_messages_count() {
        let line = LogLine { at_ms: 0, level: LogLevel::Info, message: "x".repeat(100) };
        let evidence = Evidence { log: vec![line; 3], ..Evidence::default() };
        let completion = Completion { body: "y".repeat(5_000).into(), ..Completion::default() };
        assert_eq!(bytes_of(&Outcome::Completed(completion), &evidence), 3 * (100 + LINE_BYTES) + 5_000);
        let failed = Outcome::Host(HostFault::Interrupted, "z".repeat(70));
        assert_eq!(bytes_of(&failed, &Evidence::default()), 70);
    }

    #[tokio::test]
    async fn long_ends_wait_for_room_and_brief_ones_do_not() {
        let (ends, mut unrecorded) = channel();
        for attempt in 0..64 {
            send(&ends, attempt, LONGEST).await;
        }
        let mut waiting = std::pin::pin!(ends.room_for(LONGEST));
        assert!(futures_util::poll!(&mut waiting).is_pending(), "{WAITING_BYTES_MAX} bytes wait");
        send(&ends, 64, LONG_BYTES - 1).await;
        assert_eq!(ends.room().await, BRIEF_MAX - 1, "others may begin");
        let batch = next(&mut unrecorded).await;
        assert_eq!(attempts(&batch), [64, 0], "what is brief passes, and one long end goes with it");
        assert!(futures_util::poll!(&mut waiting).is_pending(), "it is not recorded yet");
        drop(batch);
        assert!(futures_util::poll!(&mut waiting).is_ready());
    }

    #[tokio::test]
    async fn a_batch_is_bounded_in_number_and_bytes() {
        let (ends, mut unrecorded) = channel();
        for attempt in 0..600 {
            send(&ends, attempt, 0).await;
        }
        for attempt in 600..640 {
            send(&ends, attempt, BATCH_BYTES_MAX / 4).await;
        }
        assert_eq!(attempts(&next(&mut unrecorded).await), (0..512).chain([600]).collect::<Vec<_>>());
        assert_eq!(attempts(&next(&mut unrecorded).await), (512..600).chain(601..605).collect::<Vec<_>>());
        assert_eq!(attempts(&next(&mut unrecorded).await), (605..609).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_is_longer_than_all_room_has_it_alone() {
        let (ends, mut unrecorded) = channel();
        send(&ends, 0, WAITING_BYTES_MAX * 2).await;
        assert!(futures_util::poll!(std::pin::pin!(ends.room_for(LONG_BYTES))).is_pending());
        drop(next(&mut unrecorded).await);
        ends.room_for(LONG_BYTES).await;
    }

    #[tokio::test]
    async fn all_that_waits_comes_before_the_end() {
        let (ends, mut unrecorded) = channel();
        for (attempt, bytes) in [(0, LONGEST), (1, 0), (2, LONGEST)] {
            send(&ends, attempt, bytes).await;
        }
        drop(ends);
        let mut all = Vec::new();
        while let Some(batch) = unrecorded.next(std::future::ready(())).await {
            all.extend(attempts(&batch));
        }
        assert_eq!(all, [1, 0, 2]);
    }

    #[tokio::test]
    async fn who_finds_no_room_hears_of_the_next() {
        let (ends, mut unrecorded) = channel();
        for attempt in 0..4_096 {
            send(&ends, attempt, 0).await;
        }
        let mut waiting = std::pin::pin!(ends.room());
        assert_eq!(futures_util::poll!(&mut waiting), Poll::Pending);
        drop(next(&mut unrecorded).await);
        assert!(matches!(futures_util::poll!(&mut waiting), Poll::Ready(room) if room > 0));
        drop(unrecorded);
        assert_eq!(ends.room().await, 0);
    }
}
