//! Edits that come while a component is being compiled: what the plugin may reach holds at once, and not when that ends.

use std::pin::pin;
use std::sync::atomic::Ordering;

use futures_util::future::{Either, select};

use super::super::folder::{Found, Stamp};
use super::{Slot, Standing};

impl Slot {
    /// Does that work. As often as the plugin's file, or what its grants are made of, is accepted anew meanwhile, it is
    /// taken up beside the work. Whoever drops this has lost nothing: what was not taken up to the end still counts as
    /// new.
    pub(super) async fn obeying<T>(&self, standing: &mut Standing, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut tried = None;
        loop {
            tried = tokio::select! {
                biased;
                done = &mut work => return done,
                edited = self.edited(&standing.taken, tried.as_ref()) => Some(edited),
            };
            let grants = tried.as_ref().and_then(|edited| edited.grants.as_ref());
            let taking = pin!(self.take_edit(standing, grants));
            if let Either::Right((done, taking)) = select(taking, work.as_mut()).await {
                taking.await;
                return done;
            }
        }
    }

    /// Waits for files that were neither taken up nor tried. Those of the component are of no matter here.
    async fn edited(&self, taken: &Found, tried: Option<&Found>) -> Found {
        let is_same = |one: &Found, other: &Found| one.grants == other.grants && one.sources == other.sources;
        loop {
            let changed = self.accepted_changed.notified();
            let accepted = self.accepted();
            let is_known = is_same(&accepted, taken) || tried.is_some_and(|tried| is_same(&accepted, tried));
            if !is_known || self.is_stale.load(Ordering::Acquire) {
                return accepted;
            }
            changed.await;
        }
    }

    async fn take_edit(&self, standing: &mut Standing, grants: Option<&Stamp>) {
        let edit = self.take_grants(standing, grants).await;
        self.is_stale.store(false, Ordering::Release);
        if edit.is_news {
            self.publish(standing, edit.grants_edited);
        }
    }
}
