//! The limit of a durable queue: a loop over SQLite that writes what the host's store writes, into the same tables, with
//! nothing around it.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};
use windlass::config::SyncMode;
use windlass::store::sqlite::SqliteOptions;

/// What the plugin and the downstream of its jobs are called.
const NAME: &str = "native";

/// The loop's own connection.
pub struct Bare {
    conn: Connection,
    /// The place of the next job, which is its row.
    next: i64,
    /// Jobs from here up to the next one have no end yet.
    unfinished_from: i64,
}

impl Bare {
    /// Over a new file in the host's layout.
    pub fn create(path: &Path, sync: SyncMode) -> Self {
        drop(crate::store(path, SqliteOptions::default()));
        let conn = Connection::open(path).expect("it opens");
        let sync = if sync == SyncMode::Full { "FULL" } else { "NORMAL" };
        let settings = format!("PRAGMA synchronous = {sync}; PRAGMA cache_size = -16000; PRAGMA temp_store = MEMORY;");
        conn.execute_batch(&settings).expect("settings");
        conn.set_prepared_statement_cache_capacity(16);
        Self { conn, next: 1, unfinished_from: 1 }
    }

    /// Accepts so many jobs in one transaction.
    pub fn enqueue(&mut self, jobs: usize, payload: &[u8]) {
        self.transact(|bare| bare.insert(jobs, payload));
    }

    /// Accepts so many jobs and ends those that were accepted before, in one transaction.
    pub fn go_on(&mut self, jobs: usize, payload: &[u8]) {
        self.transact(|bare| {
            let accepted_before = bare.next;
            bare.insert(jobs, payload)?;
            bare.end_up_to(accepted_before)
        });
    }

    /// Records that the job at each of these places failed and is due again then, in one transaction; with the calls that
    /// the attempt made, where they are kept.
    pub fn reschedule(&mut self, failed: impl Iterator<Item = (i64, i64)>, exchanges: Option<&str>) {
        self.transact(|bare| {
            let mut attempt = bare.conn.prepare_cached(ATTEMPT)?;
            let sql = "INSERT INTO attempt_evidence (seq, dropped_bytes, exchanges) VALUES (?1, 0, ?2)";
            let mut evidence = bare.conn.prepare_cached(sql)?;
            for (place, due) in failed {
                let (kind, error, code) = ("try-again", Some("503 Service Unavailable"), Some("http-503"));
                attempt.execute(params![place, 1, due, due, kind, error, code, Some(due), 0])?;
                if let Some(exchanges) = exchanges {
                    evidence.execute(params![bare.conn.last_insert_rowid(), exchanges])?;
                }
            }
            Ok(())
        });
    }

    fn transact(&mut self, work: impl FnOnce(&mut Self) -> rusqlite::Result<()>) {
        let begin = |conn: &Connection, sql| conn.prepare_cached(sql).and_then(|mut it| it.execute(())).map(drop);
        begin(&self.conn, "BEGIN IMMEDIATE").and_then(|()| work(self)).expect("it is written");
        begin(&self.conn, "COMMIT").expect("it is on disk");
    }

    fn insert(&mut self, jobs: usize, payload: &[u8]) -> rusqlite::Result<()> {
        let mut job = self.conn.prepare_cached(
            "INSERT INTO jobs (place, tail, plugin, downstream, priority, run_at_ms, created_ms) \
             VALUES (?1, ?2, ?3, ?3, 0, ?4, ?4)",
        )?;
        let mut body = self.conn.prepare_cached("INSERT INTO payloads (place, body) VALUES (?1, ?2)")?;
        for _ in 0..jobs {
            let (place, tail) = (self.next, self.next.wrapping_mul(0x5851_F42D_4C95_7F2D) & i64::MAX);
            job.execute(params![place, tail, NAME, NOW_MS])?;
            body.execute(params![place, payload])?;
            self.next += 1;
        }
        Ok(())
    }

    fn end_up_to(&mut self, end: i64) -> rusqlite::Result<()> {
        let mut attempt = self.conn.prepare_cached(ATTEMPT)?;
        let sql = "UPDATE jobs SET end_state = 'completed', finished_ms = ?2, last_attempt = ?3 WHERE place = ?1";
        let mut ended = self.conn.prepare_cached(sql)?;
        let sql = "INSERT INTO results (place, content_type, body) VALUES (?1, '', x'')";
        let mut result = self.conn.prepare_cached(sql)?;
        let nothing = None::<&str>;
        for place in self.unfinished_from..end {
            attempt.execute(params![place, 1, NOW_MS, NOW_MS, "completed", nothing, nothing, None::<i64>, 0])?;
            ended.execute(params![place, NOW_MS, self.conn.last_insert_rowid()])?;
            result.execute([place])?;
        }
        self.unfinished_from = end;
        Ok(())
    }
}

/// A connection to look at a store's file beside the host, which leaves its WAL alone when it is closed.
pub fn beside(path: &Path) -> Connection {
    let conn = Connection::open(path).expect("it opens");
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).expect("a setting");
    conn
}

/// What stands for the time.
const NOW_MS: i64 = 1_800_000_000_000;

const ATTEMPT: &str = "INSERT INTO attempts (place, n, started_ms, finished_ms, kind, error, code, next_run_ms, \
                       failed, cpu_us, memory_peak_bytes, held) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, 0, 0)";
