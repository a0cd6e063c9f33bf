//! A store that keeps nothing: the limit that a durable one is held against.

use async_trait::async_trait;
use tokio::sync::Mutex;
use windlass::clock::{Chance, UnixMs};
use windlass::job::gates::LaneRef;
use windlass::job::{Admission, IdSource, JobId};
use windlass::store::{
    Acted, AttemptDetail, Claimed, Counts, Enqueued, Finish, Finished, JobView, Keyed, LaneCounts, Lease, ListFilter,
    ListPage, NewJob, Pruned, Retention, Standing, Standings, Store, StoreError,
};

/// Accepts everything and forgets it.
pub struct NullStore {
    ids: Mutex<IdSource>,
    chance: Chance,
}

impl NullStore {
    /// An empty one, as it will ever be.
    pub fn new() -> Self {
        Self { ids: Mutex::new(IdSource::after(0)), chance: Chance::seeded(1) }
    }
}

#[async_trait]
impl Store for NullStore {
    async fn enqueue(&self, jobs: Vec<NewJob>, now: UnixMs) -> Result<Vec<Enqueued>, StoreError> {
        let mut ids = self.ids.lock().await;
        Ok(jobs.iter().map(|_| Enqueued::Created(ids.next(now, &self.chance))).collect())
    }

    async fn keyed(&self, _: &str) -> Result<Option<Keyed>, StoreError> {
        Ok(None)
    }

    async fn claim(&self, _: usize, _: UnixMs, _: &mut (dyn Admission + Send)) -> Result<Vec<Claimed>, StoreError> {
        Ok(Vec::new())
    }

    async fn release(&self, _: Vec<Lease>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn finish(&self, _: &[Finish]) -> Result<Vec<Finished>, StoreError> {
        Ok(Vec::new())
    }

    async fn renew(&self, _: &[Lease], _: UnixMs) -> Result<(), StoreError> {
        Ok(())
    }

    async fn rescue(&self, _: UnixMs) -> Result<Vec<Claimed>, StoreError> {
        Ok(Vec::new())
    }

    async fn next_due(&self) -> Result<Option<UnixMs>, StoreError> {
        Ok(None)
    }

    async fn changed(&self) {
        std::future::pending().await
    }

    async fn ended(&self, _: JobId) {}

    async fn unhold(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    async fn job(&self, _: JobId, _: UnixMs) -> Result<Option<JobView>, StoreError> {
        Ok(None)
    }

    async fn attempt(&self, _: JobId, _: u32) -> Result<Option<AttemptDetail>, StoreError> {
        Ok(None)
    }

    async fn list(&self, _: ListFilter, _: UnixMs) -> Result<ListPage, StoreError> {
        Ok(ListPage { jobs: Vec::new(), next: None })
    }

    async fn cancel(&self, _: JobId, _: UnixMs) -> Result<Acted, StoreError> {
        Ok(Acted::Unknown)
    }

    async fn retry(&self, _: JobId, _: UnixMs) -> Result<Acted, StoreError> {
        Ok(Acted::Unknown)
    }

    fn unfinished(&self, _: &str) -> (u64, u64) {
        (0, 0)
    }

    fn counts(&self) -> Counts {
        Counts::default()
    }

    fn lanes(&self, _: LaneRef<'_>, _: usize) -> Vec<LaneCounts> {
        Vec::new()
    }

    async fn prune(&self, _: Retention, _: UnixMs, _: usize) -> Result<Pruned, StoreError> {
        Ok(Pruned::default())
    }

    async fn standings(&self) -> Result<Standings, StoreError> {
        Ok(Standings::default())
    }

    async fn set_standing(&self, _: Standing) -> Result<(), StoreError> {
        Ok(())
    }

    fn health(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn takes_writes(&self) -> bool {
        true
    }
}
