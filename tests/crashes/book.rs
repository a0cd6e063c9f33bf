//! The client's own book: what it asked for, what it was told, and what it may therefore expect.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

/// What a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It goes well in the end.
    Good,
    /// Its first call is refused for good; a person's retry makes it go well.
    Refused,
    /// It is due in an hour, unless a person says otherwise.
    Later,
}

/// What a person does to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Cancel,
    Retry,
}

impl Act {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Retry => "retry",
        }
    }
}

/// An act that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub act: Act,
    /// The status of the answer; none where none came.
    pub status: Option<u16>,
    /// When the answer had come, in milliseconds since 1970.
    pub answered_at: i64,
}

/// One job that was asked for, however often.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub kind: Kind,
    /// What was sent.
    pub body: String,
    /// With this key.
    pub key: Option<String>,
    /// As a part of this batch.
    pub batch: Option<usize>,
    /// The id that was acknowledged, and when.
    pub acknowledged: Option<(String, i64)>,
    /// The id that it was found under, where nothing was acknowledged.
    pub found: Option<String>,
    /// What was asked for it since, in order.
    pub acts: Vec<Asked>,
    /// How often its end was looked for.
    pub looks: u32,
    /// The state that it was seen to end in, and judged by; empty where it was deleted before.
    pub settled: Option<String>,
}

/// The states that a job may end in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    pub completed: bool,
    pub discarded: bool,
    pub cancelled: bool,
}

impl Wanted {
    pub fn new(kind: Kind, body: String) -> Self {
        let (key, batch, acknowledged, found, acts, settled) = Default::default();
        Self { kind, body, key, batch, acknowledged, found, acts, looks: 0, settled }
    }

    /// The id, however it is known.
    pub fn id(&self) -> Option<&str> {
        self.acknowledged.as_ref().map(|(id, _)| id.as_str()).or(self.found.as_deref())
    }

    /// Whether that act was asked for, be it answered or not.
    pub fn asked(&self, act: Act) -> bool {
        self.acts.iter().any(|asked| asked.act == act)
    }

    /// What it may end in, by what was said and answered. An act without an answer may have been done or not.
    pub fn ends(&self) -> Ends {
        let natural = Ends { completed: true, discarded: self.kind == Kind::Refused, cancelled: false };
        let mut may = if self.kind == Kind::Later { Ends::default() } else { natural };
        for asked in &self.acts {
            may = match (asked.act, asked.status) {
                (Act::Cancel, Some(200)) => Ends { cancelled: true, ..Ends::default() },
                (Act::Cancel, None) => Ends { cancelled: true, ..may },
                // Once it was refused, it is done the next time.
                (Act::Retry, Some(200)) => Ends { completed: true, ..Ends::default() },
                (Act::Retry, None) => Ends { completed: true, ..may },
                _ => may,
            };
        }
        may
    }
}

/// A plugin that components were put under.
#[derive(Clone, Debug, Default)]
pub struct Installed {
    /// The digest that was acknowledged last.
    pub acknowledged: Option<String>,
    /// Those that were sent after it and not answered.
    pub unanswered: BTreeSet<String>,
}

/// What is written in the book.
#[derive(Debug, Default)]
pub struct Pages {
    pub jobs: BTreeMap<String, Wanted>,
    pub batches: usize,
    pub plugins: HashMap<String, Installed>,
    /// What was promised and not kept.
    pub broken: Vec<String>,
}

/// The book.
#[derive(Debug, Default)]
pub struct Book {
    pages: Mutex<Pages>,
    answers: AtomicUsize,
    heard: Notify,
}

impl Book {
    pub fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap()
    }

    /// Notes that a promise is broken.
    pub fn broken(&self, what: String) {
        self.pages().broken.push(what);
    }

    /// Something was acknowledged.
    pub fn heard(&self) {
        self.answers.fetch_add(1, Ordering::AcqRel);
        self.heard.notify_waiters();
    }

    /// How often something was acknowledged.
    pub fn answers(&self) -> usize {
        self.answers.load(Ordering::Acquire)
    }

    /// Waits until that has been so often.
    pub async fn answered(&self, times: usize) {
        loop {
            let heard = self.heard.notified();
            if self.answers() >= times {
                return;
            }
            heard.await;
        }
    }

    /// A job was acknowledged under that id: always the same.
    pub fn acknowledge(&self, name: &str, id: &str, at: i64) {
        let mut pages = self.pages();
        let wanted = pages.jobs.get_mut(name).expect("it was written down before it was sent");
        match &wanted.acknowledged {
            Some((before, _)) if before != id => {
                let said = format!("{name} was acknowledged as {before}, and then as {id}");
                pages.broken.push(said);
            }
            Some(_) => {}
            None => wanted.acknowledged = Some((id.to_owned(), at)),
        }
        drop(pages);
        self.heard();
    }
}
