//! The statements that every job needs, each prepared once in the life of the writer.
//!
//! rusqlite's own cache would copy and hash the whole text of a statement at each use, which costs a good part of what
//! carrying it out does.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, params_from_iter};

use super::sums::{self, Kind};

/// How many statements are kept for rows that differ in what is NULL in them; further ones name all columns.
const INSERTS_MAX: usize = 64;

/// Prepared statements, by the place of their text in the program.
pub(super) struct Statements<'c> {
    conn: &'c Connection,
    kept: Vec<(&'static str, Statement<'c>)>,
    /// With which of the columns each names, bit by bit.
    inserts: Vec<(&'static Kind, u32, Statement<'c>)>,
}

impl<'c> Statements<'c> {
    /// None yet.
    pub(super) fn new(conn: &'c Connection) -> Self {
        Self { conn, kept: Vec::new(), inserts: Vec::new() }
    }

    /// That statement, ready to be carried out.
    ///
    /// # Errors
    /// Where SQLite cannot prepare it.
    pub(super) fn get(&mut self, sql: &'static str) -> rusqlite::Result<&mut Statement<'c>> {
        let known = self.kept.iter().position(|(text, _)| std::ptr::eq(*text, sql));
        let at = match known {
            Some(at) => at,
            None => {
                self.kept.push((sql, self.conn.prepare(sql)?));
                self.kept.len() - 1
            }
        };
        Ok(&mut self.kept[at].1)
    }

    /// Writes a new row of that kind, with its sum. A column that is NULL is not named, and so costs nothing: most are.
    ///
    /// # Errors
    /// Where SQLite cannot write it.
    pub(super) fn insert<const N: usize>(
        &mut self,
        kind: &'static Kind,
        row: &[ValueRef<'_>; N],
    ) -> rusqlite::Result<()> {
        let sum = ValueRef::Integer(sums::of(kind.word, row.iter().copied()));
        let bits = |named: u32, (at, value): (usize, &ValueRef<'_>)| named | u32::from(!is_null(value)) << at;
        let named = row.iter().enumerate().fold(0, bits);
        let (named, statement) = self.inserting(kind, named, u32::MAX >> (32 - N))?;
        let values = row.iter().enumerate().filter(|(at, _)| (named >> at) & 1 == 1).map(|(_, value)| *value);
        statement.execute(params_from_iter(values.chain([sum]).map(ToSqlOutput::Borrowed))).map(drop)
    }

    /// The statement that names these columns, or one that names all, and which it names.
    fn inserting(&mut self, kind: &'static Kind, named: u32, all: u32) -> rusqlite::Result<(u32, &mut Statement<'c>)> {
        let named = if self.inserts.len() < INSERTS_MAX || self.position(kind, named).is_some() { named } else { all };
        let at = match self.position(kind, named) {
            Some(at) => at,
            None => {
                let statement = self.conn.prepare(&inserting(kind, named))?;
                self.inserts.push((kind, named, statement));
                self.inserts.len() - 1
            }
        };
        Ok((named, &mut self.inserts[at].2))
    }

    fn position(&self, kind: &'static Kind, named: u32) -> Option<usize> {
        self.inserts.iter().position(|(known, columns, _)| std::ptr::eq(*known, kind) && *columns == named)
    }
}

fn inserting(Kind { table, columns, .. }: &Kind, named: u32) -> String {
    let names = columns.split(", ").enumerate().filter(|(at, _)| (named >> at) & 1 == 1).map(|(_, name)| name);
    let names: Vec<_> = names.chain(["sum"]).collect();
    format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), vec!["?"; names.len()].join(", "))
}

fn is_null(value: &ValueRef<'_>) -> bool {
    matches!(value, ValueRef::Null)
}

/// A value that may not be there.
pub(super) fn maybe<'a, T>(value: Option<T>, made: impl FnOnce(T) -> ValueRef<'a>) -> ValueRef<'a> {
    value.map_or(ValueRef::Null, made)
}

/// A text as a value.
pub(super) fn text(text: &str) -> ValueRef<'_> {
    ValueRef::Text(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::layout;

    fn number(number: i64) -> ValueRef<'static> {
        ValueRef::Integer(number)
    }

    /// A job of which those of its columns are NULL that this number says.
    fn job(place: i64, bits: i64) -> [ValueRef<'static>; 17] {
        let mut bit = 0;
        let mut some = |value| {
            bit += 1;
            maybe(((bits >> (bit - 1)) & 1 == 1).then_some(value), |value| value)
        };
        let (retry, deadline, labels) = (some(text("{}")), some(number(5)), some(text("{\"a\":\"b\"}")));
        let (trace, key, limit_key, payload) = (some(text("t")), some(text("k")), some(text("l")), some(number(6)));
        let content_type = some(text("text/plain"));
        let (retried, nothing) = (number(1), ValueRef::Null);
        let retried = if bits & 1 == 0 { [retried, number(0)] } else { [nothing, nothing] };
        let [at, after] = retried;
        let (plugin, downstream, priority, run_at) = (text("p"), text("d"), number(-3), number(4));
        [
            number(place),
            number(2),
            plugin,
            downstream,
            content_type,
            priority,
            run_at,
            number(7),
            retry,
            deadline,
            labels,
            trace,
            key,
            at,
            after,
            limit_key,
            payload,
        ]
    }

    #[test]
    fn a_row_is_written_as_it_is_whatever_is_null_in_it() {
        let conn = layout::in_memory(layout::NEWEST).unwrap();
        let mut statements = Statements::new(&conn);
        // More kinds than statements are kept for.
        let rows: Vec<_> = (0..256).map(|bits| job(bits + 1, bits)).collect();
        for row in &rows {
            statements.insert(&sums::JOB, row).unwrap();
        }
        assert!(statements.inserts.len() <= INSERTS_MAX + 1);
        let sql = format!("SELECT {0}, sum, sum = row_sum('job', {0}) FROM jobs WHERE place = ?1", sums::JOB.columns);
        let mut statement = conn.prepare(&sql).unwrap();
        for row in &rows {
            let ValueRef::Integer(place) = row[0] else { panic!("{row:?}") };
            let mut found = statement.query([place]).unwrap();
            let found = found.next().unwrap().unwrap();
            let values: Vec<_> = (0..17).map(|at| found.get_ref(at).unwrap()).collect();
            assert_eq!(values, row);
            assert!(found.get::<_, bool>(18).unwrap(), "its sum fits");
        }
        statements.insert(&sums::JOB, &job(1, 0)).expect_err("that place is taken");
    }
}
