//! What the tables of a store look like, and which row is as it was written.

use rusqlite::types::{Value, ValueRef};

use crate::store::sqlite::sums;

/// A table of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Table {
    Meta,
    Jobs,
    Payloads,
    Results,
    Revisions,
    Attempts,
    Evidence,
    /// Up to layout 4.
    Starts,
    /// From layout 5 on.
    Begun,
    Idempotency,
    OrphanKeys,
    Acts,
    PausedPlugins,
    Unholds,
    Downstreams,
    /// The index of jobs by their end.
    ByEnd,
}

/// The store's own numbers.
const META_NAMES: [&str; 10] = [
    "attempts_floor",
    "attempts_next",
    "boots",
    "forward_ms",
    "forward_until_ms",
    "last_place",
    "open",
    "reckoned_boot",
    "reckoned_ms",
    "reckoned_up_ms",
];
/// The layout from which on rows have sums.
pub(super) const SUMS_FROM: u32 = 4;

impl Table {
    pub(super) const ALL: [Self; 16] = [
        Self::Meta,
        Self::Jobs,
        Self::Payloads,
        Self::Results,
        Self::Revisions,
        Self::Attempts,
        Self::Evidence,
        Self::Starts,
        Self::Begun,
        Self::Idempotency,
        Self::OrphanKeys,
        Self::Acts,
        Self::PausedPlugins,
        Self::Unholds,
        Self::Downstreams,
        Self::ByEnd,
    ];

    /// Its name in SQL.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Jobs => "jobs",
            Self::Payloads => "payloads",
            Self::Results => "results",
            Self::Revisions => "revisions",
            Self::Attempts => "attempts",
            Self::Evidence => "attempt_evidence",
            Self::Starts => "starts",
            Self::Begun => "begun",
            Self::Idempotency => "idempotency",
            Self::OrphanKeys => "orphan_keys",
            Self::Acts => "acts",
            Self::PausedPlugins => "paused_plugins",
            Self::Unholds => "unholds",
            Self::Downstreams => "downstreams",
            Self::ByEnd => "jobs_by_end",
        }
    }

    /// Whether its rows have row ids, which stand in for their first column.
    pub(super) fn has_row_ids(self) -> bool {
        use Table::{Acts, ByEnd, Downstreams, Idempotency, Meta, PausedPlugins, Unholds};
        !matches!(self, Meta | Idempotency | Acts | PausedPlugins | Unholds | Downstreams | ByEnd)
    }

    /// How many columns a row has in the newest layout that has such rows.
    pub(super) fn columns(self) -> usize {
        match self {
            Self::Jobs => 23,
            Self::Attempts => 18,
            Self::Evidence | Self::Idempotency => 6,
            Self::Acts => 5,
            Self::Results | Self::Starts | Self::OrphanKeys | Self::Downstreams => 4,
            Self::Begun | Self::Revisions | Self::Unholds | Self::ByEnd => 3,
            Self::Meta | Self::Payloads | Self::PausedPlugins => 2,
        }
    }

    /// The word that its rows' sums begin with; none where they have no sum of their own.
    fn kind(self) -> Option<&'static str> {
        Some(match self {
            Self::Jobs => "job",
            Self::Attempts => "attempt",
            Self::Starts => "start",
            Self::Begun => sums::BEGUN.word,
            Self::Idempotency => "key",
            Self::OrphanKeys => "orphan",
            Self::Acts => "act",
            Self::Revisions => "revision",
            Self::Unholds => "unhold",
            Self::PausedPlugins => "paused",
            Self::Downstreams => "downstream",
            Self::Meta | Self::Payloads | Self::Results | Self::Evidence | Self::ByEnd => return None,
        })
    }

    /// The row as SQL would give it, with its row id and the columns that it was made before; none where it does not
    /// have the shape of one.
    pub(super) fn row(self, key: i64, mut row: Vec<Value>) -> Option<Vec<Value>> {
        if row.len() > self.columns() {
            return None;
        }
        if self.has_row_ids() {
            let first = row.first_mut()?;
            if *first != Value::Null {
                return None;
            }
            *first = Value::Integer(key);
        }
        while row.len() < self.columns() {
            // Only the evidence has later columns that are not NULL where they are missing.
            row.push(if self == Self::Evidence { Value::Integer(0) } else { Value::Null });
        }
        Some(row)
    }

    /// Whether the row is as it was written, by the sum that it carries. Rows without a sum of their own are judged by
    /// the row that they belong to.
    pub(super) fn is_as_written(self, row: &[Value]) -> bool {
        match self {
            Self::Jobs => fits(row, "job", &crate::store::sqlite::rows::FACTS_AT, 20) && has_sound_end(row),
            Self::Meta => {
                matches!(row, [Value::Text(name), Value::Integer(_)] if META_NAMES.contains(&name.as_str()))
            }
            Self::Payloads => matches!(row, [Value::Integer(_), Value::Blob(_)]),
            Self::Results => matches!(row, [Value::Integer(_), Value::Text(_), Value::Blob(_), _]),
            Self::Evidence => matches!(row, [Value::Integer(_), _, Value::Integer(_), ..]),
            Self::ByEnd => matches!(row, [Value::Null | Value::Text(_), Value::Integer(_), _]),
            other => {
                let Some(kind) = other.kind() else { return false };
                let sum_at = other.columns() - 1;
                fits(row, kind, &(0..sum_at).collect::<Vec<_>>(), sum_at)
            }
        }
    }
}

fn fits(row: &[Value], kind: &str, columns: &[usize], sum_at: usize) -> bool {
    row[sum_at] == Value::Integer(sums::of(kind, columns.iter().map(|at| ValueRef::from(&row[*at]))))
}

/// The end of a job has a sum of its own; none where there is nothing to tell of it.
fn has_sound_end(row: &[Value]) -> bool {
    if row[22] == Value::Null {
        return row[15..18].iter().chain(&row[21..22]).all(|value| *value == Value::Null);
    }
    fits(row, "end", &crate::store::sqlite::rows::END_AT, 22)
}

/// The sum of what a row without a sum of its own holds.
pub(super) fn body_sum(table: Table, row: &[Value]) -> i64 {
    let kind = match table {
        Table::Payloads => "payload",
        Table::Results => "result",
        _ => "evidence",
    };
    sums::of(kind, row[1..].iter().map(ValueRef::from))
}
