//! The layouts of the file, and what it must be to have one.

use rusqlite::Connection;

use super::fault::Fault;
use super::{recover, sums};

/// The layouts, in order. The file's `user_version` says how many of them it has.
pub(super) const MIGRATIONS: [&str; 5] = [
    include_str!("../migrations/0001_jobs.sql"),
    include_str!("../migrations/0002_downstreams.sql"),
    include_str!("../migrations/0003_limits.sql"),
    include_str!("../migrations/0004_sums.sql"),
    include_str!("../migrations/0005_begun.sql"),
];
/// The newest.
pub(super) const NEWEST: u32 = MIGRATIONS.len() as u32;

/// Which layout the file has; an error where it is none of ours, or one that this version does not know.
pub(super) fn of(conn: &Connection) -> Result<u32, String> {
    let plain = |error: rusqlite::Error| Fault::from(error).advice();
    let version: u32 = conn.query_row("PRAGMA user_version", (), |row| row.get(0)).map_err(plain)?;
    let tables: u32 = conn.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0)).map_err(plain)?;
    if version == 0 && tables > 0 {
        return Err(foreign());
    }
    unknown(version).map_or(Ok(version), Err)
}

/// What to say of a file that is none of ours.
pub(super) fn foreign() -> String {
    "it is an SQLite file, but not a windlass store".to_owned()
}

/// What to say of a layout that this version does not know.
pub(super) fn unknown(version: u32) -> Option<String> {
    (version > NEWEST)
        .then(|| format!("its layout is number {version}, and this windlass knows up to {NEWEST}: use a newer one"))
}

/// Brings a file from one layout to another, each step whole or not at all.
pub(super) fn bring(conn: &Connection, from: u32, to: u32) -> rusqlite::Result<()> {
    for (layout, number) in MIGRATIONS.iter().zip(1_u32..).skip(from as usize).take(to.saturating_sub(from) as usize) {
        let step = conn.unchecked_transaction()?;
        step.execute_batch(layout)?;
        step.pragma_update(None, "user_version", number)?;
        step.commit()?;
    }
    Ok(())
}

/// A new store of that layout, in memory alone.
pub(super) fn in_memory(layout: u32) -> rusqlite::Result<Connection> {
    let conn = Connection::open_in_memory()?;
    sums::register(&conn)?;
    bring(&conn, 0, layout)?;
    Ok(conn)
}

/// Makes a file of it that needs no log beside it, and says so in it.
pub(super) fn settle(conn: &Connection) -> rusqlite::Result<()> {
    recover::mark_open(conn, false)?;
    let _: String = conn.query_row("PRAGMA journal_mode = DELETE", (), |row| row.get(0))?;
    Ok(())
}
