//! The mixed load: what clients ask of a host that may be killed at any moment.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method};
use tokio::task::JoinSet;
use windlass::clock::{Chance, Clock as _, SystemClock};

use super::book::{Act, Asked, Book, Kind, Wanted};
use super::common::{Value, json};
use super::ledger::{Ledger, Wish};

/// The plugin that makes the calls.
pub const PLUGIN: &str = "http";

/// How long a client waits for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Everything that a client needs.
#[derive(Clone)]
pub struct Clients {
    pub book: Arc<Book>,
    pub ledger: Ledger,
    pub clock: Arc<SystemClock>,
    pub client: Client,
    /// Where the host listens at present.
    pub base: String,
}

/// An answer that came.
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub is_replay: bool,
}

/// A whole number below `bound`.
pub fn below(chance: &Chance, bound: u64) -> u64 {
    chance.bits() % bound.max(1)
}

impl Clients {
    /// Asks; none where no whole answer came.
    pub async fn ask(&self, method: Method, path: &str, key: Option<&str>, body: Vec<u8>) -> Option<Answer> {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).body(body);
        // No answer is one too, whatever becomes of a connection that is killed.
        request = request.header("content-type", "application/json").timeout(ANSWER_MAX);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = request.send().await.ok()?;
        let (status, is_replay) = (answer.status().as_u16(), answer.headers().contains_key("idempotency-replayed"));
        let body: Value = serde_json::from_slice(&answer.bytes().await.ok()?).ok()?;
        Some(Answer { status, body, is_replay })
    }

    /// Plans a job and writes it down under a name of its own.
    pub fn plan(&self, kind: Kind, name: &str, wish: Wish, bytes: usize) -> Value {
        let mut job = json!({
            "plugin": PLUGIN,
            "payload": {"url": self.ledger.url(name, wish), "body": "x".repeat(bytes)},
            "labels": {"name": name},
        });
        if kind == Kind::Later {
            job["delay"] = json!("1h");
        }
        self.book.pages().jobs.insert(name.to_owned(), Wanted::new(kind, job.to_string()));
        job
    }

    /// Enqueues it once, and takes down what was said.
    pub async fn enqueue(&self, name: &str) {
        let (body, key) = {
            let pages = self.book.pages();
            let wanted = &pages.jobs[name];
            (wanted.body.clone(), wanted.key.clone())
        };
        let answer = self.ask(Method::POST, "/v1/jobs", key.as_deref(), body.into_bytes()).await;
        let Some(Answer { status, body, is_replay }) = answer else { return };
        match (status, is_replay, body["id"].as_str()) {
            (202, false, Some(id)) => self.book.acknowledge(name, id, self.clock.now().0),
            (200, true, Some(id)) if key.is_some() => self.book.acknowledge(name, id, self.clock.now().0),
            _ => self.book.broken(format!("{name} was answered with {status}: {body}")),
        }
    }

    /// Enqueues all of these or none.
    pub async fn enqueue_batch(&self, jobs: Vec<(String, Value)>) {
        let batch = {
            let mut pages = self.book.pages();
            pages.batches += 1;
            let batch = pages.batches;
            for (name, _) in &jobs {
                pages.jobs.get_mut(name).expect("it was planned").batch = Some(batch);
            }
            batch
        };
        let (names, jobs): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
        let body = json!({ "jobs": jobs }).to_string().into_bytes();
        let Some(answer) = self.ask(Method::POST, "/v1/jobs/batch", None, body).await else { return };
        let ids: Vec<_> = answer.body["ids"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if answer.status != 202 || ids.len() != names.len() {
            return self.book.broken(format!("batch {batch} was answered with {}: {}", answer.status, answer.body));
        }
        let at = self.clock.now().0;
        names.iter().zip(ids).for_each(|(name, id)| self.book.acknowledge(name, id, at));
    }

    /// Cancels or retries a job whose id is known.
    pub async fn act(&self, name: &str, act: Act) -> Option<u16> {
        let id = self.book.pages().jobs[name].id()?.to_owned();
        let path = format!("/v1/jobs/{id}/{}", act.name());
        // Written down before it is sent: it may be done though nobody says so.
        let place = {
            let mut pages = self.book.pages();
            let acts = &mut pages.jobs.get_mut(name).expect("it is known").acts;
            acts.push(Asked { act, status: None, answered_at: 0 });
            acts.len() - 1
        };
        let Answer { status, body, .. } = self.ask(Method::POST, &path, None, b"{}".to_vec()).await?;
        let mut pages = self.book.pages();
        let asked = &mut pages.jobs.get_mut(name).expect("it is known").acts[place];
        (asked.status, asked.answered_at) = (Some(status), self.clock.now().0);
        if status != 200 && status != 409 {
            pages.broken.push(format!("{} of {name} was answered with {status}: {body}", act.name()));
        }
        drop(pages);
        self.book.heard();
        Some(status)
    }

    /// The job as the host tells it: its status and its document.
    pub async fn show(&self, id: &str, wait: &str) -> Option<(u16, Value)> {
        let answer = self.ask(Method::GET, &format!("/v1/jobs/{id}{wait}"), None, Vec::new()).await?;
        Some((answer.status, answer.body))
    }

    /// A job that is due in an hour, and what a person then does to it.
    async fn change_mind(self, name: String, acts: Vec<Act>) {
        self.enqueue(&name).await;
        for act in acts {
            self.act(&name, act).await;
        }
    }

    /// A job that is refused, and sent again by a person.
    async fn insist(self, name: String) {
        self.enqueue(&name).await;
        let Some(id) = self.book.pages().jobs[&name].id().map(str::to_owned) else { return };
        if let Some((200, job)) = self.show(&id, "?wait=1s").await
            && job["state"] == "discarded"
        {
            self.act(&name, Act::Retry).await;
        }
    }
}

/// Draws one cycle's load before it begins, so that the seed alone says what it is, and lets it loose.
pub fn let_loose(clients: &Clients, chance: &Chance, cycle: usize, busy: u64) -> JoinSet<()> {
    let mut running = JoinSet::new();
    let pick = |bound| below(chance, bound);
    let mut number = 0;
    let mut name = |what: &str| {
        number += 1;
        format!("{what}-{cycle}-{number}")
    };
    let wish = || Wish { fails: usize::from(pick(3) == 0), refuse: 0, before: pick(60), after: pick(120) };
    let mut spread = |busy: u64, task: Box<dyn FnOnce(Clients) -> Running>| {
        let (clients, pause) = (clients.clone(), Duration::from_millis(pick(busy.max(1))));
        let task = task(clients);
        running.spawn(async move {
            tokio::time::sleep(pause).await;
            task.await;
        });
    };
    for _ in 0..12 {
        let name = name("one");
        clients.plan(Kind::Good, &name, wish(), 20);
        spread(busy, Box::new(move |clients| Box::pin(async move { clients.enqueue(&name).await })));
    }
    for _ in 0..3 {
        let name = name("keyed");
        clients.plan(Kind::Good, &name, wish(), 20);
        clients.book.pages().jobs.get_mut(&name).expect("just planned").key = Some(format!("key-{name}"));
        for _ in 0..2 {
            let name = name.clone();
            spread(busy, Box::new(move |clients| Box::pin(async move { clients.enqueue(&name).await })));
        }
    }
    let batch: Vec<_> = (0..4 + pick(8))
        .map(|_| {
            let name = name("batch");
            let job = clients.plan(Kind::Good, &name, wish(), 20);
            (name, job)
        })
        .collect();
    spread(busy, Box::new(move |clients| Box::pin(async move { clients.enqueue_batch(batch).await })));
    for acts in [vec![Act::Cancel], vec![Act::Retry], vec![Act::Cancel, Act::Retry], vec![Act::Retry, Act::Cancel]] {
        let name = name("later");
        clients.plan(Kind::Later, &name, wish(), 20);
        spread(busy, Box::new(move |clients| Box::pin(clients.change_mind(name, acts))));
    }
    if cycle.is_multiple_of(5) {
        // It is under way for so long that every kill finds its beginning on disk.
        let slow = name("slow");
        clients.plan(Kind::Good, &slow, Wish { before: 500, ..Wish::default() }, 20);
        spread(1, Box::new(move |clients| Box::pin(async move { clients.enqueue(&slow).await })));
    }
    let refused = name("refused");
    clients.plan(Kind::Refused, &refused, Wish { refuse: 1, ..Wish::default() }, 20);
    spread(busy, Box::new(move |clients| Box::pin(clients.insist(refused))));
    let cancelled = name("cancelled");
    clients.plan(Kind::Good, &cancelled, Wish { before: 20 + pick(100), ..Wish::default() }, 20);
    spread(busy, Box::new(move |clients| Box::pin(clients.change_mind(cancelled, vec![Act::Cancel]))));
    running
}

type Running = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
