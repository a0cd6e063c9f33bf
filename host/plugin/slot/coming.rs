//! Components that are being put over HTTP. They are compiled without the place's lock, so that edits and removals are taken
//! up meanwhile. Each knows what lay in the folder as it began: whoever changes that later overtakes it, however late that
//! is seen, and what was changed before does not. What was overtaken never serves.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::lock::lock;
use crate::to_its_end::to_its_end;

use super::super::folder::{Kind, Stamp};
use super::super::{InstallError, Loading};
use super::Slot;

/// Those of one plugin.
#[derive(Debug, Default)]
pub(super) struct Coming {
    /// The number of the last one.
    last: u64,
    /// Those that are under way.
    under_way: BTreeMap<u64, UnderWay>,
    /// How many of them are about to serve. What is compiled for the folder gives way to them.
    ready: usize,
    /// How many of them are being put into the folder. What is seen there meanwhile may be theirs.
    writing: usize,
}

/// One that is under way.
#[derive(Debug)]
struct UnderWay {
    /// The component that lay in the folder as it began, or that came there before it; none while that is not known.
    base: Option<Option<Stamp>>,
    is_overtaken: bool,
    /// What is seen of it.
    loading: Option<Arc<Loading>>,
}

impl Coming {
    /// All that are under way are overtaken. False where there are none.
    pub(super) fn overtake(&mut self) -> bool {
        self.under_way.values_mut().for_each(|one| one.is_overtaken = true);
        !self.under_way.is_empty()
    }

    /// That component was found in the folder, or none: those that began when another lay there are overtaken.
    pub(super) fn found(&mut self, component: Option<&Stamp>) {
        if self.writing == 0 {
            let began_before = |one: &&mut UnderWay| one.base.as_ref().is_some_and(|base| base.as_ref() != component);
            self.under_way.values_mut().filter(began_before).for_each(|one| one.is_overtaken = true);
        }
    }

    /// Whether one of them is about to serve.
    pub(super) fn is_one_ready(&self) -> bool {
        self.ready > 0
    }

    /// What is seen of the last of them that is being compiled.
    pub(super) fn loading(&self) -> Option<Arc<Loading>> {
        let wanted = self.under_way.values().rev().filter(|one| !one.is_overtaken);
        wanted.map(|one| &one.loading).find_map(Clone::clone)
    }
}

/// One of them, until it serves or is given up.
#[derive(Debug)]
pub(super) struct Put {
    slot: Arc<Slot>,
    number: u64,
    is_ready: bool,
    is_writing: bool,
}

impl Put {
    /// It comes after all others, and after what lies in the folder.
    ///
    /// # Errors
    /// Where the folder cannot be looked at.
    pub(super) async fn begin(slot: &Arc<Slot>) -> Result<Self, InstallError> {
        let put = Self::numbered(slot);
        let base = slot.stamp(Kind::Component).await?;
        // One that came before it may lie there by now.
        lock(&slot.coming).under_way.entry(put.number).and_modify(|one| _ = one.base.get_or_insert(base));
        Ok(put)
    }

    /// Those that are asked for at once come in the order in which they were.
    fn numbered(slot: &Arc<Slot>) -> Self {
        let mut coming = lock(&slot.coming);
        coming.last += 1;
        let number = coming.last;
        coming.under_way.insert(number, UnderWay { base: None, is_overtaken: false, loading: None });
        Self { slot: slot.clone(), number, is_ready: false, is_writing: false }
    }

    /// From here on it is seen, as soon as somebody shows the plugin.
    pub(super) fn is_compiled(&self, loading: Arc<Loading>) {
        lock(&self.slot.coming).under_way.entry(self.number).and_modify(|one| one.loading = Some(loading));
    }

    /// It is about to serve: what is being compiled for the folder is given up for it.
    pub(super) fn ready(&mut self) {
        lock(&self.slot.coming).ready += usize::from(!std::mem::replace(&mut self.is_ready, true));
        self.slot.accepted_changed.notify_waiters();
    }

    /// # Errors
    /// Where it was overtaken.
    pub(super) fn check(&self) -> Result<(), InstallError> {
        let coming = lock(&self.slot.coming);
        let is_overtaken = coming.under_way.get(&self.number).is_none_or(|one| one.is_overtaken);
        if is_overtaken { Err(InstallError::Overtaken) } else { Ok(()) }
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

    /// It is being put into the folder.
    pub(super) fn writes(&mut self) {
        lock(&self.slot.coming).writing += usize::from(!std::mem::replace(&mut self.is_writing, true));
    }

    /// It lies in the folder, as that file: those that came before it are overtaken, and those that came later come after
    /// it.
    pub(super) fn serves(&mut self, component: &Stamp) {
        let mut coming = lock(&self.slot.coming);
        coming.under_way.remove(&self.number);
        for (number, one) in &mut coming.under_way {
            one.is_overtaken |= *number < self.number;
            one.base = Some(Some(component.clone()));
        }
        coming.ready -= usize::from(std::mem::take(&mut self.is_ready));
        coming.writing -= usize::from(std::mem::take(&mut self.is_writing));
    }
}

impl Drop for Put {
    fn drop(&mut self) {
        let mut coming = lock(&self.slot.coming);
        let was_seen = coming.under_way.remove(&self.number).is_some_and(|one| one.loading.is_some());
        coming.ready -= usize::from(self.is_ready);
        coming.writing -= usize::from(self.is_writing);
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
