//! What a client saw, and where in the record of the disk it saw it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a person can do to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    Cancel,
    Retry,
}

/// Something that was asked for or seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum What {
    /// These were acknowledged with 202.
    Accepted(Vec<String>),
    /// This one was, under that key and with that body.
    Keyed { id: String, key: String, body: String },
    /// This is being asked for.
    Asked(String, Act),
    /// It was acknowledged with 200.
    Acted(String, Act),
    /// The job was shown, with an end.
    Shown(Job),
    /// It was shown without one, and with attempts that had ended.
    Tried(Job),
    /// What an attempt of that number said was shown.
    Said { id: String, n: i64, said: String },
    /// A pause of the plugin, or its end, is being asked for.
    AskedPause,
    /// It was acknowledged.
    Paused(bool),
}

/// Of a job that was shown, what cannot change any more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub id: String,
    pub state: String,
    pub result: Value,
    pub attempts: Vec<Attempt>,
}

/// An attempt that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub n: i64,
    pub outcome: String,
    pub finished_ms: i64,
    pub error: Option<String>,
}

/// The same, with its place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fact {
    /// How long the record was.
    pub at: u64,
    pub what: What,
}

/// Takes down what a client sees.
pub struct Ledger {
    record: PathBuf,
    facts: Mutex<Vec<Fact>>,
}

impl Ledger {
    /// Beside that record.
    pub fn beside(record: PathBuf) -> Self {
        Self { record, facts: Mutex::default() }
    }

    /// Takes down what is asked for now, or was seen just now.
    pub fn note(&self, what: What) {
        let at = std::fs::metadata(&self.record).expect("there is a record").len();
        self.facts.lock().unwrap().push(Fact { at, what });
    }

    /// Everything, in order.
    pub fn facts(&self) -> Vec<Fact> {
        let mut facts = self.facts.lock().unwrap().clone();
        facts.sort_by_key(|fact| fact.at);
        facts
    }
}

/// What a store must hold of a job.
#[derive(Debug, Default)]
pub struct Due<'a> {
    pub accepted: bool,
    pub attempts: &'a [Attempt],
    /// What attempts said, with their numbers.
    pub said: Vec<(i64, &'a str)>,
    pub cancels: usize,
    pub retries: usize,
    /// Its end, which nothing was asked against since.
    pub state: Option<&'a str>,
    pub result: Option<&'a Value>,
    /// It was called off, and cancelled jobs are soon deleted here.
    pub may_be_gone: bool,
}

/// What a store must hold.
#[derive(Debug, Default)]
pub struct Dues<'a> {
    pub jobs: HashMap<&'a str, Due<'a>>,
    /// Whether the plugin is paused; none where that is being changed.
    pub paused: Option<bool>,
    pub keyed: Vec<(&'a str, &'a str, &'a str)>,
}

/// What a store must hold that was cut off at that position of the record.
pub fn dues(facts: &[Fact], position: u64) -> Dues<'_> {
    let mut dues = Dues::default();
    for fact in facts.iter().take_while(|fact| fact.at <= position) {
        match &fact.what {
            What::Accepted(ids) => ids.iter().for_each(|id| dues.jobs.entry(id).or_default().accepted = true),
            What::Keyed { id, key, body } => {
                dues.jobs.entry(id).or_default().accepted = true;
                dues.keyed.push((id, key, body));
            }
            What::Asked(id, act) => {
                let due = dues.jobs.entry(id).or_default();
                // Nothing that is asked changes a job that is completed.
                if due.state != Some("completed") {
                    due.state = None;
                    due.may_be_gone |= *act == Act::Cancel;
                }
            }
            What::Acted(id, Act::Cancel) => {
                let due = dues.jobs.entry(id).or_default();
                due.cancels += 1;
                due.state = Some("cancelled");
            }
            What::Acted(id, Act::Retry) => {
                let due = dues.jobs.entry(id).or_default();
                due.retries += 1;
                due.may_be_gone = false;
            }
            What::Shown(job) => {
                let due = dues.jobs.entry(&job.id).or_default();
                due.attempts = &job.attempts;
                due.state = Some(&job.state);
                due.result = Some(&job.result);
            }
            What::Tried(job) => {
                let due = dues.jobs.entry(&job.id).or_default();
                // Two clients' looks may cross.
                if job.attempts.len() > due.attempts.len() {
                    due.attempts = &job.attempts;
                }
            }
            What::Said { id, n, said } => dues.jobs.entry(id).or_default().said.push((*n, said)),
            What::AskedPause => dues.paused = None,
            What::Paused(paused) => dues.paused = Some(*paused),
        }
    }
    dues
}
