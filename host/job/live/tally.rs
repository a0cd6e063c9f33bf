//! How many unfinished jobs stand where, kept as they come and go: nobody has to look through them to know.

use super::Phase;

/// How many unfinished jobs stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Due ones that do not run.
    pub available: u64,
    /// Running ones.
    pub running: u64,
    /// Those whose time has not come, for the first time or again.
    pub later: u64,
    /// Those that wait for a grant.
    pub held: u64,
}

impl Tally {
    /// All of them.
    #[must_use]
    pub fn jobs(&self) -> u64 {
        self.available + self.running + self.later + self.held
    }

    /// The number of those in that phase.
    pub(super) fn of(&mut self, phase: Phase) -> &mut u64 {
        match phase {
            Phase::Ready => &mut self.available,
            Phase::Delayed | Phase::Barred => &mut self.later,
            Phase::Held => &mut self.held,
            Phase::Interrupted { .. } | Phase::Running { .. } => &mut self.running,
        }
    }
}

/// The number under which a lane, a plugin or a part is kept.
pub(super) fn number(key: usize) -> u32 {
    u32::try_from(key).expect("there are fewer than jobs, and those are bounded")
}
