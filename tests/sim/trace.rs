//! What happened, in order: a digest of all of it, and the text of it where it is asked for.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use windlass::job::OutcomeKind;

use crate::plan::Event;

/// What has an effect. A crash may come before and after each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The host starts, for the n-th time.
    Life(u32),
    /// It is ready.
    Ready,
    /// It is gone.
    Gone,
    /// From outside.
    Outside(Event),
    /// A transaction is about to be committed, of so many calls.
    Commits(usize),
    /// It is on disk, and nobody has been told.
    Committed,
    /// A caller of this is told.
    Told(&'static str),
    /// The attempt of a job begins.
    Begins { job: usize, n: u32 },
    /// The downstream has done what the attempt asked for.
    Done { job: usize, n: u32 },
    /// The attempt is over.
    Ends { job: usize, n: u32, kind: OutcomeKind },
    /// The plugins' source tells of a plugin.
    News(usize),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Trace {
    digest: DefaultHasher,
    effects: u64,
    text: Option<Vec<String>>,
}

impl Trace {
    /// With its text.
    pub fn told() -> Self {
        Self { text: Some(Vec::new()), ..Self::default() }
    }

    pub fn note(&mut self, at: i64, effect: Effect) {
        (at, effect).hash(&mut self.digest);
        self.effects += 1;
        if let Some(text) = &mut self.text {
            let (minutes, ms) = (at / 60_000, at % 60_000);
            let at = format!("{:02}:{:02}:{:02}.{:03}", minutes / 60, minutes % 60, ms / 1_000, ms % 1_000);
            text.push(format!("{at} {effect:?}"));
        }
    }

    pub fn is_told(&self) -> bool {
        self.text.is_some()
    }

    /// Something that has no effect, for people.
    pub fn remark(&mut self, remark: &str) {
        if let Some(text) = &mut self.text {
            text.push(format!("             {remark}"));
        }
    }

    /// Two histories with the same digest are the same.
    pub fn digest(&self) -> (u64, u64) {
        (self.digest.finish(), self.effects)
    }

    pub fn text(&self) -> &[String] {
        self.text.as_deref().unwrap_or_default()
    }
}
