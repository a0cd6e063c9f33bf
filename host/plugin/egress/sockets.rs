//! The host's sockets to downstreams, and how plugins share them.
//!
//! A socket is taken before it is dialled and given back when it is closed, so that all plugins together never use up the
//! descriptors that the store, the listener and the compiler need. The rule is that of [`Share`]: whoever holds nothing
//! finds one. Who has no leave waits in its plugin's line, and meanwhile connections that are kept for later are closed
//! for it. A call over a connection that is there already comes nowhere near this.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::job::Share;
use crate::lock::lock;

use super::usage::Usage;

/// How often connections are looked through for those that can be closed, while anybody waits.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// All sockets to downstreams of one host.
#[derive(Debug)]
pub(in crate::plugin) struct Sockets {
    all: u32,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    taken: u32,
    /// The plugins that hold a socket, or wait for one.
    accounts: BTreeMap<Arc<str>, Account>,
    next_number: u64,
    /// Somebody looks for connections to close.
    is_looking: bool,
}

/// What one plugin holds.
#[derive(Debug, Default)]
struct Account {
    held: BTreeMap<u64, Arc<Usage>>,
    waiting: VecDeque<oneshot::Sender<Socket>>,
}

/// Leave to have one socket, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Socket {
    sockets: Arc<Sockets>,
    plugin: Arc<str>,
    number: u64,
    /// How the connection over it is used.
    pub(super) usage: Arc<Usage>,
}

impl Account {
    fn count(&self) -> u64 {
        self.held.len() as u64
    }

    /// It holds nothing, and waits for nothing.
    fn is_over(&self) -> bool {
        self.held.is_empty() && self.waiting.is_empty()
    }
}

impl Sockets {
    /// So many in all.
    pub(in crate::plugin) fn new(all: u32) -> Arc<Self> {
        Arc::new(Self { all: all.max(1), inner: Mutex::default() })
    }

    /// One for that plugin, when it is its turn. Whoever gives up waiting only drops this.
    pub(super) async fn take(self: &Arc<Self>, plugin: &Arc<str>) -> Socket {
        let waiting = {
            let mut inner = self.lock();
            if let Some(socket) = self.give_at_once(&mut inner, plugin) {
                return socket;
            }
            let (sender, receiver) = oneshot::channel();
            inner.accounts.entry(plugin.clone()).or_default().waiting.push_back(sender);
            if !std::mem::replace(&mut inner.is_looking, true) {
                Handle::current().spawn(look(Arc::downgrade(self)));
            }
            receiver
        };
        // The sender stays in line until it has sent.
        waiting.await.expect("nobody leaves the line but by being served")
    }

    /// One for that plugin that it can do without: none where it would have to wait for it.
    pub(super) fn take_spare(self: &Arc<Self>, plugin: &Arc<str>) -> Option<Socket> {
        self.give_at_once(&mut self.lock(), plugin)
    }

    /// Connections of that plugin to that origin take no further request. Those that nobody uses end at once.
    pub(super) fn retire(&self, plugin: &str, origin: &str) {
        let inner = self.lock();
        let held = inner.accounts.get(plugin).map(|account| account.held.values());
        held.into_iter().flatten().filter(|usage| usage.is_of(origin)).for_each(|usage| usage.retire());
    }

    /// Why a call of that plugin waits for a socket, for people.
    pub(super) fn why_waiting(&self, plugin: &str) -> String {
        let inner = self.lock();
        format!(
            "the plugin has {} of the {} connections to downstreams that the host can have, and {} are taken in all",
            inner.accounts.get(plugin).map_or(0, Account::count),
            self.all,
            inner.taken
        )
    }

    fn give_at_once(self: &Arc<Self>, inner: &mut Inner, plugin: &Arc<str>) -> Option<Socket> {
        let account = inner.accounts.get(plugin);
        let has_line = account.is_some_and(|account| !account.waiting.is_empty());
        let is_admitted = Share::default().admits(account.map_or(0, Account::count), inner.free(self.all));
        (!has_line && is_admitted).then(|| self.give(inner, plugin))
    }

    fn give(self: &Arc<Self>, inner: &mut Inner, plugin: &Arc<str>) -> Socket {
        let (number, usage) = (inner.next_number, Arc::<Usage>::default());
        inner.next_number += 1;
        inner.taken += 1;
        let account = inner.accounts.entry(plugin.clone()).or_default();
        account.held.insert(number, usage.clone());
        Socket { sockets: self.clone(), plugin: plugin.clone(), number, usage }
    }

    fn give_back(self: &Arc<Self>, plugin: &Arc<str>, number: u64) {
        let mut inner = self.lock();
        inner.taken -= 1;
        if let Some(account) = inner.accounts.get_mut(plugin) {
            account.held.remove(&number);
            if account.is_over() {
                inner.accounts.remove(plugin);
            }
        }
        self.serve(inner);
    }

    /// Serves those who wait, as far as the rule goes: who holds least first.
    fn serve(self: &Arc<Self>, mut inner: MutexGuard<'_, Inner>) {
        let mut served = Vec::new();
        while let Some(plugin) = inner.next(self.all) {
            let account = inner.accounts.get_mut(&plugin).expect("it waits");
            let Some(waiting) = account.waiting.pop_front() else { break };
            if !waiting.is_closed() {
                served.push((waiting, self.give(&mut inner, &plugin)));
            } else if account.is_over() {
                inner.accounts.remove(&plugin);
            }
        }
        drop(inner);
        // Who gave up meanwhile lets go of it, which serves the next.
        served.into_iter().for_each(|(waiting, socket)| drop(waiting.send(socket)));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Inner {
    fn free(&self, all: u32) -> u64 {
        all.saturating_sub(self.taken).into()
    }

    /// Of the plugins that wait the one that holds least, where it may have one more.
    fn next(&self, all: u32) -> Option<Arc<str>> {
        let waiting = self.accounts.iter().filter(|(_, account)| !account.waiting.is_empty());
        let (plugin, account) = waiting.min_by_key(|(_, account)| account.count())?;
        Share::default().admits(account.count(), self.free(all)).then(|| plugin.clone())
    }

    /// Those who gave up leave the line. Whether anybody is left.
    fn is_awaited(&mut self) -> bool {
        for account in self.accounts.values_mut() {
            account.waiting.retain(|waiting| !waiting.is_closed());
        }
        self.accounts.retain(|_, account| !account.is_over());
        self.accounts.values().any(|account| !account.waiting.is_empty())
    }

    /// Has as many connections closed that nobody uses as there are calls that wait: for each first one of its own
    /// plugin's, then one of the plugin that holds most; of these the one that has been of no use for longest.
    fn close_idle(&self) {
        let idle = |account: &Account| {
            let mut idle: Vec<_> =
                account.held.values().filter_map(|usage| Some((usage.idle()?, usage.clone()))).collect();
            idle.sort_unstable_by_key(|(idle, _)| idle.ms);
            idle
        };
        let mut most_first: Vec<_> = self.accounts.iter().map(|(plugin, account)| (account.count(), plugin)).collect();
        most_first.sort_unstable_by(|one, other| other.cmp(one));
        let mut idle: BTreeMap<_, _> = self.accounts.iter().map(|(plugin, account)| (plugin, idle(account))).collect();
        for (plugin, account) in &self.accounts {
            for _ in 0..account.waiting.len() {
                let from = std::iter::once(plugin).chain(most_first.iter().map(|(_, plugin)| *plugin));
                let Some((seen, usage)) = from.filter_map(|plugin| idle.get_mut(plugin)?.pop()).next() else { return };
                usage.close(seen);
            }
        }
    }
}

/// Looks for connections to close as long as anybody waits.
async fn look(sockets: Weak<Sockets>) {
    loop {
        {
            let Some(sockets) = sockets.upgrade() else { return };
            let mut inner = sockets.lock();
            if !inner.is_awaited() {
                inner.is_looking = false;
                return;
            }
            inner.close_idle();
            // Who left the line may have stood before somebody.
            sockets.serve(inner);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.sockets.give_back(&self.plugin, self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn take(sockets: &Arc<Sockets>, plugin: &str) -> impl Future<Output = Socket> + use<> {
        let (sockets, plugin) = (sockets.clone(), Arc::from(plugin));
        async move { sockets.take(&plugin).await }
    }

    fn held(sockets: &Sockets, plugin: &str) -> u64 {
        sockets.lock().accounts.get(plugin).map_or(0, Account::count)
    }

    #[tokio::test]
    async fn a_plugin_that_takes_all_it_can_leaves_some_to_others() {
        let sockets = Sockets::new(20);
        let greedy: Vec<_> = std::iter::from_fn(|| take(&sockets, "greedy").now_or_never()).collect();
        assert_eq!(greedy.len(), 18);
        let modest = take(&sockets, "modest").now_or_never().expect("a newcomer finds one");
        let other = take(&sockets, "other").now_or_never().expect("and so does the next");
        assert!(take(&sockets, "third").now_or_never().is_none(), "all are taken");
        assert!(sockets.take_spare(&"fourth".into()).is_none(), "and nobody waits for what it can do without");
        drop((modest, other, greedy));
        assert_eq!(sockets.lock().taken, 0);
        assert!(!sockets.lock().is_awaited() && sockets.lock().accounts.is_empty(), "nothing is left behind");
    }

    #[tokio::test]
    async fn who_holds_least_is_served_first_and_who_gives_up_is_not() {
        let sockets = Sockets::new(4);
        let mut held_by_a: Vec<_> = std::iter::from_fn(|| take(&sockets, "a").now_or_never()).collect();
        let b = take(&sockets, "b").now_or_never().unwrap();
        assert_eq!((held_by_a.len(), sockets.lock().free(4)), (3, 0));
        let mut more_for_a = Box::pin(take(&sockets, "a"));
        let mut gives_up = Box::pin(take(&sockets, "c"));
        let mut c = Box::pin(take(&sockets, "c"));
        assert!((&mut more_for_a).now_or_never().is_none());
        assert!((&mut gives_up).now_or_never().is_none() && (&mut c).now_or_never().is_none());
        drop(gives_up);
        drop(held_by_a.pop());
        let c = c.now_or_never().expect("it holds nothing, and who stood before it is gone");
        assert!((&mut more_for_a).now_or_never().is_none());
        drop((b, c));
        let _more = more_for_a.now_or_never().expect("it holds two, and two are free");
        assert_eq!(held(&sockets, "a"), 3);
    }

    #[tokio::test]
    async fn what_is_kept_for_later_is_closed_before_somebody_is_refused() {
        let sockets = Sockets::new(3);
        let kept = take(&sockets, "a").await;
        let used = take(&sockets, "a").await;
        for both in [&used, &kept] {
            both.usage.ready();
            assert!(both.usage.enter());
            both.usage.answered();
        }
        kept.usage.leave();
        assert!(take(&sockets, "a").now_or_never().is_none());
        let waiting = tokio::spawn(take(&sockets, "a"));
        let closing = async {
            while !kept.usage.is_to_close() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), closing).await.expect("it is closed for the one that waits");
        assert!(!used.usage.is_to_close(), "somebody uses that one");
        drop(kept);
        waiting.await.unwrap();
        drop(used);
        tokio::time::sleep(LOOK_EVERY * 2).await;
        assert!(!sockets.lock().is_looking, "nobody looks when nobody waits");
    }
}
