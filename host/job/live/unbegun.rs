//! Jobs that were handed out, and whose attempts never began.

use super::{Lane, LiveSet, Phase, Standing};
use crate::clock::UnixMs;

impl LiveSet {
    /// Gives back a job that was not begun. What does not run under this token stays as it is. Answers the lane whose place
    /// it had, where it had one.
    pub fn release(&mut self, place: i64, token: i64, now: UnixMs) -> Option<Lane> {
        self.put(place, token, Phase::Ready, now)
    }

    /// A job that was handed out cannot be run, now or later: it is not handed out again, until it is read anew. Answers
    /// the lane whose place it had, where this token was its right.
    pub fn lay_aside(&mut self, place: i64, token: i64, now: UnixMs) -> Option<Lane> {
        self.put(place, token, Phase::Barred, now)
    }

    fn put(&mut self, place: i64, token: i64, phase: Phase, now: UnixMs) -> Option<Lane> {
        match self.standing(place, token) {
            Standing::Holds => {
                let lane = self.lanes.name(self.entries.get(place)?.lane).clone();
                self.unsettle(place);
                self.settle(place, phase, now);
                self.shrink();
                Some(lane)
            }
            Standing::Ghost => {
                let lane = self.ghosts.get(&place)?.lane.clone();
                self.lay_ghost(place, None, now);
                Some(lane)
            }
            Standing::Void => None,
        }
    }
}
