//! When a host is killed: at random, and where it hurts.

use windlass::clock::Chance;

use super::load::below;

/// The moment of a kill.
#[derive(Clone, Copy, Debug)]
pub enum Aim {
    /// So many milliseconds after the host was ready.
    After(u64),
    /// When so many things have been acknowledged since it was ready.
    Acknowledged(usize),
    /// In the midst of a burst: at the same, and so many microseconds later.
    Burst(usize, u64),
    /// So many milliseconds after the process began: as it opens the store, or loads plugins.
    StartUp(u64),
    /// So many milliseconds after it began to listen: as it takes over what the kill before interrupted.
    Recovery(u64),
    /// So many microseconds after a batch was acknowledged that makes the store copy its log back into the file.
    Checkpoint(u64),
    /// So many milliseconds after a new component was sent: as it is compiled, written or taken up.
    Compile(u64),
    /// So many milliseconds after a plugin's revision was sent to be replaced by another, in the midst of its jobs.
    Swap(u64),
}

impl Aim {
    /// The aims take turns, so that each has its share whatever the seed; the rest is drawn.
    pub fn draw(chance: &Chance, cycle: usize) -> Self {
        let pick = |bound| below(chance, bound);
        match cycle % 10 {
            0 | 5 => Self::After(pick(250)),
            1 | 6 => Self::Acknowledged(1 + pick(20) as usize),
            2 => Self::Burst(1 + pick(40) as usize, pick(3_000)),
            3 => Self::StartUp(pick(300)),
            4 => Self::Recovery(pick(200)),
            7 => Self::Checkpoint(pick(5_000)),
            8 => Self::Compile(pick(600)),
            _ => Self::Swap(pick(60)),
        }
    }
}
