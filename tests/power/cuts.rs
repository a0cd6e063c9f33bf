//! Where the power is cut, and what is lost then: at random, but aimed.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::disk::Loss;
use super::ledger::Fact;
use super::record::{Event, Of, Record};

/// How long the header of a WAL is.
const HEADER_BYTES: usize = 32;

/// At what a cut is aimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aim {
    Anywhere,
    /// While the store is made.
    Making,
    /// While a commit is written.
    Commit,
    /// While the WAL is synced.
    Sync,
    /// While the WAL is copied back into the file.
    Checkpoint,
    /// When the WAL begins anew.
    Reset,
    /// Just after a client saw something.
    Seen,
}

impl Aim {
    const ALL: [Self; 7] =
        [Self::Anywhere, Self::Making, Self::Commit, Self::Sync, Self::Checkpoint, Self::Reset, Self::Seen];
}

/// One power cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub number: usize,
    /// How many entries of the record have happened.
    pub entries: usize,
    pub aim: Aim,
    pub loss: Loss,
    pub seed: u64,
}

impl Cut {
    /// The draws that this cut's losses are made of.
    pub fn chance(&self) -> SmallRng {
        SmallRng::seed_from_u64(self.seed)
    }
}

/// The moments of the record by what they are.
pub struct Moments {
    all: BTreeMap<Aim, Vec<usize>>,
    /// How often the WAL was copied back.
    pub checkpoints: usize,
    /// How often the WAL began anew while the host was at work.
    pub resets: usize,
}

impl Moments {
    pub fn of(record: &Record, facts: &[Fact]) -> Self {
        let mut all: BTreeMap<Aim, Vec<usize>> = BTreeMap::new();
        let (mut checkpoints, mut resets, mut wal_is_new, mut copies) = (0, 0, false, false);
        for (number, entry) in record.entries.iter().enumerate() {
            let mut add = |aim, from: usize, to: usize| all.entry(aim).or_default().extend(from..=to);
            let behind = number + 1;
            match (entry.event, entry.of) {
                // Made, or emptied at the opening.
                (Event::Made | Event::Cut, Of::Wal) => wal_is_new = true,
                (Event::Written, Of::Wal) => {
                    // The log's header comes alone; a host that opens it writes more at once.
                    let is_head = entry.offset == 0 && entry.bytes.len() == HEADER_BYTES;
                    resets += usize::from(is_head && !wal_is_new);
                    wal_is_new &= !is_head;
                    add(Aim::Commit, behind, behind);
                    if is_head {
                        add(Aim::Reset, behind, behind + 8);
                    }
                }
                (Event::SyncBegan, Of::Wal) => add(Aim::Sync, behind, behind),
                (Event::Written | Event::Cut, Of::Database) => {
                    checkpoints += usize::from(!copies);
                    copies = true;
                    add(Aim::Checkpoint, behind, behind);
                }
                (Event::Synced, Of::Database) => {
                    copies = false;
                    add(Aim::Checkpoint, number, behind + 2);
                }
                _ => {}
            }
        }
        all.insert(Aim::Making, (1..=80).collect());
        all.insert(Aim::Anywhere, (1..=record.entries.len()).collect());
        all.insert(Aim::Seen, facts.iter().map(|fact| record.first_behind(fact.at)).collect());
        all.values_mut().for_each(|pool| pool.sort_unstable());
        Self { all, checkpoints, resets }
    }

    /// So many cuts by that seed, from the first to the last; none before that many entries.
    pub fn cuts(&self, seed: u64, count: usize, not_before: usize) -> Vec<Cut> {
        let mut chance = SmallRng::seed_from_u64(seed);
        let last = self.all[&Aim::Anywhere].len();
        let mut cuts = Vec::with_capacity(count);
        while cuts.len() < count {
            let number = cuts.len();
            let (aim, loss) = (Aim::ALL[number % Aim::ALL.len()], Loss::ALL[number / Aim::ALL.len() % Loss::ALL.len()]);
            let pool = self.all.get(&aim).filter(|pool| pool.iter().any(|entries| *entries >= not_before));
            let pool = pool.unwrap_or_else(|| &self.all[&Aim::Anywhere]);
            let pool = &pool[pool.partition_point(|entries| *entries < not_before).min(pool.len() - 1)..];
            let entries = pool[chance.random_range(0..pool.len())].min(last);
            cuts.push(Cut { number, entries, aim, loss, seed: chance.random() });
        }
        cuts.sort_by_key(|cut| cut.entries);
        cuts
    }
}
