//! What was found closed, and opens: plugins, their parts in downstreams, and their limit keys.
//!
//! A lane stands below one plugin and one part, which leave their rings with all their lanes at once. A limit key lies
//! across the parts. A lane that is refused for its key waits beside the ring, with the others that were. When the key
//! opens, the first of them stands in the ring again and *leads*: it is asked for in the place of all. When it may be the
//! first no more, because it was let in, has less urgent jobs left or none, or its downstream was found closed, the next one
//! leads, until one is refused. So each question that is answered by a key lets one lane wait, and each place that a key gives is one
//! question, however many lanes wait for it.

use std::collections::BTreeSet;

use slab::Slab;

use super::{Closed, KeyState, Lanes};
use crate::clock::UnixMs;
use crate::job::gates::{Doors, Opened};
use crate::job::live::tally::number;

/// Something closed, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Door {
    Plugin(u32),
    Part(u32),
    Key(u32),
}

/// When what is closed opens by itself.
#[derive(Debug, Default)]
pub(super) struct Openings(BTreeSet<(UnixMs, Door)>);

impl Openings {
    /// Closes something that may be closed already.
    fn close(&mut self, closed: &mut Closed, until: Option<UnixMs>, door: Door) {
        self.open(closed, door);
        *closed = Some(until);
        self.0.extend(until.map(|until| (until, door)));
    }

    /// Whether it was closed.
    fn open(&mut self, closed: &mut Closed, door: Door) -> bool {
        let until = closed.take();
        if let Some(Some(until)) = until {
            self.0.remove(&(until, door));
        }
        until.is_some()
    }
}

impl Lanes {
    /// Takes a closed plugin with all its lanes out of the ring.
    pub(in crate::job::live) fn close_plugin_of(&mut self, lane: u32, until: Option<UnixMs>) {
        let plugin = self.parts[self.states[lane as usize].part as usize].plugin;
        self.openings.close(&mut self.plugins[plugin as usize].closed, until, Door::Plugin(plugin));
        self.place_plugin(plugin);
    }

    /// Takes all lanes of the plugin that call the lane's downstream out of the ring.
    pub(in crate::job::live) fn close_downstream_of(&mut self, lane: u32, until: Option<UnixMs>) {
        let part = self.states[lane as usize].part;
        self.openings.close(&mut self.parts[part as usize].closed, until, Door::Part(part));
        self.place(part);
        for leader in std::mem::take(&mut self.parts[part as usize].leaders) {
            if let Some(key) = self.states[leader as usize].key {
                self.lead(key);
            }
        }
    }

    /// Has the lane wait for its limit key. The other lanes with that key join it when they are asked for.
    pub(in crate::job::live) fn close_key_of(&mut self, lane: u32, until: Option<UnixMs>) {
        let state = &self.states[lane as usize];
        let (ring, Some(key)) = (state.ring, state.key) else { return self.close_downstream_of(lane, until) };
        self.openings.close(&mut self.keys[key as usize].closed, until, Door::Key(key));
        self.stand(lane, ring, true);
        self.hand_on(lane);
    }

    /// Whether the lane has a limit key that was found closed.
    pub(super) fn is_key_closed(&self, lane: u32) -> bool {
        self.states[lane as usize].key.is_some_and(|key| self.keys[key as usize].closed.is_some())
    }

    /// Where the lane stood for those that wait for its limit key, the next of them does.
    pub(super) fn hand_on(&mut self, lane: u32) {
        let state = &self.states[lane as usize];
        if let Some(key) = state.key
            && self.parts[state.part as usize].leaders.remove(&lane)
        {
            self.lead(key);
        }
    }

    /// Has the first of those that wait for an open key stand for the others: the first whose downstream is open. Those
    /// before it are asked for when theirs opens.
    fn lead(&mut self, key: u32) {
        while let KeyState { closed: None, waiting, .. } = &self.keys[key as usize]
            && let Some(first) = waiting.first().copied()
        {
            let (.., lane) = first;
            self.stand(lane, Some(first), false);
            let part = &mut self.parts[self.states[lane as usize].part as usize];
            if part.closed.is_none() {
                part.leaders.insert(lane);
                return;
            }
        }
    }

    pub(super) fn open_plugin(&mut self, plugin: u32) {
        if self.openings.open(&mut self.plugins[plugin as usize].closed, Door::Plugin(plugin)) {
            self.place_plugin(plugin);
        }
    }

    pub(super) fn open_part(&mut self, part: u32) {
        if self.openings.open(&mut self.parts[part as usize].closed, Door::Part(part)) {
            self.place(part);
        }
    }

    pub(super) fn open_key(&mut self, key: u32) {
        if self.openings.open(&mut self.keys[key as usize].closed, Door::Key(key)) {
            self.lead(key);
        }
    }

    /// Brings back what may have opened, by itself by now or because of what was said.
    pub(in crate::job::live) fn open(&mut self, opened: Opened, now: UnixMs) {
        while let Some((_, door)) = self.openings.0.first().filter(|(moment, _)| *moment <= now) {
            match *door {
                Door::Plugin(plugin) => self.open_plugin(plugin),
                Door::Part(part) => self.open_part(part),
                Door::Key(key) => self.open_key(key),
            }
        }
        match opened {
            Opened::Any => self.open_all(),
            Opened::These(doors) => self.open_these(&doors),
        }
    }

    fn open_these(&mut self, Doors { keys, downstreams, plugins }: &Doors) {
        for (plugin, key) in keys {
            if let Some(key) = self.key_number(plugin, key) {
                self.open_key(key);
            }
        }
        for downstream in downstreams {
            if let Some(part) = self.part_number(downstream.into()) {
                self.open_part(part);
            }
        }
        for plugin in plugins {
            if let Some(plugin) = self.plugin_number(plugin) {
                self.open_plugin(plugin);
            }
        }
    }

    fn open_all(&mut self) {
        for plugin in numbers(&self.plugins) {
            self.open_plugin(plugin);
        }
        for part in numbers(&self.parts) {
            self.open_part(part);
        }
        for key in numbers(&self.keys) {
            self.open_key(key);
        }
    }

    /// When the first of what is closed opens by itself.
    pub(in crate::job::live) fn next_opening(&self) -> Option<UnixMs> {
        self.openings.0.first().map(|(moment, _)| *moment)
    }
}

fn numbers<T>(slab: &Slab<T>) -> Vec<u32> {
    slab.iter().map(|(at, _)| number(at)).collect()
}
