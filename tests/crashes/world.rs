//! The host that is killed, and everything that watches it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use ring::digest::{SHA256, digest};
use tokio::task::JoinSet;
use windlass::clock::{Chance, Clock as _, SystemClock};

use super::aim::Aim;
use super::audit::{Case, Findings, UNRECORDED_MS};
use super::book::{Book, Kind, Wanted};
use super::boots::{Boots, Heart};
use super::common::{Host, Setup, Value, guests};
use super::ledger::{Ledger, Wish};
use super::load::{self, Clients, PLUGIN, below};

mod end;

/// How long completed and cancelled jobs are kept: so shortly that most are deleted while hosts are being killed.
const KEPT_MS: i64 = 2_000;
/// The plugin that new components are put under.
const FRESH: &str = "fresh";
/// The jobs whose end is looked for in one cycle.
const AUDITED_A_CYCLE: usize = 60;
/// Of these so many at once.
const AUDITED_AT_ONCE: usize = 20;
/// The keys that are sent once more in one cycle.
const REPEATED_A_CYCLE: usize = 3;

/// See the module.
pub struct World {
    host: Host,
    clients: Clients,
    chance: Chance,
    boots: Boots,
    heart: Heart,
    revisions: Vec<Vec<u8>>,
    pub findings: Findings,
    /// Calls that were out at the kills.
    pub in_flight: usize,
    /// Calls that had been answered so shortly before that the host need not have had that on disk.
    pub just_answered: usize,
    /// Jobs that were deleted before their end was looked at.
    pub gone: usize,
}

impl World {
    /// A host that has been started once, so that its components are compiled.
    pub async fn new(seed: u64) -> Self {
        let clock = Arc::new(SystemClock::start());
        let ledger = Ledger::start(clock.clone()).await;
        let config = format!(
            "[limits]\nconcurrency = 64\n[retry]\nbase = \"40ms\"\ncap = \"200ms\"\nmax_attempts = 1000\n\
             [breaker]\nfailures = 1000000\ninitial = 64\n\
             [retention]\ncompleted = \"{KEPT_MS}ms\"\ncancelled = \"{KEPT_MS}ms\"\nevery = \"100ms\""
        );
        let file = format!("origins = [\"{}\"]", ledger.origin());
        let shipped = guests::shipped();
        let revisions: Vec<_> = (0..3).map(|n| guests::variant(&shipped, &format!("v{n}"))).collect();
        let host = Setup::default().config(&config).plugin(PLUGIN, revisions[0].clone(), &file).start().await;
        let (book, client) = (Arc::<Book>::default(), host.client.clone());
        let clients = Clients { book, ledger, clock, client, base: host.base.clone() };
        let (mut boots, now) = (Boots::default(), clients.clock.now().0);
        boots.begin(now);
        boots.last().ready = Some(now);
        let mut world = Self {
            host,
            clients,
            chance: Chance::seeded(seed),
            boots,
            heart: Heart::start(),
            revisions,
            findings: Findings::default(),
            in_flight: 0,
            just_answered: 0,
            gone: 0,
        };
        for n in [1, 2, 0] {
            install(&world.clients, PLUGIN, world.revisions[n].clone()).await;
        }
        install(&world.clients, FRESH, guests::component("echo")).await;
        world.note_broken();
        world
    }

    /// One life of the host and its end.
    pub async fn cycle(&mut self, cycle: usize) {
        let aim = Aim::draw(&self.chance, cycle);
        match aim {
            Aim::StartUp(ms) => {
                pause_ms(ms).await;
                return self.kill();
            }
            Aim::Recovery(ms) => {
                self.host.listens().await;
                pause_ms(ms).await;
                return self.kill();
            }
            _ => self.ready().await,
        }
        self.audit(AUDITED_A_CYCLE).await;
        let before = self.clients.book.answers();
        let busy = if matches!(aim, Aim::Burst(..)) { 1 } else { 200 };
        let mut running = load::let_loose(&self.clients, &self.chance, cycle, busy);
        self.look_back(&mut running);
        let patience = Duration::from_secs(2);
        match aim {
            Aim::After(ms) => pause_ms(ms).await,
            Aim::Acknowledged(times) => {
                // There may be fewer of them.
                _ = tokio::time::timeout(patience, self.clients.book.answered(before + times)).await;
            }
            Aim::Burst(times, us) => {
                _ = tokio::time::timeout(patience, self.clients.book.answered(before + times)).await;
                tokio::time::sleep(Duration::from_micros(us)).await;
            }
            Aim::Checkpoint(us) => {
                self.enqueue_much(cycle).await;
                tokio::time::sleep(Duration::from_micros(us)).await;
            }
            Aim::Compile(ms) => {
                let component = guests::variant(&guests::component("echo"), &format!("{cycle}"));
                self.send_component(&mut running, FRESH, component);
                pause_ms(ms).await;
            }
            Aim::Swap(ms) => {
                let component = self.revisions[below(&self.chance, 3) as usize].clone();
                self.send_component(&mut running, PLUGIN, component);
                pause_ms(ms).await;
            }
            Aim::StartUp(_) | Aim::Recovery(_) => unreachable!("the host was killed before it was ready"),
        }
        self.kill();
        while running.join_next().await.is_some() {}
        self.note_broken();
    }

    /// Starts a host, which need not come to be ready.
    pub fn begin(&mut self) {
        self.heart.worst_ms();
        self.host.begin();
        self.boots.begin(self.clients.clock.now().0);
    }

    async fn ready(&mut self) {
        self.host.listens().await;
        self.host.ready().await;
        self.clients.base.clone_from(&self.host.base);
        self.boots.last().ready = Some(self.clients.clock.now().0);
        self.judge_plugins().await;
    }

    fn kill(&mut self) {
        let killed = self.clients.clock.now().0;
        self.host.kill();
        let boot = self.boots.last();
        let (open, answered) = self.clients.ledger.out_between(boot.began, killed, UNRECORDED_MS);
        (self.in_flight, self.just_answered) = (self.in_flight + open, self.just_answered + answered);
        (boot.killed, boot.dead) = (Some(killed), Some(self.clients.clock.now().0));
        boot.stall = self.heart.worst_ms();
        let log = self.host.log();
        for word in ["panicked at", "damaged", "takes nothing more"] {
            if log.contains(word) {
                self.findings.broken.push(format!("the host's log has {word:?}:\n{log}"));
            }
        }
    }

    pub fn kills(&self) -> usize {
        self.boots.kills()
    }

    /// How many jobs, and acts on jobs, were acknowledged.
    pub fn acknowledged(&self) -> (usize, usize) {
        let pages = self.clients.book.pages();
        let acts =
            pages.jobs.values().flat_map(|wanted| &wanted.acts).filter(|asked| asked.status == Some(200)).count();
        (pages.jobs.values().filter(|wanted| wanted.acknowledged.is_some()).count(), acts)
    }

    fn note_broken(&mut self) {
        self.findings.broken.append(&mut self.clients.book.pages().broken);
    }

    /// A batch so large that the store copies its log back into the file after it.
    async fn enqueue_much(&self, cycle: usize) {
        let jobs = (0..40).map(|number| {
            let name = format!("much-{cycle}-{number}");
            let job = self.clients.plan(Kind::Good, &name, Wish::default(), 64 << 10);
            (name, job)
        });
        let jobs = jobs.collect();
        self.clients.enqueue_batch(jobs).await;
    }

    fn send_component(&self, running: &mut JoinSet<()>, name: &'static str, component: Vec<u8>) {
        let clients = self.clients.clone();
        running.spawn(async move { install(&clients, name, component).await });
    }

    /// While the load runs: what earlier lives left behind is looked at, and keys are sent once more.
    fn look_back(&self, running: &mut JoinSet<()>) {
        let pages = self.clients.book.pages();
        let old = |name: &String| {
            let wanted = &pages.jobs[name];
            wanted.key.is_some() && wanted.batch.is_none()
        };
        let keyed: Vec<_> = pages.jobs.keys().filter(|name| old(name)).cloned().collect();
        drop(pages);
        for _ in 0..REPEATED_A_CYCLE.min(keyed.len()) {
            let name = keyed[below(&self.chance, keyed.len() as u64) as usize].clone();
            let clients = self.clients.clone();
            running.spawn(async move { clients.enqueue(&name).await });
        }
    }

    /// What was acknowledged serves; of what was not, the newest that came in.
    async fn judge_plugins(&mut self) {
        let Some(answer) = self.clients.ask(Method::GET, "/v1/plugins", None, Vec::new()).await else {
            return self.findings.broken.push("the ready host does not tell its plugins".to_owned());
        };
        let mut pages = self.clients.book.pages();
        for (name, installed) in &mut pages.plugins {
            let told = answer.body["plugins"].as_array().into_iter().flatten().find(|plugin| plugin["name"] == **name);
            let revision = told.and_then(|plugin| plugin["revision"].as_str());
            let is_known = revision.is_some_and(|revision| {
                installed.acknowledged.as_deref() == Some(revision) || installed.unanswered.contains(revision)
            });
            if !is_known {
                let told = format!("the plugin {name} is {told:?}, and should be {installed:?}");
                self.findings.broken.push(told);
            }
            installed.acknowledged = revision.map(str::to_owned);
            installed.unanswered.clear();
        }
    }

    /// Looks at jobs whose end has not been seen yet, at most so many: those that were looked at least, the oldest first.
    async fn audit(&mut self, most: usize) {
        let mut unsettled: Vec<_> = {
            let pages = self.clients.book.pages();
            let open = pages.jobs.iter().filter(|(_, wanted)| wanted.settled.is_none());
            let since = |wanted: &Wanted| (wanted.looks, wanted.acknowledged.as_ref().map_or(0, |(_, at)| *at));
            open.filter_map(|(name, wanted)| Some((since(wanted), name.clone(), wanted.id()?.to_owned()))).collect()
        };
        unsettled.sort_unstable();
        unsettled.truncate(most);
        for few in unsettled.chunks(AUDITED_AT_ONCE) {
            let shown = few.iter().map(|(_, _, id)| self.clients.show(id, ""));
            let shown = futures_util::future::join_all(shown).await;
            for ((_, name, _), (status, job)) in few.iter().zip(shown).filter_map(|(of, shown)| Some((of, shown?))) {
                self.judge(name, status, &job);
            }
        }
    }

    fn judge(&mut self, name: &str, status: u16, job: &Value) {
        let mut pages = self.clients.book.pages();
        let wanted = pages.jobs.get_mut(name).expect("it is known");
        wanted.looks += 1;
        let calls = self.clients.ledger.calls().get(name).cloned().unwrap_or_default();
        let case = Case { name, wanted, calls: &calls, boots: &self.boots };
        if status == 404 {
            case.judge_gone(self.clients.clock.now().0, KEPT_MS, &mut self.findings);
            self.gone += 1;
        } else if job["finished_at"].is_null() {
            return;
        } else {
            case.judge(job, &mut self.findings);
        }
        wanted.settled = Some(job["state"].as_str().unwrap_or_default().to_owned());
    }
}

/// Puts a component there, and takes down what was said.
async fn install(clients: &Clients, name: &'static str, component: Vec<u8>) {
    let revision: String = digest(&SHA256, &component).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    clients.book.pages().plugins.entry(name.to_owned()).or_default().unanswered.insert(revision.clone());
    let Some(answer) = clients.ask(Method::PUT, &format!("/v1/plugins/{name}"), None, component).await else { return };
    if !matches!(answer.status, 200 | 201) || answer.body["revision"] != *revision {
        return clients.book.broken(format!("{name} was not installed: {} {}", answer.status, answer.body));
    }
    let mut pages = clients.book.pages();
    let installed = pages.plugins.get_mut(name).expect("just written");
    (installed.acknowledged, installed.unanswered) = (Some(revision), BTreeSet::new());
    drop(pages);
    clients.book.heard();
}

async fn pause_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
