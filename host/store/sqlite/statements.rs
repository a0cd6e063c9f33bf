//! The statements that every job needs, each prepared once in the life of the writer.
//!
//! rusqlite's own cache would copy and hash the whole text of a statement at each use, which costs a good part of what
//! carrying it out does.

use rusqlite::{Connection, Statement};

/// Prepared statements, by the place of their text in the program.
pub(super) struct Statements<'c> {
    conn: &'c Connection,
    kept: Vec<(&'static str, Statement<'c>)>,
}

impl<'c> Statements<'c> {
    /// None yet.
    pub(super) fn new(conn: &'c Connection) -> Self {
        Self { conn, kept: Vec::new() }
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
}
