//! Reading back jobs that are on disk only, beside everything else that the store does.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::Shared;
use super::fault::Outcome;
use super::unfinished::{self, Context};
use super::writer::Writer;
use crate::job::live::{Nearest, Read, Reload, ReloadDue};
use crate::store::StoreError;

/// How long after a read began it is looked at again, at the latest: one that could not be carried out is begun anew.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

impl Writer<'_> {
    /// Begins to read, where it is time. Answers after how long to look again, where that is to be.
    pub(super) fn reload(&self) -> Option<Duration> {
        self.shared.health().ok()?;
        let due = self.shared.memory().live.begin_reload(self.shared.opened.elapsed());
        let reload = match due {
            ReloadDue::Never => return None,
            ReloadDue::UnderWay => return Some(LOOK_AGAIN),
            ReloadDue::In(pause) => return Some(pause),
            ReloadDue::Now(reload) => reload,
        };
        let (shared, suspects_to, order) = (Arc::clone(&self.shared), self.opening_place, reload.clone());
        let thread = std::thread::Builder::new().name("windlass-reload".to_owned());
        if thread.spawn(move || shared.read_back(&order, suspects_to)).is_err() {
            self.shared.memory().live.abandon(&reload, self.shared.opened.elapsed());
        }
        Some(LOOK_AGAIN)
    }
}

impl Shared {
    fn read_back(&self, reload: &Reload, suspects_to: i64) {
        let read = self.readers.work.read_here(|conn| nearest(conn, reload, suspects_to));
        match read.map_err(|fault| StoreError::from(&fault)) {
            Ok(read) => {
                self.memory().live.merge(reload, &read, self.opened.elapsed(), self.seen());
                self.changed.notify_one();
            }
            Err(error) if error.is_passing() => self.memory().live.abandon(reload, self.opened.elapsed()),
            // Waiting jobs that cannot be read would wait for ever.
            Err(error) => self.poison(&error),
        }
    }
}

/// The nearest waiting jobs of each plugin that are asked for. A host may have died of the jobs up to that place.
fn nearest(conn: &Connection, reload: &Reload, suspects_to: i64) -> Outcome<Read> {
    let mut nearest = Nearest::new(reload);
    Context::read(conn, suspects_to)?.scan(conn, &unfinished::ALL, |job, lane| nearest.see(job, lane))?;
    Ok(nearest.read())
}
