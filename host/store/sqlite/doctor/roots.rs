//! Where the tables begin: as the file says, or, where it no longer does, as in every store that this version makes.

use std::collections::BTreeMap;

use rusqlite::OptionalExtension as _;
use rusqlite::types::Value;

use super::pages::Pages;
use super::tables::Table;
use crate::store::sqlite::fault::Outcome;
use crate::store::sqlite::layout;

/// The first pages of the tables.
pub(super) struct Roots {
    /// As the file says.
    pub(super) sure: Vec<(Table, u32)>,
    /// As they usually are, of those of which the file says nothing.
    pub(super) usual: Vec<(Table, u32)>,
    /// The file names tables, and none of ours.
    pub(super) foreign: bool,
    /// The layout that these tables have; none where that cannot be read.
    pub(super) layout: Option<u32>,
}

pub(super) fn find(pages: &Pages) -> Outcome<Roots> {
    let told = schema(pages);
    let layout = layout_of(&told);
    let (told_of, untold): (Vec<_>, Vec<_>) = Table::ALL.into_iter().partition(|table| told.contains_key(table.name()));
    let sure: Vec<_> = told_of.into_iter().map(|table| (table, told[table.name()].page)).collect();
    let usual = if untold.is_empty() { Vec::new() } else { usual(untold, layout.unwrap_or(layout::NEWEST))? };
    let foreign = sure.is_empty() && !told.is_empty();
    Ok(Roots { sure, usual, foreign, layout })
}

/// Where these tables begin in a new store of that layout. One that the layout does not have begins nowhere.
fn usual(tables: Vec<Table>, layout: u32) -> Outcome<Vec<(Table, u32)>> {
    let new = layout::in_memory(layout)?;
    let mut roots = Vec::new();
    for table in tables {
        let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
        let root = new.query_row(sql, [table.name()], |row| row.get(0)).optional()?;
        roots.extend(root.map(|root| (table, root)));
    }
    Ok(roots)
}

/// A table as the file describes it.
struct Told {
    page: u32,
    sql: String,
}

/// The number in the file's header may be damaged; which columns there are tells the same.
fn layout_of(told: &BTreeMap<String, Told>) -> Option<u32> {
    let has = |table: &str, column: &str| told.get(table).is_some_and(|told| told.sql.contains(column));
    // The columns that each layout brought, the newest first; the first layout has none of them.
    let brought = [
        ("begun", "attempts", 5),
        ("jobs", "payload_sum", 4),
        ("attempt_evidence", "dropped_lines", 3),
        ("jobs", "limit_key", 2),
    ];
    // The fifth took a table away for the one that it brought.
    let is_readable = ["jobs", "attempt_evidence"].iter().all(|table| told.contains_key(*table))
        && ["starts", "begun"].iter().any(|table| told.contains_key(*table));
    let newest = brought.into_iter().find(|(table, column, _)| has(table, column)).map_or(1, |(_, _, layout)| layout);
    is_readable.then_some(newest)
}

/// What the file's own table of tables names.
fn schema(pages: &Pages) -> BTreeMap<String, Told> {
    let (mut told, mut left, mut looked_at) = (BTreeMap::new(), vec![1], 0);
    while let Some(number) = left.pop() {
        looked_at += 1;
        let Some(node) = pages.node(number).filter(|node| node.is_table && looked_at < 100) else { continue };
        left.extend(node.children.iter().map(|(child, _)| *child));
        for cell in pages.cells(&node) {
            if let Some([_, Value::Text(name), _, Value::Integer(root), Value::Text(sql)]) = cell.row.as_deref()
                && let Ok(page) = u32::try_from(*root)
            {
                told.insert(name.clone(), Told { page, sql: sql.clone() });
            }
        }
    }
    told
}
