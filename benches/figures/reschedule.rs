//! Failed attempts that are rescheduled durably while very many jobs wait in random order, beside a bare loop over SQLite
//! that appends the same rows.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use windlass::clock::{Chance, UnixMs};
use windlass::config::SyncMode;
use windlass::job::{Disposition, Evidence, Exchange};
use windlass::store::sqlite::SqliteStore;
use windlass::store::{Claimed, Finish, Store as _};

use crate::backlog::{self, Anybody, ended};
use crate::bare::{Bare, beside};
use crate::folder;
use crate::machine::{Meter, now, own_cpu};
use crate::pipeline::NATIVE;
use crate::role::{Player, alternate, answer_rounds};
use crate::table::{against, note, per_second, rounds, rows};

/// How many attempts are recorded at once, and how often that is done in a round.
const BATCH: usize = 512;
const BATCHES: usize = 100;
/// Over which time the jobs are spread.
const SPAN: Duration = Duration::from_secs(3_600);
const BEGIN: UnixMs = UnixMs(1_800_000_000_000);
/// Where a round's numbers have those of the claims that went before.
const CLAIM_RATE: usize = 2;

/// Measures and prints.
pub async fn report() {
    let folder = folder();
    let path = folder.path().join("bench.db");
    backlog::wait(&path, rows(), NATIVE, |draw| BEGIN.after(SPAN.mul_f64(draw))).await;
    compare(&path, "");
    compare(&path, "EXCHANGE");
}

fn compare(path: &Path, kept: &str) {
    let env = [("STORE", path.display().to_string()), ("KEPT", kept.to_owned())];
    let mut players = [Player::ready("reschedule", &env), Player::ready("reschedule-bare", &env)];
    let [host, bare] = alternate(rounds(), &mut players);
    let with = if kept.is_empty() { "" } else { ", with its call" };
    let name = format!("failed attempts rescheduled{with}, {} wait | bare", rows());
    against(&name, "  CPU for one", &host, &bare, ">= 200000/s");
    let bytes = wal_bytes(path, || drop(players[0].round())) / (BATCH * BATCHES) as f64;
    note("  bytes of WAL for one", &format!("{bytes:.0} B"), "<= 500");
    note("  handed out before that, their specs read from disk", &per_second(host.median(CLAIM_RATE)), "");
}

/// How many bytes of WAL are written meanwhile. Somebody reads all the while, so that the WAL is not begun anew.
fn wal_bytes(path: &Path, work: impl FnOnce()) -> f64 {
    let (reader, asker) = (beside(path), beside(path));
    reader.execute_batch("BEGIN; SELECT count(*) FROM meta;").expect("it reads");
    let frames = || -> f64 {
        let sql = "PRAGMA wal_checkpoint(NOOP)";
        asker.query_row(sql, (), |row| row.get(1)).expect("it says how long it is")
    };
    let before = frames();
    work();
    // A frame is a page of 4 KiB and its head.
    (frames() - before) * (4_096.0 + 24.0)
}

/// The host's store.
pub async fn host() {
    let path = std::env::var("STORE").expect("the store's path");
    let exchange = std::env::var("KEPT").is_ok_and(|kept| !kept.is_empty()).then(exchange);
    let mut retries = Retries {
        store: backlog::open(Path::new(&path), SyncMode::Full),
        chance: Chance::seeded(3),
        now: BEGIN,
        exchange,
    };
    answer_rounds(async || retries.round().await).await;
}

struct Retries {
    store: Arc<SqliteStore>,
    chance: Chance,
    now: UnixMs,
    exchange: Option<Exchange>,
}

impl Retries {
    /// Hands out a batch and records that it failed, again and again. The first two numbers are of the recording alone.
    async fn round(&mut self) -> Vec<f64> {
        let (mut claiming, mut recording, mut cpu_used) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        for _ in 0..BATCHES {
            let started = now();
            let claimed = self.claim().await;
            claiming += started.elapsed();
            let finishes = self.fail(&claimed);
            let (started, cpu_before) = (now(), own_cpu());
            self.store.finish(&finishes).await.expect("it is recorded");
            recording += started.elapsed();
            cpu_used += own_cpu() - cpu_before;
        }
        let jobs = (BATCH * BATCHES) as f64;
        vec![jobs / recording.as_secs_f64(), cpu_used.as_secs_f64() * 1e6 / jobs, jobs / claiming.as_secs_f64()]
    }

    /// The jobs that are due next: time goes on until there are as many.
    async fn claim(&mut self) -> Vec<Claimed> {
        let mut claimed = Vec::new();
        while claimed.len() < BATCH {
            self.now = self.now.after(SPAN.mul_f64((BATCH - claimed.len()) as f64 / rows() as f64));
            let most = BATCH - claimed.len();
            claimed.extend(self.store.claim(most, self.now, &mut Anybody).await.expect("jobs"));
        }
        claimed
    }

    /// Each is due again at some moment of the span.
    fn fail(&self, claimed: &[Claimed]) -> Vec<Finish> {
        let fail = |job: &Claimed| {
            let at = self.now.after(SPAN.mul_f64(self.chance.unit()));
            let exchanges = self.exchange.iter().cloned().collect();
            Finish {
                error: Some("503 Service Unavailable".to_owned()),
                code: Some("http-503".to_owned()),
                evidence: Evidence { exchanges, ..Evidence::default() },
                ..ended(job, self.now, Disposition::Retry { at, counted: false })
            }
        };
        claimed.iter().map(fail).collect()
    }
}

/// The call that failed.
fn exchange() -> Exchange {
    Exchange {
        method: "POST".to_owned(),
        url: "https://api.example.com/v1/orders".to_owned(),
        status: Some(503),
        retry_after_ms: None,
        error: None,
        started_at: BEGIN,
        head_us: Some(1_234),
        total_us: 1_300,
        sent_bytes: 220,
        received_bytes: 19,
    }
}

/// The bare loop.
pub async fn bare() {
    let folder = folder();
    let mut bare = Bare::create(&folder.path().join("bare.db"), SyncMode::Full);
    let chance = Chance::seeded(4);
    let has_exchange = std::env::var("KEPT").is_ok_and(|kept| !kept.is_empty());
    let exchanges = has_exchange.then(|| serde_json::to_string(&[exchange()]).expect("it is JSON"));
    let span_ms = SPAN.as_secs_f64() * 1e3;
    answer_rounds(async || {
        let meter = Meter::start();
        for _ in 0..BATCHES {
            let draw = || chance.unit();
            let failed = (0..BATCH).map(|_| ((draw() * 1e6) as i64, BEGIN.0 + (draw() * span_ms) as i64));
            bare.reschedule(failed, exchanges.as_deref());
        }
        meter.numbers(BATCH * BATCHES)
    })
    .await;
}
