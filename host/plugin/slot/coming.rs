//! Components that are being put over HTTP. They are compiled without the place's lock, so that edits and removals are taken
//! up meanwhile: who came last is told by numbers. What was overtaken never serves.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::lock::lock;
use crate::to_its_end::to_its_end;

use super::super::{InstallError, Loading};
use super::Slot;

/// Those of one plugin.
#[derive(Debug, Default)]
pub(super) struct Coming {
    /// The number of the last one.
    last: u64,
    /// Those up to this number are overtaken.
    over: u64,
    /// Those that are under way, with what is seen of them.
    under_way: BTreeMap<u64, Option<Arc<Loading>>>,
    /// How many of them are about to serve. What is compiled for the folder gives way to them.
    ready: usize,
}

impl Coming {
    /// All that are under way are overtaken. False where there are none.
    pub(super) fn overtake(&mut self) -> bool {
        self.over = self.last;
        !self.under_way.is_empty()
    }

    /// Whether one of them is about to serve.
    pub(super) fn is_one_ready(&self) -> bool {
        self.ready > 0
    }

    /// What is seen of the last of them that is being compiled.
    pub(super) fn loading(&self) -> Option<Arc<Loading>> {
        let wanted = self.under_way.iter().rev().filter(|(number, _)| **number > self.over);
        wanted.map(|(_, loading)| loading).find_map(Clone::clone)
    }
}

/// One of them, until it serves or is given up.
#[derive(Debug)]
pub(super) struct Put {
    slot: Arc<Slot>,
    number: u64,
    is_ready: bool,
}

impl Put {
    /// It comes after all others.
    pub(super) fn begin(slot: &Arc<Slot>) -> Self {
        let mut coming = lock(&slot.coming);
        coming.last += 1;
        let number = coming.last;
        coming.under_way.insert(number, None);
        drop(coming);
        Self { slot: slot.clone(), number, is_ready: false }
    }

    /// From here on it is seen, as soon as somebody shows the plugin.
    pub(super) fn is_compiled(&self, loading: Arc<Loading>) {
        lock(&self.slot.coming).under_way.insert(self.number, Some(loading));
    }

    /// It is about to serve: what is being compiled for the folder is given up for it.
    pub(super) fn ready(&mut self) {
        lock(&self.slot.coming).ready += usize::from(!std::mem::replace(&mut self.is_ready, true));
        self.slot.accepted_changed.notify_waiters();
    }

    /// # Errors
    /// Where it was overtaken.
    pub(super) fn check(&self) -> Result<(), InstallError> {
        if self.number > lock(&self.slot.coming).over { Ok(()) } else { Err(InstallError::Overtaken) }
    }

    /// Waits until it is overtaken.
    pub(super) async fn overtaken(&self) -> InstallError {
        loop {
            let changed = self.slot.accepted_changed.notified();
            if let Err(error) = self.check() {
                return error;
            }
            changed.await;
        }
    }

    /// It lies in the folder: those that came before it are overtaken.
    pub(super) fn serves(&mut self) {
        let mut coming = lock(&self.slot.coming);
        coming.over = coming.over.max(self.number - 1);
        coming.under_way.remove(&self.number);
        coming.ready -= usize::from(std::mem::take(&mut self.is_ready));
    }
}

impl Drop for Put {
    fn drop(&mut self) {
        let mut coming = lock(&self.slot.coming);
        let was_seen = coming.under_way.remove(&self.number).flatten().is_some();
        coming.ready -= usize::from(self.is_ready);
        drop(coming);
        if !was_seen && !self.is_ready {
            return;
        }
        if !self.is_ready
            && let Ok(standing) = self.slot.state.try_lock()
        {
            self.slot.publish(&standing, false);
            return;
        }
        // What gave way to it has its turn again, and the plugin's file may have been read for it.
        let slot = self.slot.clone();
        drop(to_its_end(async move {
            slot.show().await;
            slot.take_up().await;
        }));
    }
}
