//! The hostile set: one closed table of what a plugin, its file or its downstream may try.

use std::path::Path;

use super::downstream::Trap;

mod answers;
mod calls;
mod computing;
mod files;
mod loading;
mod network;

/// One way to be hostile.
#[derive(Clone)]
pub struct Kind {
    /// Its name, also that of its plugin.
    pub name: &'static str,
    /// What it does.
    pub does: &'static str,
    /// How.
    pub attack: Attack,
    /// What comes of it.
    pub expect: Expect,
    /// What stops it.
    pub limit: &'static str,
    /// How often it is tried at most, where each try takes long.
    pub repeats_max: usize,
}

/// How it is done.
#[derive(Clone)]
pub enum Attack {
    /// The guest `misbehave` is given that payload, as JSON; `{downstream}` is where the trap listens.
    Verb(&'static str),
    /// The same, by a job that may take 200 ms.
    Brief(&'static str),
    /// The guest `misbehave`, with instances that go on from job to job, is given that payload.
    Reused(&'static str),
    /// A component of its own is given a long payload.
    Component(fn() -> Vec<u8>),
    /// The same of an asynchronous one, many at once, and beside it another's.
    Waiting(fn() -> Vec<u8>),
    /// A component is put to the server.
    Load(fn() -> Vec<u8>),
    /// Something is put into the folder under that path.
    File(fn(&Path)),
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Each attempt ends so.
    Outcome(&'static str),
    /// Each attempt completes, and its result holds that.
    Result(&'static str),
    /// Each attempt ends as denied, and the job waits for a grant.
    Held,
    /// It is not loaded, and the reason holds that.
    Refused(&'static str),
    /// It is loaded, and what it says of itself is left out.
    Undescribed,
    /// It is loaded or not; either way within bounds.
    Bounded,
    /// It never comes to be a plugin.
    Ignored,
}

impl Expect {
    /// In words.
    pub fn told(self) -> String {
        match self {
            Self::Outcome(outcome) => format!("`{outcome}`"),
            Self::Result(_) => "`completed`, and nothing is gained".to_owned(),
            Self::Held => "`denied`, and the job waits for a grant".to_owned(),
            Self::Refused(_) => "not loaded".to_owned(),
            Self::Undescribed => "loaded, without its description".to_owned(),
            Self::Bounded => "loaded or not, within bounds".to_owned(),
            Self::Ignored => "not loaded".to_owned(),
        }
    }
}

impl Kind {
    const fn new(name: &'static str, does: &'static str, attack: Attack, expect: Expect, limit: &'static str) -> Self {
        Self { name, does, attack, expect, limit, repeats_max: usize::MAX }
    }

    const fn at_most(self, repeats_max: usize) -> Self {
        Self { repeats_max, ..self }
    }
}

/// All of them, by what they attack.
pub fn all() -> Vec<(&'static str, Vec<Kind>)> {
    vec![
        ("Computing and memory", computing::kinds()),
        ("Answers and the canonical ABI", answers::kinds()),
        ("Calls to the host", calls::kinds()),
        ("Downstreams", network::kinds()),
        ("Loading and describing", loading::kinds()),
        ("Files", files::kinds()),
    ]
}

/// The page about them.
pub fn page() -> String {
    let mut page = String::from(
        "# The hostile set\n\nWhat a plugin, its file or its downstream may try, what comes of it, and what stops it. \
         `tests/hostile.rs` runs each kind many\ntimes beside a plugin that behaves, and asserts the outcome, that the \
         host lives, that its memory stays within its\nlimits, that memory, threads and descriptors do not grow, and that \
         every job of the neighbour completes.\n\n    cargo test --test hostile                                        # \
         in a minute or two\n    HOSTILE_REPEATS=1000 cargo test --test hostile -- --nocapture    # the whole, with its \
         table\n    cargo bench --bench hostile                                      # the times\n\nThis page is made from \
         the table in `tests/hostile/kinds`, and a test holds it against that:\n`WINDLASS_WRITE_DOCS=1 cargo test --test \
         hostile` writes it anew.\n",
    );
    for (title, kinds) in all() {
        page.push_str(&format!(
            "\n## {title}\n\n| kind | what it does | what comes of it | what stops it |\n|---|---|---|---|\n"
        ));
        for kind in kinds {
            page.push_str(&format!("| {} | {} | {} | {} |\n", kind.name, kind.does, kind.expect.told(), kind.limit));
        }
    }
    page
}

/// A payload for the trap.
pub fn payload(text: &str, trap: &Trap) -> serde_json::Value {
    let text = text.replace("{downstream}", &trap.origin()).replace("{other}", &trap.other_origin());
    let text = text.replace("{named}", &trap.named_origin());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
}
