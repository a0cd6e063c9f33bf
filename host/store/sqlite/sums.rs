//! The sums of rows: how a row that is not what was written is known for it.
//!
//! SQLite keeps no checksum of what a page holds, so that a bit that flipped on the disk would pass for a payload. Each
//! row carries the CRC-32 of its values instead, made where it is written, by the function `row_sum` in SQL. A sum is of
//! 32 bits: it finds every damage of few bits, and lets one of four thousand million other ones pass.

use crc32fast::Hasher;
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;

/// What a job's sum is over, beside the word `job`.
const JOB_FACTS: &str = "place, tail, plugin, downstream, content_type, priority, run_at_ms, created_ms, retry, \
     deadline_ms, labels, traceparent, idempotency_key, retried_ms, retried_after, limit_key, payload_sum";
/// What an attempt's sum is over, beside the word `attempt`.
pub(super) const ATTEMPT: &str = "seq, place, n, previous, started_ms, finished_ms, kind, error, code, delay_ms, \
     next_run_ms, revision, cpu_us, memory_peak_bytes, failed, held, evidence_sum";

/// Makes `row_sum` known to a connection.
pub(super) fn register(conn: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    conn.create_scalar_function("row_sum", -1, flags, |context| {
        let mut sum = Sum::default();
        (0..context.len()).for_each(|index| sum.add(context.get_raw(index)));
        Ok(sum.end())
    })
}

/// In SQL, what the sum of a job becomes where that column is given that value: one that did not fit stays unfit.
pub(super) fn of_job_with(column: &str, value: &str) -> String {
    changed("job", JOB_FACTS, column, value)
}

/// The same of an attempt.
pub(super) fn of_attempt_with(column: &str, value: &str) -> String {
    changed("attempt", ATTEMPT, column, value)
}

fn changed(kind: &str, columns: &str, column: &str, value: &str) -> String {
    let after = columns.replace(column, value);
    format!("CASE WHEN sum = row_sum('{kind}', {columns}) THEN row_sum('{kind}', {after}) ELSE sum END")
}

/// The sum of a row of that kind.
pub(super) fn of<'a>(kind: &'a str, values: impl IntoIterator<Item = ValueRef<'a>>) -> i64 {
    let mut sum = Sum::default();
    sum.add(ValueRef::Text(kind.as_bytes()));
    values.into_iter().for_each(|value| sum.add(value));
    sum.end()
}

/// A sum in the making.
#[derive(Default)]
struct Sum(Hasher);

impl Sum {
    /// Each value with its type, and what is long with its length, so that no two rows look alike.
    fn add(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => self.0.update(&[0]),
            ValueRef::Integer(number) => self.put(1, number.to_le_bytes()),
            ValueRef::Real(number) => self.put(2, number.to_bits().to_le_bytes()),
            ValueRef::Text(bytes) => self.put_long(3, bytes),
            ValueRef::Blob(bytes) => self.put_long(4, bytes),
        }
    }

    fn put(&mut self, kind: u8, number: [u8; 8]) {
        let mut bytes = [kind; 9];
        bytes[1..].copy_from_slice(&number);
        self.0.update(&bytes);
    }

    fn put_long(&mut self, kind: u8, bytes: &[u8]) {
        self.put(kind, (bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn end(self) -> i64 {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_tells_rows_apart() {
        let rows: [&[ValueRef<'_>]; 7] = [
            &[],
            &[ValueRef::Null],
            &[ValueRef::Null, ValueRef::Null],
            &[ValueRef::Integer(0)],
            &[ValueRef::Text(b"ab"), ValueRef::Text(b"c")],
            &[ValueRef::Text(b"a"), ValueRef::Text(b"bc")],
            &[ValueRef::Blob(b"ab"), ValueRef::Text(b"c")],
        ];
        let sums: std::collections::BTreeSet<_> = rows.iter().map(|row| of("job", row.iter().copied())).collect();
        assert_eq!(sums.len(), rows.len());
        assert_ne!(of("job", [ValueRef::Null]), of("act", [ValueRef::Null]));
    }

    #[test]
    fn the_function_in_sql_is_the_same() {
        let conn = Connection::open_in_memory().unwrap();
        register(&conn).unwrap();
        let sum: i64 = conn.query_row("SELECT row_sum('job', 7, NULL, 'a', x'00ff')", (), |row| row.get(0)).unwrap();
        let values = [ValueRef::Integer(7), ValueRef::Null, ValueRef::Text(b"a"), ValueRef::Blob(&[0, 255])];
        assert_eq!(sum, of("job", values));
    }
}
