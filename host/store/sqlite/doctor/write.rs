//! Writing what is whole into a new store.

use rusqlite::{Connection, ErrorCode, OpenFlags, params_from_iter};

use super::census::{self, Census, Spot};
use super::judge::Judgement;
use super::pages::Pages;
use super::tables::Table;
use crate::clock::LAST_MOMENT;
use crate::store::StoreError;
use crate::store::sqlite::fault::{Fault, Outcome, damaged};
use crate::store::sqlite::new_file::NewFile;
use crate::store::sqlite::{begun, layout, open, recover, sums};

/// More openings than this are a damaged number.
const BOOTS_MAX: i64 = 1 << 20;
/// A place behind those that a moment of the calendar gives is a damaged number.
const PLACE_MAX: i64 = LAST_MOMENT.0 << 15;

/// A new store in the making.
struct Salvage<'a> {
    conn: &'a Connection,
    pages: &'a Pages,
    census: &'a Census,
}

/// Fills that file with the jobs that are whole, and with what belongs to no job. Answers the jobs that could not be
/// taken over after all.
pub(super) fn fill(
    file: &NewFile,
    pages: &Pages,
    census: &Census,
    judgement: &Judgement,
) -> Result<Vec<(i64, String)>, StoreError> {
    let refusal = |error: Fault| open::unwritten(file.shown(), &std::io::Error::other(error.advice()));
    let refused = begin(file, census.layout)
        .and_then(|conn| {
            let transaction = conn.unchecked_transaction()?;
            let refused = Salvage { conn: &conn, pages, census }.write(judgement)?;
            transaction.commit()?;
            Ok(refused)
        })
        .map_err(refusal)?;
    // Brings an older layout to the newest, which gives rows without sums theirs.
    let conn = open::writer(file.path())?;
    begin_anew(&conn, census, judgement, &refused).map_err(refusal)?;
    layout::settle(&conn).map_err(|error| refusal(error.into()))?;
    Ok(refused)
}

/// Takes over which attempts had begun, in the newest layout whatever it was. What is past the opening passes over.
fn begin_anew(conn: &Connection, census: &Census, judgement: &Judgement, refused: &[(i64, String)]) -> Outcome<()> {
    let taken = judgement.taken().filter(|place| refused.iter().all(|(other, _)| other != place));
    let left_behind = taken.filter_map(|place| census.begun.get(&place)).map(|(_, begun)| *begun).collect();
    begun::write_anew(conn, left_behind).map(drop)
}

/// An empty store of that layout, written without care: it has no name yet.
fn begin(file: &NewFile, number: u32) -> Outcome<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file.path(), flags)?;
    sums::register(&conn)?;
    conn.execute_batch("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF;")?;
    layout::bring(&conn, 0, number)?;
    Ok(conn)
}

impl Salvage<'_> {
    fn write(&self, judgement: &Judgement) -> Outcome<Vec<(i64, String)>> {
        let mut refused = Vec::new();
        for place in judgement.taken() {
            self.conn.execute_batch("SAVEPOINT job")?;
            if let Err(fault) = self.job(place, judgement) {
                self.conn.execute_batch("ROLLBACK TO job")?;
                refused.push((place, fault.to_string()));
            }
            self.conn.execute_batch("RELEASE job")?;
        }
        for (place, (spot, key)) in &self.census.orphan_keys {
            if let Some(known) = self.census.keys.get(place).filter(|known| known.key == *key) {
                self.spare(Table::OrphanKeys, *spot)?;
                self.spare(Table::Idempotency, known.spot)?;
            }
        }
        for spot in self.census.revisions.values() {
            self.spare(Table::Revisions, *spot)?;
        }
        for (table, spot) in self.census.others.iter().filter(|(table, _)| *table != Table::Meta) {
            self.spare(*table, *spot)?;
        }
        self.numbers()?;
        Ok(refused)
    }

    fn job(&self, place: i64, judgement: &Judgement) -> Outcome<()> {
        let census = self.census;
        let Some(job) = census.jobs.get(&place) else { return Ok(()) };
        self.copy(Table::Jobs, job.spot)?;
        for (table, sum) in [(Table::Payloads, job.payload_sum), (Table::Results, job.result_sum)] {
            if let Some(spot) = census.body(table, place, sum) {
                self.copy(table, spot)?;
            }
        }
        for attempt in census.attempts.get(&place).into_iter().flatten() {
            self.copy(Table::Attempts, attempt.spot)?;
            if let Some(spot) = census.body(Table::Evidence, attempt.seq, attempt.evidence_sum) {
                self.copy(Table::Evidence, spot)?;
            }
        }
        for act in census.acts.get(&place).into_iter().flatten() {
            self.copy(Table::Acts, act.spot)?;
        }
        if job.key.is_some() && !judgement.forgotten_keys.contains(&place) {
            census.keys.get(&place).map_or(Ok(()), |key| self.copy(Table::Idempotency, key.spot))?;
        }
        Ok(())
    }

    /// Takes over a row as it is, its sum included. Nothing is lost with a table that this layout does not have.
    fn copy(&self, table: Table, spot: Spot) -> Outcome<()> {
        let row = census::read(self.pages, table, spot);
        let row = row.ok_or_else(|| damaged(table.name(), 0, "it is gone"))?;
        let columns = self.columns(table)?;
        if columns == 0 {
            return Ok(());
        }
        let places = vec!["?"; columns].join(", ");
        let sql = format!("INSERT INTO {} VALUES ({places})", table.name());
        self.conn.prepare_cached(&sql)?.execute(params_from_iter(row.iter().take(columns)))?;
        Ok(())
    }

    /// The same of a row that belongs to no job: one that makes no sense, or of which there is another, is left out. What
    /// SQLite finds wrong with the structure names it.
    fn spare(&self, table: Table, spot: Spot) -> Outcome<()> {
        match self.copy(table, spot) {
            Err(Fault::Sql(error)) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Ok(()),
            copied => copied,
        }
    }

    /// How many columns the table has in this layout.
    fn columns(&self, table: Table) -> Outcome<usize> {
        let mut statement = self.conn.prepare_cached("SELECT count(*) FROM pragma_table_info(?1)")?;
        let columns: u32 = statement.query_row([table.name()], |row| row.get(0))?;
        Ok(columns as usize)
    }

    /// The numbers go on behind all that was ever seen, so that none is given twice. What was moved along with the wall
    /// clock stays known for it.
    fn numbers(&self) -> Outcome<()> {
        let told = |name| self.census.number(self.pages, name);
        recover::set_meta(self.conn, "attempts_next", self.census.last_seq.saturating_add(1))?;
        recover::set_meta(self.conn, "boots", told("boots").unwrap_or(0).clamp(0, BOOTS_MAX))?;
        let places = [told("last_place"), self.census.last_place()];
        if let Some(last_place) = places.into_iter().flatten().filter(|place| *place <= PLACE_MAX).max() {
            recover::set_meta(self.conn, "last_place", last_place)?;
        }
        for name in ["forward_ms", "forward_until_ms"] {
            told(name).map_or(Ok(()), |number| recover::set_meta(self.conn, name, number.max(0)))?;
        }
        Ok(())
    }
}
