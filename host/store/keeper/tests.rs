//! What is kept of downstreams, over a real store.

use std::time::Duration;

use super::*;
use crate::clock::Chance;
use crate::job::health::{Ended, Sign};
use crate::job::{Admission as _, Admit, JobSpec, PluginStanding};
use crate::store::NewJob;
use crate::store::sqlite::{SqliteOptions, SqliteStore};

const DAY: Duration = Duration::from_secs(86_400);
const NOW: UnixMs = UnixMs(1_767_323_045_000);

struct Host {
    gates: Arc<Mutex<Gates>>,
    keeper: HealthKeeper,
}

impl Host {
    async fn of(store: &Arc<SqliteStore>) -> Self {
        let mut gates = Gates::new(100);
        gates.set_standing("erp", PluginStanding::Ready);
        let gates = Arc::new(Mutex::new(gates));
        let keeper = HealthKeeper::new(store.clone(), gates.clone());
        keeper.restore().await.unwrap();
        Self { gates, keeper }
    }

    /// Its attempts say that.
    async fn learn(&self, downstream: &str, attempts: u32, sign: Sign) {
        let lane = Lane::new("erp", downstream);
        for _ in 0..attempts {
            let mut gates = lock(&self.gates);
            assert_eq!(gates.admit(&lane, NOW), Admit::Yes);
            gates.end(&lane, &Ended { started_at: NOW, sign: sign.clone(), latency: None }, NOW, 0.0);
        }
        self.keeper.keep(std::slice::from_ref(&lane), NOW).await.unwrap();
    }
}

async fn kept(store: &SqliteStore) -> Vec<String> {
    let downstreams = store.standings().await.unwrap().downstreams;
    let mut keys: Vec<_> = downstreams.iter().map(|(lane, _)| lane.downstream.to_string()).collect();
    keys.sort_unstable();
    keys
}

fn store(folder: &tempfile::TempDir) -> Arc<SqliteStore> {
    let file = folder.path().join("windlass.db");
    Arc::new(SqliteStore::open(&file, SqliteOptions::default(), Arc::new(Chance::seeded(1))).unwrap())
}

fn job(downstream: &str) -> NewJob {
    let spec = JobSpec::plain("erp", downstream, NOW);
    NewJob { spec, request_digest: [0; 32] }
}

#[tokio::test]
async fn what_is_past_is_forgotten_in_memory_and_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let host = Host::of(&store).await;
    let ill = Sign::Ill("503".into());
    let pause = |secs| Sign::Busy(Some(Duration::from_secs(secs)), "429".into());
    for n in 0..300 {
        host.learn(&format!("paused-{n}"), 1, pause(60)).await;
    }
    host.learn("long", 1, pause(999_999)).await;
    host.learn("down", 5, ill.clone()).await;
    host.learn("wanted", 5, ill).await;
    store.enqueue(vec![job("wanted")], NOW).await.unwrap();

    // Also of an earlier life.
    for host in [host, Host::of(&store).await] {
        host.keeper.forget_past(NOW.after(DAY)).await.unwrap();
        assert_eq!(kept(&store).await, ["down", "long", "wanted"]);
        let gates = lock(&host.gates);
        let health = |downstream| gates.health(&Lane::new("erp", downstream)).cloned();
        assert!(health("paused-7").is_none_or(|health| health.is_plain(NOW.after(DAY))));
        assert_eq!(gates.down().values().sum::<u64>(), 2);
    }
    let host = Host::of(&store).await;
    host.keeper.forget_past(NOW.after(2 * DAY)).await.unwrap();
    assert_eq!(kept(&store).await, ["long", "wanted"]);
    assert_eq!(lock(&host.gates).down().values().sum::<u64>(), 1);
}
