//! A recording of the real binary at work, over its starts and ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reqwest::Method;
use rustix::process::Signal;
use tempfile::TempDir;

use super::ledger::{Fact, Ledger};
use super::load;
use super::record::Record;
use crate::common::{Host, Setup, Trouble, Wish, try_start};

/// What the host is told: cancelled jobs are deleted while the load runs.
const CONFIG: &str = "[retention]\ncancelled = \"1s\"\nevery = \"200ms\"\n";
/// What a host is told that writes nothing of its own accord, so that a test knows whose sync it is that fails.
const QUIET: &str = "";
/// What a host is told that need not sync before it answers.
const RELAXED: &str = "[store]\nsync = \"normal\"\n";
/// How much longer each sync takes, so that an answer which does not wait for it comes before it.
const SYNC_US: i64 = 300;

/// What a host did, and what its clients saw.
pub struct Recording {
    pub record: Record,
    pub facts: Vec<Fact>,
    /// The compiled code that the host left in its data folder.
    pub beside: TempDir,
}

/// A host as all of these are set up.
pub fn setup() -> Setup {
    configured(CONFIG)
}

fn configured(config: &str) -> Setup {
    Setup::default().config(config).guest("misbehave", "").guest("echo", "")
}

/// A host with its disk recorded.
struct Recorder {
    host: Host,
    trouble: Trouble,
    ledger: Arc<Ledger>,
}

impl Recorder {
    async fn start(config: &str) -> Self {
        let trouble = Trouble::new();
        trouble.wish(Wish::SyncUs, SYNC_US);
        let ledger = Arc::new(Ledger::beside(trouble.record()));
        let host = trouble.around(configured(config), true).start().await;
        Self { host, trouble, ledger }
    }

    /// A host that has just begun its second life: its WAL holds none of the pages that are in the file.
    async fn second_life(seed: u64) -> Self {
        let mut recorder = Self::start(QUIET).await;
        load::run(&mut recorder.host, &recorder.ledger, seed, 20, None).await;
        recorder.start_again_in_order().await;
        recorder
    }

    async fn start_again_in_order(&mut self) {
        self.host.signal(Signal::TERM);
        assert_eq!(self.host.exited().await, 0);
        self.host.start().await;
    }

    /// Starts it once more, for a little work, and keeps what there is.
    async fn last_life(mut self, seed: u64) -> Recording {
        self.host.start().await;
        load::run(&mut self.host, &self.ledger, seed, 10, None).await;
        self.end()
    }

    /// How long the record is.
    fn position(&self) -> u64 {
        std::fs::metadata(self.trouble.record()).expect("there is a record").len()
    }

    /// Keeps what there is.
    fn end(self) -> Recording {
        let Self { mut host, trouble, ledger } = self;
        host.kill();
        let beside = TempDir::new().expect("a temporary folder");
        keep_beside(&host.dir().join("data"), beside.path());
        let record = Record::read(std::fs::read(trouble.record()).expect("there is a record"));
        Recording { record, facts: ledger.facts(), beside }
    }
}

impl Recording {
    /// Three lives of one store: the first is ended in order, the others are killed, one of them in mid-load.
    pub async fn make(seed: u64) -> Self {
        Self::three_lives(seed, CONFIG).await
    }

    /// The same with `store.sync = "normal"`.
    pub async fn relaxed(seed: u64) -> Self {
        Self::three_lives(seed, &format!("{CONFIG}{RELAXED}")).await
    }

    async fn three_lives(seed: u64, config: &str) -> Self {
        let mut recorder = Recorder::start(config).await;
        load::run(&mut recorder.host, &recorder.ledger, seed, 60, None).await;
        recorder.start_again_in_order().await;
        load::run(&mut recorder.host, &recorder.ledger, seed + 1, 60, Some(250)).await;
        recorder.host.start().await;
        load::run(&mut recorder.host, &recorder.ledger, seed + 2, 60, None).await;
        recorder.end()
    }

    /// Three lives: in the second a sync of the database (1) or of the WAL (2) fails and the host takes nothing more, until
    /// it is killed. Answers also where in the record the third one begins.
    pub async fn with_a_failed_sync(seed: u64, of: i64, which: i64) -> (Self, u64) {
        let mut recorder = Recorder::second_life(seed).await;
        recorder.trouble.wish(Wish::Errno, 5);
        recorder.trouble.wish(Wish::SyncOf, of);
        recorder.trouble.wish(Wish::SyncFails, which);
        // What the sync fails for changes pages all over the file.
        for number in 0..which {
            recorder.host.ask(Method::POST, "/v1/jobs/batch", Some(&load::wide_batch(number))).await;
        }
        // The database is synced when the WAL has grown long.
        load::run(&mut recorder.host, &recorder.ledger, seed + 1, 200, None).await;
        assert_eq!(recorder.host.ask(Method::GET, "/readyz", None).await.status(), 503, "the sync did not fail");
        recorder.host.kill();
        let position = recorder.position();
        (recorder.last_life(seed + 2).await, position)
    }

    /// Four lives: in the second the sync of a large transaction fails, and in the third, which finds that, the sync of that
    /// number. Answers also where in the record the third one begins; none where it has fewer syncs until it is ready.
    pub async fn with_a_failed_start(seed: u64, which: i64) -> Option<(Self, u64)> {
        let mut recorder = Recorder::second_life(seed).await;
        recorder.trouble.wish(Wish::Errno, 5);
        // The first sync is that of the WAL's beginning, where it was copied before.
        recorder.trouble.wish(Wish::SyncFails, 2);
        for number in 0..2 {
            recorder.host.ask(Method::POST, "/v1/jobs/batch", Some(&load::wide_batch(number))).await;
        }
        recorder.host.kill();
        assert_eq!(recorder.trouble.number(Wish::SyncFails), 0, "the sync of the transaction did not fail");
        let position = recorder.position();
        recorder.trouble.wish(Wish::SyncFails, which);
        // SQLite passes over one, that of the folder: the name of the WAL is known to be on the disk.
        _ = try_start(recorder.host.command(&[]), recorder.host.dir());
        if recorder.trouble.number(Wish::SyncFails) > 0 {
            return None;
        }
        Some((recorder.last_life(seed + 2).await, position))
    }

    /// Keeps it in that folder, to be read again.
    pub fn save(&self, folder: &Path) {
        std::fs::create_dir_all(folder).expect("a folder for what went wrong");
        std::fs::write(folder.join("record"), self.record.whole()).expect("a new file");
        std::fs::write(folder.join("facts.json"), serde_json::to_vec(&self.facts).expect("JSON")).expect("a new file");
        keep_beside(self.beside.path(), folder);
    }

    /// One that was kept.
    pub fn load(folder: &Path) -> Self {
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let beside = TempDir::new().expect("a temporary folder");
        keep_beside(folder, beside.path());
        let facts = serde_json::from_slice(&read("facts.json")).expect("facts");
        Self { record: Record::read(read("record")), facts, beside }
    }
}

/// Copies the compiled code and its key.
fn keep_beside(from: &Path, to: &Path) {
    let code = to.join("compiled");
    std::fs::create_dir_all(&code).expect("a new folder");
    let mut files: Vec<(PathBuf, PathBuf)> = vec![(from.join("compiled.key"), to.join("compiled.key"))];
    for entry in std::fs::read_dir(from.join("compiled")).expect("compiled code").map(|entry| entry.expect("a name")) {
        files.push((entry.path(), code.join(entry.file_name())));
    }
    for (from, to) in files {
        std::fs::copy(from, to).expect("a copy");
    }
}
