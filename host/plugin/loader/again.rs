//! What failed for the host's own reasons, and what did not: which of it is tried again by itself, and when.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::clock::{Clock, SystemClock, UnixMs};
use crate::config::Network;
use crate::job::PluginStanding;
use crate::plugin::{HostSettings, Loader, Plugin, PluginChange, PluginHost};

use super::super::testing::{Kept, UNHURRIED, component, echo, program, small_limits};

/// A clock that stands until it is moved on.
#[derive(Debug, Default)]
struct StillClock(AtomicI64);

impl Clock for StillClock {
    fn now(&self) -> UnixMs {
        UnixMs(self.0.load(Ordering::SeqCst))
    }
}

/// A folder of plugins, and a compiler that does what a test says.
struct Fixture {
    dir: TempDir,
    clock: Arc<StillClock>,
    loader: Arc<Loader>,
    _changes: UnboundedReceiver<PluginChange>,
}

impl Fixture {
    /// Where compiling is that script, after a note that it was done.
    fn new(compiler: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = program(dir.path(), &format!("cd '{}'\necho run >> runs\n{compiler}", dir.path().display()));
        let clock = Arc::<StillClock>::default();
        let settings = HostSettings { program, patience: UNHURRIED, ..settings(&dir) };
        let host = PluginHost::start(settings, Arc::new(SystemClock::start())).unwrap();
        let (loader, changes) = Loader::new(host, dir.path().join("plugins"), clock.clone()).unwrap();
        Self { dir, clock, loader, _changes: changes }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("plugins").join(name)
    }

    /// The plugin `a`, when the folder was looked through that much later.
    async fn after(&self, ms: i64) -> Arc<Plugin> {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
        while self.loader.look().await.is_some() {}
        self.loader.registry.get("a").unwrap()
    }

    /// How often something was compiled, and what was tried.
    fn runs(&self) -> usize {
        fs::read_to_string(self.dir.path().join("runs")).map_or(0, |runs| runs.lines().count())
    }

    /// What kept the host from compiling is over: here another one has done it, and left it in the cache.
    async fn heal(&self, component: Bytes) {
        let host = PluginHost::start(settings(&self.dir), Arc::new(SystemClock::start())).unwrap();
        host.load(component).await.unwrap();
    }
}

fn settings(dir: &TempDir) -> HostSettings {
    let scan = Duration::from_millis(100);
    HostSettings { scan, ..HostSettings::new(small_limits(), Network::default(), dir.path().join("cache")) }
}

/// Ends before it has looked at the component.
const UNWELL: &str = "exit 3";
/// Reads the component, and refuses it.
const REFUSING: &str = r#"/bin/cat > /dev/null; echo '{"refused": {"summary": "no plugin"}}' >&2"#;

#[tokio::test]
async fn what_the_host_could_not_do_is_tried_again_by_itself_and_ever_more_seldom() {
    let fixture = Fixture::new(UNWELL);
    fixture.write("a.wasm", echo());
    let broken = fixture.after(0).await;
    let error = broken.load_error.clone().unwrap();
    assert!(error.is_hosts_own() && error.help.unwrap().contains("tries it again by itself"), "{broken:?}");
    assert!(matches!(broken.standing(), PluginStanding::Broken(why) if why.ends_with("tries it again by itself")));
    assert_eq!(fixture.loader.due_in(), Some(Duration::from_secs(1)), "whoever looks is told when");
    // Looks alone do nothing, however many there are.
    for (ms, runs) in [(0, 1), (999, 1), (1, 2), (1_999, 2), (1, 3), (3_999, 3), (1, 4), (1_000_000, 5), (59_000, 6)] {
        let plugin = fixture.after(ms).await;
        assert_eq!((fixture.runs(), plugin.revision.is_some()), (runs, false), "after {ms} ms");
    }
    fixture.heal(echo()).await;
    let well = fixture.after(60_000).await;
    assert_eq!((well.standing(), well.load_error.clone()), (PluginStanding::Ready, None));
    fixture.after(1_000_000).await;
    assert_eq!((fixture.runs(), fixture.loader.due_in()), (6, None), "there is nothing to be tried any more");
}

#[tokio::test]
async fn the_log_tells_an_error_when_it_is_another_and_not_at_each_try() {
    let (kept, _logged) = Kept::log();
    let told = |what: &str| kept.text().matches(what).count();
    let fixture = Fixture::new("exit $(/bin/cat status)");
    let tries = async |status: &str| {
        fs::write(fixture.dir.path().join("status"), status).unwrap();
        for _ in 0..5 {
            fixture.after(60_000).await;
        }
        (fixture.runs(), told("was not taken up"), told("is being compiled"))
    };
    fixture.write("a.wasm", echo());
    assert_eq!(tries("3").await, (5, 1, 1));
    assert_eq!(tries("4").await, (10, 2, 1), "it fails in another way");
    fixture.write("a.wasm", component("", "nop", ""));
    assert_eq!(tries("4").await, (15, 3, 2), "the same of another file is news");
}

#[tokio::test]
async fn what_is_the_components_fault_is_not_compiled_again_before_its_file_changes() {
    let fixture = Fixture::new(REFUSING);
    fixture.write("a.wasm", echo());
    for ms in [0, 1_000, 60_000, 86_400_000] {
        let error = fixture.after(ms).await.load_error.clone().unwrap();
        assert!(!error.is_hosts_own() && error.summary == "no plugin", "{error:?}");
        assert_eq!(fixture.runs(), 1, "after {ms} ms");
    }
    fixture.write("a.wasm", echo());
    fixture.after(0).await;
    assert_eq!(fixture.runs(), 2);
}

#[tokio::test]
async fn the_revision_before_goes_on_and_another_file_is_tried_at_once() {
    let fixture = Fixture::new(UNWELL);
    fixture.heal(echo()).await;
    fixture.write("a.wasm", echo());
    let good = fixture.after(0).await.revision.clone().unwrap();
    let next = component("", "nop", "");
    fixture.write("a.wasm", &next);
    for ms in [0, 1_000, 2_000] {
        let plugin = fixture.after(ms).await;
        assert!(plugin.load_error.as_ref().unwrap().is_hosts_own() && plugin.standing() == PluginStanding::Ready);
        assert_eq!(plugin.revision.as_ref().unwrap().digest, good.digest);
    }
    assert_eq!(fixture.runs(), 3);
    // It waits for four seconds now. Another file does not, and begins anew.
    fixture.write("a.wasm", component("", "nop nop", ""));
    fixture.after(0).await;
    assert_eq!(fixture.runs(), 4);
    fixture.after(1_000).await;
    assert_eq!(fixture.runs(), 5);
    // One that is the component's fault ends it.
    fixture.write("a.wasm", &next[..200]);
    fixture.after(0).await;
    let runs = fixture.runs();
    fixture.after(1_000_000).await;
    assert_eq!(fixture.runs(), runs + 1, "a compiler that does not read it says nothing against it");
    fixture.write("a.wasm", "no component");
    assert!(!fixture.after(0).await.load_error.as_ref().unwrap().is_hosts_own());
    fixture.after(1_000_000).await;
    assert_eq!(fixture.runs(), runs + 1);
}

#[tokio::test]
async fn grants_that_could_not_be_read_for_the_hosts_own_reasons_are_read_again() {
    let fixture = Fixture::new(UNWELL);
    fixture.heal(echo()).await;
    let command = program(&fixture.dir.path().join("plugins"), "echo s3cret");
    // The system runs no program that somebody has open for writing.
    let held = fs::File::options().append(true).open(&command).unwrap();
    fixture.write("a.toml", format!("[secrets]\nkey = {{ command = [{command:?}] }}"));
    fixture.write("a.wasm", echo());
    let broken = fixture.after(0).await;
    let error = broken.load_error.clone().unwrap();
    assert!(error.is_hosts_own() && error.help.unwrap().contains("tries it again by itself"), "{broken:?}");
    assert!(broken.revision.is_none(), "nothing serves before its file was right once");
    drop(held);
    assert!(fixture.after(999).await.revision.is_none());
    let well = fixture.after(1).await;
    assert_eq!((well.standing(), well.load_error.clone()), (PluginStanding::Ready, None));
}

#[tokio::test]
async fn what_a_command_prints_is_read_again_when_its_time_has_come() {
    let fixture = Fixture::new(UNWELL);
    fixture.heal(echo()).await;
    let script = format!("echo read >> '{}'; echo s3cret", fixture.path("reads").display());
    let command = program(&fixture.dir.path().join("plugins"), &script);
    fixture.write("a.toml", format!("[secrets]\nkey = {{ command = [{command:?}], refresh = \"5m\" }}"));
    fixture.write("a.wasm", echo());
    for (ms, reads) in [(0, 1), (299_999, 1), (1, 2), (299_999, 2), (1, 3)] {
        fixture.after(ms).await;
        assert_eq!(fs::read_to_string(fixture.path("reads")).unwrap().lines().count(), reads, "after {ms} ms");
    }
    // Whoever looks is told when, also where it was to be before.
    for (ms, due_in_ms) in [(0, 300_000), (299_999, 1), (1, 1_000), (60_000, 1_000)] {
        fixture.clock.0.fetch_add(ms, Ordering::SeqCst);
        assert_eq!(fixture.loader.due_in(), Some(Duration::from_millis(due_in_ms)), "after {ms} ms");
    }
    fixture.write("a.toml", "");
    fixture.after(0).await;
    assert_eq!(fixture.loader.due_in(), None);
}

#[tokio::test]
async fn what_is_due_and_cannot_be_tried_keeps_no_look_busy() {
    let fixture = Fixture::new(UNWELL);
    fixture.write("a.wasm", echo());
    fixture.after(0).await;
    fixture.write("a.toml", "concurrency = 0");
    for _ in 0..3 {
        let error = fixture.after(60_000).await.load_error.clone().unwrap();
        assert!(!error.is_hosts_own() && error.summary.contains("a.toml"), "{error:?}");
        assert!(!fixture.loader.folder.slot("a").is_retry_due());
    }
    assert_eq!(fixture.runs(), 1, "the file may keep the component out");
    fixture.write("a.toml", "concurrency = 1");
    assert!(fixture.after(60_000).await.load_error.as_ref().unwrap().is_hosts_own());
    assert_eq!(fixture.runs(), 2);
}

#[tokio::test]
async fn what_was_compiled_while_it_waited_for_its_turn_is_not_compiled_again() {
    let fixture = Fixture::new("until [ -e healed ]; do sleep 0.01; done; exit 3");
    for name in ["a.wasm", "b.wasm", "c.wasm"] {
        fixture.write(name, echo());
    }
    let healing = async {
        // Two are at it, and the third waits.
        while fixture.runs() < 2 {
            tokio::task::yield_now().await;
        }
        fixture.heal(echo()).await;
        fs::write(fixture.dir.path().join("healed"), "").unwrap();
    };
    tokio::join!(fixture.after(0), healing);
    let plugins = fixture.loader.registry.all();
    assert_eq!(plugins.values().filter(|plugin| plugin.revision.is_some()).count(), 1, "{plugins:?}");
    assert_eq!(fixture.runs(), 2);
}

#[tokio::test]
async fn what_is_due_is_tried_again_though_another_component_is_being_compiled() {
    let fixture = Fixture::new("[ ! -e slow ] || until [ -e end ]; do sleep 0.01; done; exit 3");
    let note = |name: &str| fs::write(fixture.dir.path().join(name), "").unwrap();
    fixture.write("a.wasm", echo());
    fixture.after(0).await;
    note("slow");
    fixture.write("b.wasm", component("", "nop", ""));
    let tried = async {
        while fixture.runs() < 2 {
            tokio::task::yield_now().await;
        }
        fixture.clock.0.fetch_add(1_000, Ordering::SeqCst);
        let slot = fixture.loader.folder.slot("a");
        assert!(slot.is_retry_due());
        while slot.is_retry_due() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = tried => {}
        again = fixture.loader.look() => panic!("it looked no more while one was being compiled: {again:?}"),
    }
    note("end");
}

#[tokio::test]
async fn a_folder_that_is_away_is_looked_for_until_it_is_back() {
    let fixture = Fixture::new(UNWELL);
    fixture.heal(echo()).await;
    let (here, away) = (fixture.path(""), fixture.dir.path().join("away"));
    fixture.write("a.wasm", echo());
    assert!(fixture.after(0).await.revision.is_some());
    fs::rename(&here, &away).unwrap();
    for _ in 0..2 {
        assert!(fixture.loader.look().await.is_some(), "nobody reports that it is back");
    }
    assert!(fixture.loader.registry.get("a").unwrap().revision.is_some(), "what serves goes on");
    fs::create_dir(&here).unwrap();
    fixture.write("b.wasm", echo());
    while fixture.loader.look().await.is_some() {}
    let plugins = fixture.loader.registry.all();
    assert_eq!(plugins.keys().map(|name| &**name).collect::<Vec<_>>(), ["b"]);
}
