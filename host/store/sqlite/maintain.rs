//! Keeping the opening short, and closing in order.

use super::effect::Effect;
use super::fault::Outcome;
use super::open;
use super::recover::{self, set_meta};
use super::writer::{Group, Writer};
use crate::store::StoreError;

/// How many attempts the opening may have to look over, about. Few in the tests, so that they come by.
const ATTEMPTS_SCAN_MAX: i64 = if cfg!(test) { 5 } else { 200_000 };
/// How many jobs are anchored at once, to move the floor.
const ANCHORS_MAX: usize = 5_000;
/// How many jobs in memory are looked over before others have it again.
const LOOKED_OVER_MAX: usize = 10_000;

impl Writer<'_> {
    /// Puts the log away, as the last thing.
    pub(super) fn close(mut self) {
        if self.shared.health().is_err() {
            return;
        }
        self.numbers.group_attempts_from = self.numbers.attempts_next;
        // The numbers only spare the next opening some reading.
        let settled = self.write_numbers().and_then(|()| Ok(recover::mark_open(self.conn, false)?));
        match settled.map_err(|fault| StoreError::from(&fault)) {
            Ok(()) => _ = open::put_away(self.conn),
            Err(StoreError::Busy(_)) => tracing::warn!(
                file = %self.shared.readers.path().display(),
                "another program holds the store's lock as the host ends: end its transaction, and start the host before \
                 that program closes the file, or it takes the log along and the start will miss it"
            ),
            // Nothing that failed is tried again: the next opening does all of it. The file says that there is a log.
            Err(_) => {}
        }
    }

    /// Where a few old jobs make the opening look over many attempts, their newest attempts are written on their rows,
    /// so that the opening can begin behind them.
    pub(super) fn move_floor(&self, group: &mut Group) -> Outcome<()> {
        let below = self.numbers.attempts_next - ATTEMPTS_SCAN_MAX;
        if self.numbers.attempts_floor >= below {
            return Ok(());
        }
        for (place, newest) in self.laggards(below) {
            // A job that this group has changed is left for the next time.
            if group.touched.contains(&place) {
                continue;
            }
            let sql = "UPDATE jobs SET last_attempt = ?2, \
                       end_sum = row_sum('end', place, NULL, NULL, ?2, result_sum) \
                       WHERE place = ?1 AND end_state IS NULL";
            self.conn.prepare_cached(sql)?.execute([place, newest])?;
            group.effects.push(Effect::Anchored(place, newest));
        }
        Ok(())
    }

    /// Jobs that hold the floor below `below`. Nobody waits for the memory while all of it is looked over.
    fn laggards(&self, below: i64) -> Vec<(i64, i64)> {
        let (mut laggards, mut from) = (Vec::new(), Some(0));
        let sought = self.shared.memory().live.lagging(below).min(ANCHORS_MAX);
        while laggards.len() < sought
            && let Some(place) = from
        {
            let (some, next) = self.shared.memory().live.laggards(below, place, LOOKED_OVER_MAX);
            laggards.extend(some);
            from = next;
        }
        laggards.truncate(ANCHORS_MAX);
        laggards
    }

    /// Writes down where the opening has to begin, as memory has it: what this group does counts next time. And the
    /// highest place, which no row may tell of once its job is deleted.
    pub(super) fn write_numbers(&mut self) -> Outcome<()> {
        let floor = self.shared.memory().live.attempts_floor();
        // An attempt of this group may not be in memory yet; none of them is below the first that it could append.
        let floor = floor.unwrap_or(self.numbers.group_attempts_from).min(self.numbers.group_attempts_from);
        set_meta(self.conn, "attempts_floor", floor)?;
        set_meta(self.conn, "attempts_next", self.numbers.attempts_next)?;
        set_meta(self.conn, "last_place", self.ids.last_place())?;
        self.numbers.attempts_floor = floor;
        Ok(())
    }
}
