//! Handing out jobs, and taking them back unbegun.

use tokio::sync::oneshot;

use super::begun::Begun;
use super::effect::Effect;
use super::fault::Outcome;
use super::writer::{Group, Op, Writer};
use super::{Shared, SqliteStore};
use crate::clock::{LAST_MOMENT, UnixMs};
use crate::job::live::Handed;
use crate::job::{Admission, Lane};
use crate::store::{Claimed, Lease, StoreError};

impl SqliteStore {
    pub(super) async fn claim_due(
        &self,
        most: usize,
        now: UnixMs,
        admission: &mut (dyn Admission + Send),
    ) -> Result<Vec<Claimed>, StoreError> {
        self.shared.health()?;
        self.shared.saw(now);
        let handed = self.shared.memory().live.claim(most, now, admission);
        if handed.is_empty() {
            return Ok(Vec::new());
        }
        let read = self.shared.with_specs(&handed).await;
        let withdrawn = match &read {
            Ok((_, unreadable)) => self.shared.lay_aside(unreadable),
            Err(_) => self.shared.put_back(&handed),
        };
        withdrawn.into_iter().for_each(|(lane, started_at)| admission.withdrawn(&lane, started_at, now));
        let (claimed, unreadable) = read?;
        if !unreadable.is_empty() {
            // Others can have their places, and those on disk their room in memory.
            self.shared.changed.notify_one();
            self.tell(Op::Begun)?;
        }
        let written = match self.announce(handed.iter().filter(|job| !unreadable.contains(job)))? {
            Some(on_disk) => on_disk.await.unwrap_or_else(|_| Err(self.shared.failure())),
            None => Ok(()),
        };
        match written {
            Err(error @ StoreError::Failed(_)) => Err(error),
            // A full disk does not stop the work that frees it, nor does what another met in the same commit: a host that
            // dies of it before the next commit will not know.
            Ok(()) | Err(_) => Ok(claimed),
        }
    }

    pub(super) async fn claim_left_behind(&self) -> Result<Vec<Claimed>, StoreError> {
        self.shared.health()?;
        // Their starts are on disk: that is how they were found.
        let handed = self.shared.memory().live.rescue();
        let (claimed, unreadable) = self.shared.with_specs(&handed).await?;
        self.shared.lay_aside(&unreadable);
        Ok(claimed)
    }

    /// Tells the writer what begins. Only where a suspect is among it is there an answer to wait for.
    fn announce<'a>(
        &self,
        handed: impl Iterator<Item = &'a Handed>,
    ) -> Result<Option<oneshot::Receiver<Result<(), StoreError>>>, StoreError> {
        let mut has_suspect = false;
        let begun: Vec<Begun> = handed.inspect(|job| has_suspect |= job.suspect).map(Handed::begun).collect();
        if has_suspect {
            let (to, answer) = oneshot::channel();
            self.tell(Op::Start { begun, to })?;
            return Ok(Some(answer));
        }
        if self.shared.add_begun(begun) {
            self.tell(Op::Begun)?;
        }
        Ok(None)
    }
}

impl Shared {
    /// Jobs that cannot be read now can be handed out again. Answers what had let them in, and when.
    pub(super) fn put_back(&self, handed: &[Handed]) -> Vec<(Lane, UnixMs)> {
        let live = &mut self.memory().live;
        let put_back = |job: &Handed| Some((live.release(job.id.place(), job.token, LAST_MOMENT)?, job.started_at));
        handed.iter().filter_map(put_back).collect()
    }

    /// Jobs whose rows are damaged are not run, and do not keep others from running. They stay unfinished, for
    /// `windlass doctor` to tell of. Answers what had let them in, and when.
    fn lay_aside(&self, unreadable: &[Handed]) -> Vec<(Lane, UnixMs)> {
        if unreadable.is_empty() {
            return Vec::new();
        }
        let live = &mut self.memory().live;
        let aside = |job: &Handed| {
            let lane = live.lay_aside(job.id.place(), job.token, LAST_MOMENT)?;
            tracing::error!(
                job.id = %job.id,
                store = %self.readers.path().display(),
                "a job is damaged on disk and is not run; stop the host and run `windlass doctor`"
            );
            Some((lane, job.started_at))
        };
        unreadable.iter().filter_map(aside).collect()
    }
}

impl Handed {
    fn begun(&self) -> Begun {
        Begun { place: self.id.place(), n: self.attempt, started_at: self.started_at }
    }
}

impl Writer<'_> {
    pub(super) fn release(&mut self, leases: Vec<Lease>, group: &mut Group) -> Outcome<()> {
        for lease in leases {
            let place = lease.job.place();
            if group.touched.insert(place) && self.shared.memory().live.holds(place, lease.token) {
                self.begun.withdraw(place, &mut group.begun);
                group.effects.push(Effect::Released(lease));
            }
        }
        Ok(())
    }
}
