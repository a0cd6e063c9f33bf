//! The sums of rows: how a row that is not what was written is known for it.
//!
//! SQLite keeps no checksum of what a page holds, so that a bit that flipped on the disk would pass for a payload. Each
//! row carries the CRC-32 of its values instead, made where it is written: by [`of`] where the values are at hand, by the
//! function `row_sum` in SQL where they are on disk. A sum is of 32 bits: it finds every damage of few bits, and lets one
//! of four thousand million other ones pass.

use crc32fast::Hasher;
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;

/// Rows that carry a sum of their own, in the last column, `sum`.
#[derive(Debug)]
pub(super) struct Kind {
    /// What the sum begins with.
    pub(super) word: &'static str,
    /// Where they are.
    pub(super) table: &'static str,
    /// What the sum is over, in this order.
    pub(super) columns: &'static str,
}

/// Of jobs it is over what stays as it is from the acceptance on, a person's retry apart.
pub(super) static JOB: Kind = Kind {
    word: "job",
    table: "jobs",
    columns: "place, tail, plugin, downstream, content_type, priority, run_at_ms, created_ms, retry, deadline_ms, labels, \
              traceparent, idempotency_key, retried_ms, retried_after, limit_key, payload_sum",
};
pub(super) static ATTEMPT: Kind = Kind {
    word: "attempt",
    table: "attempts",
    columns: "seq, place, n, previous, started_ms, finished_ms, kind, error, code, delay_ms, next_run_ms, revision, \
              cpu_us, memory_peak_bytes, failed, held, evidence_sum",
};
pub(super) static KEY: Kind =
    Kind { word: "key", table: "idempotency", columns: "key, place, tail, request_digest, created_ms" };
pub(super) static BEGUN: Kind = Kind { word: "begun", table: "begun", columns: "seq, attempts" };

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
    changed(&JOB, column, value)
}

/// The same of an attempt.
pub(super) fn of_attempt_with(column: &str, value: &str) -> String {
    changed(&ATTEMPT, column, value)
}

fn changed(Kind { word, columns, .. }: &Kind, column: &str, value: &str) -> String {
    let after = columns.replace(column, value);
    format!("CASE WHEN sum = row_sum('{word}', {columns}) THEN row_sum('{word}', {after}) ELSE sum END")
}

/// The sum of a row of that kind.
pub(super) fn of<'a>(kind: &'a str, values: impl IntoIterator<Item = ValueRef<'a>>) -> i64 {
    let mut sum = Sum::default();
    sum.add(ValueRef::Text(kind.as_bytes()));
    values.into_iter().for_each(|value| sum.add(value));
    sum.end()
}

/// The sum of how a job ended.
pub(super) fn of_end(place: i64, state: &str, finished_ms: i64, last_attempt: i64, result_sum: Option<i64>) -> i64 {
    let [place, finished, attempt] = [place, finished_ms, last_attempt].map(ValueRef::Integer);
    let result = result_sum.map_or(ValueRef::Null, ValueRef::Integer);
    of("end", [place, ValueRef::Text(state.as_bytes()), finished, attempt, result])
}

/// How many bytes of a row are put together before the sum takes them: one long piece costs it less than many short ones.
const HELD_BYTES: usize = 256;

/// A sum in the making.
struct Sum {
    hasher: Hasher,
    held: [u8; HELD_BYTES],
    length: usize,
}

impl Default for Sum {
    fn default() -> Self {
        Self { hasher: Hasher::new(), held: [0; HELD_BYTES], length: 0 }
    }
}

impl Sum {
    /// Each value with its type, and what is long with its length, so that no two rows look alike.
    fn add(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => self.put(&[0]),
            ValueRef::Integer(number) => self.put_number(1, number.to_le_bytes()),
            ValueRef::Real(number) => self.put_number(2, number.to_bits().to_le_bytes()),
            ValueRef::Text(bytes) => self.put_long(3, bytes),
            ValueRef::Blob(bytes) => self.put_long(4, bytes),
        }
    }

    fn put_number(&mut self, kind: u8, number: [u8; 8]) {
        if self.length + 9 > HELD_BYTES {
            self.pass_on();
        }
        // Of a length that is known here, so that it costs no call: most values are numbers.
        let [first, rest @ ..] = &mut self.held[self.length..self.length + 9] else { return };
        *first = kind;
        rest.copy_from_slice(&number);
        self.length += 9;
    }

    fn put_long(&mut self, kind: u8, bytes: &[u8]) {
        self.put_number(kind, (bytes.len() as u64).to_le_bytes());
        self.put(bytes);
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.length + bytes.len() > HELD_BYTES {
            self.pass_on();
        }
        if bytes.len() > HELD_BYTES {
            return self.hasher.update(bytes);
        }
        self.held[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn pass_on(&mut self) {
        self.hasher.update(&self.held[..self.length]);
        self.length = 0;
    }

    fn end(mut self) -> i64 {
        self.pass_on();
        self.hasher.finalize().into()
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

    #[test]
    fn what_is_put_together_first_has_the_same_sum() {
        let plain = |bytes: &[u8]| {
            let mut whole = vec![4];
            whole.extend((bytes.len() as u64).to_le_bytes());
            whole.extend(bytes);
            i64::from(crc32fast::hash(&[&[3][..], &1_u64.to_le_bytes(), b"k", &whole].concat()))
        };
        for length in (0..2 * HELD_BYTES).chain([10_000]) {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            assert_eq!(of("k", [ValueRef::Blob(&bytes)]), plain(&bytes), "{length}");
        }
    }
}
