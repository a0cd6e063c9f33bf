//! The host's places for attempts, and how plugins share them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{WaitReason, Waiting};
use crate::job::Share;

/// Places for attempts. The plugins that are refused one for holding too many stand in order: who holds least is let in
/// first.
#[derive(Debug)]
pub(super) struct Places {
    all: u32,
    taken: u32,
    share: Share,
    /// How many plugins there are: one that is alone shares with nobody.
    plugins: u32,
    refused: BTreeSet<(u32, Arc<str>)>,
}

impl Places {
    pub(super) fn new(all: u32) -> Self {
        Self { all, taken: 0, share: Share::default(), plugins: 0, refused: BTreeSet::new() }
    }

    pub(super) fn share_by(&mut self, share: Share) {
        self.share = share;
    }

    pub(super) fn all(&self) -> u32 {
        self.all
    }

    /// Why a plugin that holds so many would not be given one more; none where it would.
    pub(super) fn why_waiting(&self, held: u32) -> Option<Waiting> {
        let all = self.all;
        let detail = if self.are_full() {
            format!("the host runs {} attempts, its limit", self.taken)
        } else if !self.admit(held) {
            format!("the plugin runs {held} of the host's {all} attempts, its share; the rest is for others")
        } else {
            return None;
        };
        Some(Waiting { reason: WaitReason::Concurrency, until: None, detail: Some(detail) })
    }

    pub(super) fn taken(&self) -> u32 {
        self.taken
    }

    pub(super) fn are_full(&self) -> bool {
        self.taken >= self.all
    }

    pub(super) fn plugins(&self) -> u32 {
        self.plugins
    }

    /// A plugin came, or went.
    pub(super) fn count_plugin(&mut self, was_there: bool, is_there: bool) {
        self.plugins = self.plugins + u32::from(is_there) - u32::from(was_there);
    }

    /// Whether a plugin that holds so many may take one more.
    pub(super) fn admit(&self, held: u32) -> bool {
        let free = self.all.saturating_sub(self.taken);
        if self.plugins <= 1 { free > 0 } else { self.share.admits(held.into(), free.into()) }
    }

    /// A plugin that holds so many was refused one more.
    pub(super) fn refuse(&mut self, plugin: &Arc<str>, held: u32) {
        self.refused.insert((held, plugin.clone()));
    }

    pub(super) fn take(&mut self) {
        self.taken += 1;
    }

    /// A plugin gives one back, and holds so many from now on.
    pub(super) fn give_back(&mut self, plugin: &Arc<str>, held: u32) {
        self.taken = self.taken.saturating_sub(1);
        if self.refused.remove(&(held + 1, plugin.clone())) {
            self.refuse(plugin, held);
        }
    }

    /// Of the refused the one that may take a place now, if any: it is asked again, and stands here no longer.
    pub(super) fn next(&mut self) -> Option<Arc<str>> {
        let may = self.refused.first().is_some_and(|(held, _)| self.admit(*held));
        if may { self.refused.pop_first().map(|(_, plugin)| plugin) } else { None }
    }
}
