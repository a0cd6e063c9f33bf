//! The way through the pages: table by table from their first pages, and then over what is not reached any more.

use super::census::{Census, Spot};
use super::pages::{Cell, Node, Pages};
use super::tables::Table;

/// No table is higher than this.
const DEPTH_MAX: usize = 20;
/// The keys of a whole table.
const ALL: Keys = Keys { above: i64::MIN, up_to: i64::MAX };

/// The row ids that belong into a page.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Keys {
    above: i64,
    up_to: i64,
}

struct Walk<'a> {
    pages: &'a Pages,
    /// The pages that are part of what was read, or hold the rest of a row of it.
    seen: Vec<bool>,
    /// Pages that are where another one should be.
    misplaced: Vec<u32>,
}

/// Takes in all that can be read. `sure` are the first pages of tables as the file tells them, `usual` those of which it
/// does not.
pub(super) fn through(pages: &Pages, sure: &[(Table, u32)], usual: &[(Table, u32)], census: &mut Census) {
    let mut walk = Walk { pages, seen: vec![false; pages.count as usize + 1], misplaced: Vec::new() };
    for (table, root) in sure {
        walk.tree(*table, *root, census);
    }
    for (table, root) in usual {
        if walk.begins(*table, *root) {
            walk.tree(*table, *root, census);
        } else {
            walk.miss(*table, *root, ALL, census);
        }
    }
    let found_all = walk.strays(census);
    let may_be_elsewhere = !found_all && usual.iter().any(|(table, _)| *table == Table::Attempts);
    // That there is none is no wonder, unless something stands where something else should be.
    let is_damaged = !(census.bad_pages.is_empty() && census.missing_pages.is_empty() && census.damaged.is_empty());
    if may_be_elsewhere || census.attempts.is_empty() && is_damaged {
        census.attempts_unread.push((ALL.above, ALL.up_to));
    }
}

impl Walk<'_> {
    /// Goes through a table from its first page.
    fn tree(&mut self, table: Table, root: u32, census: &mut Census) {
        let mut left = vec![(root, ALL)];
        while let Some((number, keys)) = left.pop() {
            if self.seen.get(number as usize).is_none_or(|seen| *seen) || number == 0 {
                self.miss(table, number, keys, census);
                continue;
            }
            let Some(node) = self.pages.node(number) else {
                self.seen[number as usize] = true;
                self.miss(table, number, keys, census);
                continue;
            };
            if node.is_table != table.has_row_ids() || !Self::is_in_place(&node, keys) {
                self.misplaced.push(number);
                self.miss(table, number, keys, census);
                continue;
            }
            self.seen[number as usize] = true;
            if node.is_torn {
                census.bad_pages.push(number);
            }
            let mut above = keys.above;
            for (child, key) in &node.children {
                let up_to = key.unwrap_or(keys.up_to);
                left.push((*child, Keys { above, up_to }));
                above = up_to;
            }
            if table == Table::Attempts && !self.pages.is_accounted_for(&node) {
                census.attempts_unread.push((keys.above, keys.up_to));
            }
            self.rows(number, &node, keys, |_| Some(table), census);
        }
    }

    /// Notes that this page of the table, with these keys in it, cannot be read.
    fn miss(&self, table: Table, page: u32, keys: Keys, census: &mut Census) {
        let is_there = (1..=self.pages.count).contains(&page);
        if is_there { &mut census.bad_pages } else { &mut census.missing_pages }.push(page);
        if table == Table::Attempts {
            census.attempts_unread.push((keys.above, keys.up_to));
        }
    }

    /// Whether that page looks like the first one of the table: what it leads to first are rows of it, or none.
    fn begins(&self, table: Table, root: u32) -> bool {
        let mut number = root;
        for _ in 0..DEPTH_MAX {
            let Some(node) = self.pages.node(number).filter(|node| node.is_table == table.has_row_ids()) else {
                return false;
            };
            match node.children.first() {
                Some((child, _)) => number = *child,
                None => {
                    let is_row = |cell: Cell| table.row(cell.key, cell.row?).filter(|row| table.is_as_written(row));
                    return self.pages.cells(&node).next().is_none()
                        || self.pages.cells(&node).any(|cell| is_row(cell).is_some());
                }
            }
        }
        false
    }

    /// Whether the row ids in it are those that belong there: most of them, as one may be damaged. Only the first page of a
    /// table may have none.
    fn is_in_place(node: &Node, wanted: Keys) -> bool {
        if !node.is_table {
            return true;
        }
        let keys: Vec<i64> = if node.is_leaf() {
            Pages::keys(node).collect()
        } else {
            node.children.iter().filter_map(|(_, key)| *key).collect()
        };
        if node.is_leaf() && keys.is_empty() {
            return wanted == ALL;
        }
        let fits = |key: &&i64| (wanted.above == i64::MIN || **key > wanted.above) && **key <= wanted.up_to;
        keys.iter().filter(fits).count() * 2 >= keys.len()
    }

    /// Takes in what belongs to some table and is not reached any more, because a page above it is damaged. Only where
    /// it is certain which pages are free: in those lie old rows. Answers whether it is.
    fn strays(&mut self, census: &mut Census) -> bool {
        let Some(free) = self.pages.free().filter(|_| census.has_sums()) else { return false };
        for number in 2..=self.pages.count {
            if self.seen[number as usize] || free.binary_search(&number).is_ok() {
                continue;
            }
            // What stands where another page should be may be a free one that took its place, with rows that changed
            // since. Only those of jobs ever do.
            let may_be_old = !free.is_empty() && self.misplaced.contains(&number);
            let table = |table: &Table| !(may_be_old && matches!(table, Table::Jobs | Table::Starts | Table::Begun));
            if let Some(node) = self.pages.node(number) {
                self.rows(number, &node, ALL, |row| of_shape(node.is_table, row).filter(table), census);
            }
        }
        true
    }

    fn rows(
        &mut self,
        page: u32,
        node: &Node,
        keys: Keys,
        table: impl Fn(&Cell) -> Option<Table>,
        census: &mut Census,
    ) {
        // The keys around an attempt that cannot be read bound its own, which may be damaged too.
        let (mut above, mut is_unread) = (keys.above, false);
        for (cell, row) in self.pages.cells(node).enumerate() {
            row.overflow.iter().for_each(|page| {
                if let Some(seen) = self.seen.get_mut(*page as usize) {
                    *seen = true;
                }
            });
            let Some(table) = table(&row) else { continue };
            let key = row.key;
            let row = row.row.and_then(|row| table.row(key, row));
            let Some(row) = row.filter(|row| !census.has_sums() || table.is_as_written(row)) else {
                is_unread |= table == Table::Attempts;
                census.damaged.entry(table).or_default().push(key);
                continue;
            };
            if is_unread {
                census.attempts_unread.push((above, key.saturating_sub(1)));
            }
            (above, is_unread) = (key, false);
            census.take_in(table, Spot { page, cell }, &row);
        }
        if is_unread {
            census.attempts_unread.push((above, keys.up_to));
        }
    }
}

/// The table that a row of a stray page belongs to: its sum says so.
fn of_shape(is_table: bool, cell: &Cell) -> Option<Table> {
    let row = cell.row.as_ref()?;
    Table::ALL.into_iter().find(|table| {
        table.has_row_ids() == is_table
            && table.columns() == row.len()
            && table.row(cell.key, row.clone()).is_some_and(|row| table.is_as_written(&row))
    })
}
