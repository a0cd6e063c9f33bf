//! Whose turn it is to compute: guests that compute for long take turns, plugin by plugin, so that one with a hundred of
//! them is given no more of the processor than one with a single guest.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use crate::lock::lock;

/// The turns that can be had at the same time: one a thread.
#[derive(Debug)]
pub(super) struct Turns(Mutex<Queue>);

#[derive(Debug)]
struct Queue {
    /// Turns that nobody has.
    free: usize,
    /// Who waits. Who is missing here and holds a number was given its turn.
    wakers: HashMap<u64, Waker>,
    plugins: HashMap<Arc<str>, PluginTurns>,
    /// The plugins with a number, in the order of their turns: who has fewest, then who was given one longest ago.
    ring: BTreeSet<(usize, u64, Arc<str>)>,
    next_number: u64,
}

/// What one plugin has of the turns.
#[derive(Debug, Default)]
struct PluginTurns {
    taken: usize,
    /// When it was given the last one, by the count of all numbers.
    last: u64,
    /// The numbers of its guests, in the order in which they asked. Some were given up meanwhile.
    numbers: VecDeque<u64>,
}

/// So many plugins that want nothing are remembered.
const AT_REST_MAX: usize = 1_000;

impl Turns {
    /// So many at the same time.
    pub(super) fn new(at_once: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Queue {
            free: at_once,
            wakers: HashMap::new(),
            plugins: HashMap::new(),
            ring: BTreeSet::new(),
            next_number: 0,
        })))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.0)
    }
}

impl Queue {
    /// Asks for a turn of that plugin, at first or again. True: it is there.
    fn ask(&mut self, plugin: &Arc<str>, number: &mut Option<u64>, waker: &Waker) -> bool {
        match *number {
            Some(number) => match self.wakers.get_mut(&number) {
                Some(waiting) => {
                    waiting.clone_from(waker);
                    false
                }
                None => true,
            },
            None if self.free > 0 => {
                self.free -= 1;
                self.change(plugin, |turns, count| (turns.taken, turns.last) = (turns.taken + 1, count));
                true
            }
            None => {
                self.change(plugin, |turns, count| turns.numbers.push_back(count));
                *number = Some(self.next_number);
                self.wakers.insert(self.next_number, waker.clone());
                false
            }
        }
    }

    /// A turn of that plugin is over: whose is the next. Who is returned is to be woken.
    fn pass_on(&mut self, plugin: &Arc<str>) -> Option<Waker> {
        self.change(plugin, |turns, _| turns.taken = turns.taken.saturating_sub(1));
        while let Some((_, _, plugin)) = self.ring.first().cloned() {
            let mut next = None;
            self.change(&plugin, |turns, _| next = turns.numbers.pop_front());
            if let Some(waker) = next.and_then(|number| self.wakers.remove(&number)) {
                self.change(&plugin, |turns, count| (turns.taken, turns.last) = (turns.taken + 1, count));
                return Some(waker);
            }
        }
        self.free += 1;
        None
    }

    /// Changes what a plugin has, and puts it where it belongs. The change is told a number that is new.
    fn change(&mut self, plugin: &Arc<str>, change: impl FnOnce(&mut PluginTurns, u64)) {
        self.next_number += 1;
        if self.plugins.len() > AT_REST_MAX {
            self.plugins.retain(|_, turns| turns.taken > 0 || !turns.numbers.is_empty());
        }
        let turns = self.plugins.entry(plugin.clone()).or_default();
        self.ring.remove(&(turns.taken, turns.last, plugin.clone()));
        change(turns, self.next_number);
        if !turns.numbers.is_empty() {
            self.ring.insert((turns.taken, turns.last, plugin.clone()));
        }
    }
}

/// A future that is polled when it is its plugin's turn.
#[derive(Debug)]
pub(super) struct InTurn<F> {
    turns: Arc<Turns>,
    plugin: Arc<str>,
    /// Where it has asked and not been polled since.
    number: Option<u64>,
    future: F,
}

impl<F> InTurn<F> {
    /// A future of that plugin.
    pub(super) fn new(turns: Arc<Turns>, plugin: Arc<str>, future: F) -> Self {
        Self { turns, plugin, number: None, future }
    }
}

impl<F: Future + Unpin> Future for InTurn<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        if !this.turns.queue().ask(&this.plugin, &mut this.number, context.waker()) {
            return Poll::Pending;
        }
        this.number = None;
        let _turn = Turn(&this.turns, &this.plugin);
        Pin::new(&mut this.future).poll(context)
    }
}

impl<F> Drop for InTurn<F> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let next = {
            let mut queue = self.turns.queue();
            // Who waited gives up its place; who was given a turn, and did not take it, passes it on.
            if queue.wakers.remove(&number).is_some() { None } else { queue.pass_on(&self.plugin) }
        };
        next.into_iter().for_each(Waker::wake);
    }
}

/// A turn that was taken; also a panic gives it back.
struct Turn<'a>(&'a Turns, &'a Arc<str>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let next = self.0.queue().pass_on(self.1);
        next.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use proptest::prelude::*;

    use super::*;

    /// Never ready; counts its polls.
    struct Endless(Arc<Mutex<Vec<&'static str>>>, &'static str);

    impl Future for Endless {
        type Output = ();

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            self.0.lock().unwrap().push(self.1);
            Poll::Pending
        }
    }

    /// Remembers who was woken.
    struct Bell(usize, Arc<Mutex<VecDeque<usize>>>);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push_back(self.0);
        }
    }

    struct Bench {
        turns: Arc<Turns>,
        polled: Arc<Mutex<Vec<&'static str>>>,
        woken: Arc<Mutex<VecDeque<usize>>>,
        guests: Vec<Option<InTurn<Endless>>>,
    }

    impl Bench {
        fn new(at_once: usize, guests: &[(&'static str, usize)]) -> Self {
            let (turns, polled) = (Turns::new(at_once), Arc::default());
            let each = guests.iter().flat_map(|(name, count)| std::iter::repeat_n(*name, *count));
            let guest =
                |name: &'static str| InTurn::new(Arc::clone(&turns), name.into(), Endless(Arc::clone(&polled), name));
            let guests = each.map(|name| Some(guest(name))).collect();
            Self { turns, polled, woken: Arc::default(), guests }
        }

        fn poll(&mut self, index: usize) {
            let waker = Arc::new(Bell(index, self.woken.clone())).into();
            if let Some(guest) = &mut self.guests[index] {
                let _ = Pin::new(guest).poll(&mut Context::from_waker(&waker));
            }
        }

        fn polls(&self, name: &str) -> usize {
            self.polled.lock().unwrap().iter().filter(|polled| **polled == name).count()
        }
    }

    #[test]
    fn a_plugin_with_a_hundred_guests_has_no_more_turns_than_one_with_a_single_guest() {
        let mut bench = Bench::new(1, &[("many", 100), ("one", 1)]);
        // Somebody has the only turn while all others ask for it.
        bench.turns.queue().free = 0;
        (0..101).for_each(|index| bench.poll(index));
        drop(Turn(&bench.turns, &"other".into()));
        for _ in 0..200 {
            let next = bench.woken.lock().unwrap().pop_front().expect("somebody's turn");
            // It is polled, and goes on at once: it asks again while the others wait.
            bench.poll(next);
            bench.poll(next);
        }
        let (many, one) = (bench.polls("many"), bench.polls("one"));
        assert!(many.abs_diff(one) <= 1, "{many} turns of the many, {one} of the one");
    }

    #[test]
    fn each_plugin_has_its_turns_however_many_guests_it_has() {
        let plugins = [("many", 50), ("some", 5), ("one", 1), ("two", 2)];
        let mut bench = Bench::new(2, &plugins);
        bench.turns.queue().free = 0;
        (0..58).for_each(|index| bench.poll(index));
        (0..2).for_each(|_| drop(Turn(&bench.turns, &"other".into())));
        for _ in 0..400 {
            let next = bench.woken.lock().unwrap().pop_front().expect("somebody's turn");
            bench.poll(next);
            bench.poll(next);
        }
        for (name, _) in plugins {
            assert!(bench.polls(name).abs_diff(100) <= 2, "{name} had {} turns of 400", bench.polls(name));
        }
    }

    #[test]
    fn a_turn_that_nobody_waits_for_is_free() {
        let mut bench = Bench::new(2, &[("a", 1)]);
        bench.poll(0);
        bench.poll(0);
        assert_eq!((bench.polls("a"), bench.turns.queue().free), (2, 2));
    }

    proptest! {
        /// Whoever asks, gives up or is polled for nothing: no turn is lost, none is given twice.
        #[test]
        fn no_turn_is_lost(steps in prop::collection::vec((0_usize..12, any::<bool>()), 1..200), at_once in 1_usize..4) {
            let mut bench = Bench::new(at_once, &[("a", 8), ("b", 4)]);
            bench.turns.queue().free = 0;
            for (index, gives_up) in steps {
                if gives_up && index % 3 == 0 { bench.guests[index] = None } else { bench.poll(index) }
            }
            (0..at_once).for_each(|_| drop(Turn(&bench.turns, &"other".into())));
            let woken = bench.woken.clone();
            let next = || woken.lock().unwrap().pop_front();
            while let Some(next) = next() {
                bench.poll(next);
            }
            let queue = bench.turns.queue();
            prop_assert_eq!(queue.free, at_once);
            prop_assert!(queue.wakers.is_empty());
        }
    }
}
