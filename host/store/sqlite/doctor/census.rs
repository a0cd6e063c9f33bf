//! Who is there: every row of every page, and whether it is as it was written.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::types::Value;

use super::pages::Pages;
use super::tables::{self, SUMS_FROM, Table};
use super::walk;
use crate::clock::UnixMs;
use crate::store::sqlite::begun::{self, Begun};

/// Where a row lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) page: u32,
    pub(super) cell: usize,
}

/// What is kept of a job's row.
#[derive(Clone, Debug)]
pub(super) struct JobFacts {
    pub(super) spot: Spot,
    pub(super) tail: i64,
    pub(super) run_at_ms: i64,
    pub(super) created_ms: i64,
    pub(super) end_state: Option<String>,
    pub(super) finished_ms: Option<i64>,
    pub(super) last_attempt: Option<i64>,
    pub(super) retried: Option<(i64, i64)>,
    pub(super) payload_sum: Option<i64>,
    pub(super) result_sum: Option<i64>,
    pub(super) key: Option<String>,
    /// Both of its sums: two versions of a row differ in one of them.
    sums: (Option<i64>, Option<i64>),
}

/// What is kept of an attempt's row.
#[derive(Clone, Debug)]
pub(super) struct AttemptFacts {
    pub(super) spot: Spot,
    pub(super) seq: i64,
    pub(super) n: i64,
    pub(super) previous: Option<i64>,
    pub(super) finished_ms: i64,
    pub(super) next_run_ms: Option<i64>,
    pub(super) is_completed: bool,
    pub(super) is_cancelled: bool,
    /// It says when the next one is due, or holds the job.
    pub(super) goes_on: bool,
    pub(super) revision: Option<i64>,
    pub(super) evidence_sum: Option<i64>,
}

/// What is kept of an act's row.
#[derive(Clone, Debug)]
pub(super) struct ActFacts {
    pub(super) spot: Spot,
    pub(super) seq: i64,
    pub(super) at_ms: i64,
    pub(super) is_cancel: bool,
}

/// An idempotency key.
#[derive(Clone, Debug)]
pub(super) struct KeyFacts {
    pub(super) spot: Spot,
    pub(super) key: String,
    pub(super) tail: i64,
}

/// Everything that was found.
#[derive(Default)]
pub(super) struct Census {
    pub(super) layout: u32,
    pub(super) jobs: BTreeMap<i64, JobFacts>,
    /// Jobs of whose row there are two versions.
    pub(super) doubtful: BTreeSet<i64>,
    /// Payloads, results and evidence, with their sums.
    bodies: HashMap<(Table, i64), Vec<(Spot, i64)>>,
    pub(super) attempts: BTreeMap<i64, Vec<AttemptFacts>>,
    pub(super) acts: BTreeMap<i64, Vec<ActFacts>>,
    /// The newest attempt of each job that began, with the row that it is in: a later one overrules it.
    pub(super) begun: HashMap<i64, (i64, Begun)>,
    pub(super) keys: BTreeMap<i64, KeyFacts>,
    pub(super) orphan_keys: BTreeMap<i64, (Spot, String)>,
    pub(super) revisions: BTreeMap<i64, Spot>,
    /// Rows that belong to no job: what is kept of plugins and downstreams, the store's numbers.
    pub(super) others: Vec<(Table, Spot)>,
    /// The places that the index of jobs names.
    pub(super) indexed: BTreeSet<i64>,
    pub(super) last_seq: i64,
    /// Rows that are not as they were written, by table, with their row ids as far as these can be read.
    pub(super) damaged: BTreeMap<Table, Vec<i64>>,
    /// Pages that hold something else than they should.
    pub(super) bad_pages: Vec<u32>,
    /// Pages that should be there, of which the file has none.
    pub(super) missing_pages: Vec<u32>,
    /// Where attempts may have been that can no longer be read: behind the first number, up to the second.
    pub(super) attempts_unread: Vec<(i64, i64)>,
}

impl Census {
    /// Reads all that can be read. `usual` are the first pages of the tables of a store that was made by this version,
    /// for a file that no longer says where they are.
    pub(super) fn take(pages: &Pages, layout: Option<u32>, sure: &[(Table, u32)], usual: &[(Table, u32)]) -> Self {
        let mut census = Self { layout: layout.unwrap_or(SUMS_FROM), ..Self::default() };
        walk::through(pages, sure, usual, &mut census);
        for pages in [&mut census.bad_pages, &mut census.missing_pages] {
            pages.sort_unstable();
            pages.dedup();
        }
        for attempts in census.attempts.values_mut() {
            attempts.sort_by_key(|attempt| attempt.seq);
            attempts.dedup_by_key(|attempt| attempt.seq);
        }
        for acts in census.acts.values_mut() {
            acts.sort_by_key(|act| act.seq);
            acts.dedup_by_key(|act| act.seq);
        }
        census
    }

    /// Whether the file says that a host has it open.
    pub(super) fn was_open(&self, pages: &Pages) -> bool {
        self.number(pages, "open") == Some(1)
    }

    /// One of the store's own numbers.
    pub(super) fn number(&self, pages: &Pages, wanted: &str) -> Option<i64> {
        let meta = self.others.iter().filter(|(table, _)| *table == Table::Meta);
        let mut rows = meta.filter_map(|(table, spot)| read(pages, *table, *spot));
        rows.find_map(|row| match row.as_slice() {
            [Value::Text(name), Value::Integer(number)] if name == wanted => Some(*number),
            _ => None,
        })
    }

    /// The highest place that was seen of a job, be it salvaged or not.
    pub(super) fn last_place(&self) -> Option<i64> {
        let of_jobs = self.jobs.last_key_value().map(|(place, _)| *place);
        let of_attempts = self.attempts.last_key_value().map(|(place, _)| *place);
        let of_keys = self.keys.last_key_value().map(|(place, _)| *place);
        of_jobs.max(of_attempts).max(of_keys)
    }

    /// Whether all times are of one clock: it was not set while no host ran.
    pub(super) fn has_one_clock(&self, pages: &Pages) -> bool {
        let is_read = !self.damaged.contains_key(&Table::Meta) && self.number(pages, "boots").is_some();
        is_read && self.number(pages, "forward_until_ms").is_none()
    }

    /// Whether rows carry sums.
    pub(super) fn has_sums(&self) -> bool {
        self.layout >= SUMS_FROM
    }

    /// The payload, the result or the evidence of that number and with that sum.
    pub(super) fn body(&self, table: Table, key: i64, sum: Option<i64>) -> Option<Spot> {
        let bodies = self.bodies.get(&(table, key))?;
        if !self.has_sums() {
            return bodies.first().map(|(spot, _)| *spot);
        }
        bodies.iter().find(|(_, found)| Some(*found) == sum).map(|(spot, _)| *spot)
    }

    /// Whether there is any, be it what was written or not.
    pub(super) fn has_body(&self, table: Table, key: i64) -> bool {
        self.bodies.contains_key(&(table, key))
    }

    /// The jobs whose payloads are there.
    pub(super) fn payload_places(&self) -> impl Iterator<Item = i64> {
        self.bodies.keys().filter(|(table, _)| *table == Table::Payloads).map(|(_, place)| *place)
    }

    fn note_begun(&mut self, row: i64, begun: Begun) {
        let known = self.begun.entry(begun.place).or_insert((row, begun));
        if known.0 < row {
            *known = (row, begun);
        }
    }

    pub(super) fn take_in(&mut self, table: Table, spot: Spot, row: &[Value]) {
        let number = |at: usize| if let Value::Integer(number) = row[at] { Some(number) } else { None };
        let text = |at: usize| if let Value::Text(text) = &row[at] { Some(text.clone()) } else { None };
        let key = number(0).unwrap_or(0);
        match table {
            Table::Jobs => {
                let facts = JobFacts {
                    spot,
                    tail: number(1).unwrap_or(0),
                    run_at_ms: number(6).unwrap_or(0),
                    created_ms: number(7).unwrap_or(0),
                    end_state: text(15),
                    finished_ms: number(16),
                    last_attempt: number(17),
                    retried: number(13).zip(number(14)),
                    payload_sum: number(19),
                    result_sum: number(21),
                    key: text(12),
                    sums: (number(20), number(22)),
                };
                if self.jobs.get(&key).is_some_and(|known| known.sums != facts.sums) {
                    self.doubtful.insert(key);
                }
                self.jobs.insert(key, facts);
            }
            Table::Payloads | Table::Results | Table::Evidence => {
                self.bodies.entry((table, key)).or_default().push((spot, tables::body_sum(table, row)));
            }
            Table::Attempts => {
                self.last_seq = self.last_seq.max(key);
                let facts = AttemptFacts {
                    spot,
                    seq: key,
                    n: number(2).unwrap_or(0),
                    previous: number(3),
                    finished_ms: number(5).unwrap_or(0),
                    next_run_ms: number(10),
                    is_completed: text(6).is_some_and(|kind| kind == "completed"),
                    is_cancelled: text(6).is_some_and(|kind| kind == "cancelled"),
                    goes_on: number(10).is_some() || number(15) == Some(1),
                    revision: number(11),
                    evidence_sum: number(16),
                };
                self.attempts.entry(number(1).unwrap_or(0)).or_default().push(facts);
            }
            Table::Acts => {
                let is_cancel = text(3).is_some_and(|what| what == "cancel");
                let (seq, at_ms) = (number(1).unwrap_or(0), number(2).unwrap_or(0));
                self.acts.entry(key).or_default().push(ActFacts { spot, seq, at_ms, is_cancel });
            }
            Table::Starts => {
                let n = number(1).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
                self.note_begun(0, Begun { place: key, n, started_at: UnixMs(number(2).unwrap_or(0)) });
            }
            Table::Begun => {
                if let Value::Blob(bytes) = &row[1] {
                    begun::of_bytes(bytes).for_each(|begun| self.note_begun(key, begun));
                }
            }
            Table::Idempotency => {
                let (place, tail) = (number(1).unwrap_or(0), number(2).unwrap_or(0));
                self.keys.insert(place, KeyFacts { spot, key: text(0).unwrap_or_default(), tail });
            }
            Table::OrphanKeys => _ = self.orphan_keys.insert(key, (spot, text(1).unwrap_or_default())),
            Table::Revisions => _ = self.revisions.insert(key, spot),
            Table::ByEnd => self.indexed.extend(number(1)),
            Table::Unholds => {
                // A later attempt must not pass for one from before the edit of the grants.
                self.last_seq = self.last_seq.max(number(1).unwrap_or(0));
                self.others.push((table, spot));
            }
            Table::Meta | Table::PausedPlugins | Table::Downstreams => self.others.push((table, spot)),
        }
    }
}

/// Reads a row again.
pub(super) fn read(pages: &Pages, table: Table, spot: Spot) -> Option<Vec<Value>> {
    let node = pages.node(spot.page)?;
    let cell = pages.cell(&node, spot.cell);
    table.row(cell.key, cell.row?)
}
