//! What a step of the wall clock between two lives of the host does to what is on disk: nothing that anybody would notice.
//!
//! While the host runs its time is carried on by how long the machine has been up. A later life begins with the wall clock as it is
//! then, and within one boot the machine's uptime tells by how much that was set. What waits for a while is moved along;
//! what happened stays as it was written, and so does a moment that somebody named.

use rusqlite::{Connection, Row};

use super::fault::{Fault, Outcome};
use super::recover::{meta, set_meta};
use super::sums;
use crate::clock::{Reckoning, UnixMs};
use crate::job::health::Kept;

/// Smaller steps are the rounding of two clocks.
const STEP_MS_MIN: u64 = 20;

/// By how much the wall clock was set forward, in all, since the jobs that ended before a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Forward {
    ms: i64,
    until: UnixMs,
}

impl Forward {
    /// The cutoff for a job that ended then, so that it is kept for as long as was promised.
    pub(super) fn cutoff(self, finished_at: UnixMs, cutoff: UnixMs) -> UnixMs {
        if finished_at <= self.until { cutoff.moved(-self.ms) } else { cutoff }
    }
}

/// Compares with the life before, moves along what has to be moved, and remembers where this one stands.
pub(super) fn settle(conn: &Connection, here: Reckoning) -> Outcome<()> {
    let transaction = conn.unchecked_transaction()?;
    let earlier = Reckoning {
        now: UnixMs(meta(conn, "reckoned_ms")?),
        up_ms: meta(conn, "reckoned_up_ms")?,
        boot: meta(conn, "reckoned_boot")?,
    };
    let step_ms = here.step_ms(&earlier);
    if step_ms.unsigned_abs() >= STEP_MS_MIN {
        carry_over(conn, step_ms, here.now)?;
        tracing::warn!(step_ms, "the wall clock was set while the host was away: what waits is moved along");
    }
    set_meta(conn, "reckoned_ms", here.now.0)?;
    set_meta(conn, "reckoned_up_ms", here.up_ms)?;
    set_meta(conn, "reckoned_boot", here.boot)?;
    Ok(transaction.commit()?)
}

/// What the prunings have to know of earlier steps.
pub(super) fn forward(conn: &Connection) -> Outcome<Forward> {
    Ok(Forward { ms: meta(conn, "forward_ms")?, until: UnixMs(meta(conn, "forward_until_ms")?) })
}

fn carry_over(conn: &Connection, step_ms: i64, now: UnixMs) -> Outcome<()> {
    let was_now = now.moved(-step_ms);
    // Retries, be they due or not: their newest attempt says when.
    let sum = sums::of_attempt_with("next_run_ms", "max(next_run_ms + ?1, 0)");
    conn.execute(
        &format!(
            "UPDATE attempts SET next_run_ms = max(next_run_ms + ?1, 0), sum = {sum} \
             WHERE next_run_ms IS NOT NULL AND seq IN ( \
             SELECT max(seq) FROM attempts WHERE seq >= ?2 GROUP BY place \
             UNION ALL SELECT last_attempt FROM jobs WHERE end_state IS NULL AND last_attempt IS NOT NULL) \
             AND EXISTS (SELECT 1 FROM jobs WHERE jobs.place = attempts.place AND end_state IS NULL)"
        ),
        (step_ms, meta(conn, "attempts_floor")?),
    )?;
    let sum = sums::of_job_with("retried_ms", "max(retried_ms + ?1, 0)");
    conn.execute(
        &format!(
            "UPDATE jobs SET retried_ms = max(retried_ms + ?1, 0), sum = {sum} \
             WHERE end_state IS NULL AND retried_ms IS NOT NULL"
        ),
        [step_ms],
    )?;
    // What was due is due.
    let sum = sums::of_job_with("run_at_ms", "?1");
    conn.execute(
        &format!(
            "UPDATE jobs SET run_at_ms = ?1, sum = {sum} \
             WHERE end_state IS NULL AND run_at_ms > ?1 AND run_at_ms <= ?2"
        ),
        (now.0, was_now.0),
    )?;
    carry_over_downstreams(conn, step_ms)?;
    let known = forward(conn)?;
    set_meta(conn, "forward_ms", known.ms.saturating_add(step_ms).max(0))?;
    set_meta(conn, "forward_until_ms", known.until.max(was_now).0)
}

fn carry_over_downstreams(conn: &Connection, step_ms: i64) -> Outcome<()> {
    let damaged = |error: serde_json::Error| Fault::Damaged(format!("a health: {error}"));
    let mut statement = conn.prepare("SELECT plugin, downstream, health FROM downstreams")?;
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let rows: Vec<(String, String, String)> = statement.query_map((), row)?.collect::<Result<_, _>>()?;
    for (plugin, downstream, health) in rows {
        let kept: Kept = serde_json::from_str(&health).map_err(damaged)?;
        let health = serde_json::to_string(&kept.carried_over(step_ms)).map_err(damaged)?;
        let sql = "UPDATE downstreams SET health = ?3, \
                   sum = CASE WHEN sum = row_sum('downstream', plugin, downstream, health) \
                   THEN row_sum('downstream', ?1, ?2, ?3) ELSE sum END WHERE plugin = ?1 AND downstream = ?2";
        conn.prepare_cached(sql)?.execute((plugin, downstream, health))?;
    }
    Ok(())
}
