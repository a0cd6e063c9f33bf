//! Putting and removing, with whoever asked gone meanwhile, and several at it at once.

use std::fs::DirEntry;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use crate::clock::SystemClock;
use crate::config::Network;
use crate::job::PluginStanding;
use crate::lock::lock;
use crate::plugin::{Giver, HostSettings, InstallError, Loader, Plugin, PluginChange, PluginHost};

use super::super::super::folder::Kind;
use super::super::super::testing::{Bench, UNHURRIED, component, echo, program, small_limits};
use super::super::coming::Put;

/// A folder of plugins, and a compiler that does what a test says. What was compiled before needs none.
struct Fixture {
    dir: TempDir,
    loader: Arc<Loader>,
    changes: UnboundedReceiver<PluginChange>,
}

/// Compiles for ever.
const ENDLESS: &str = "exec /bin/sleep 3600";
/// Refuses whatever it reads.
const REFUSING: &str = r#"/bin/cat > /dev/null; echo '{"refused": {"summary": "no plugin"}}' >&2"#;

type Installing = JoinHandle<Result<Arc<Plugin>, InstallError>>;

impl Fixture {
    async fn new(compiler: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = HostSettings::new(small_limits(), Network::default(), dir.path().join("cache"));
        let elsewhere = PluginHost::start(settings.clone(), Arc::new(SystemClock::start())).unwrap();
        elsewhere.load(echo()).await.unwrap();
        let settings = HostSettings { program: program(dir.path(), compiler), patience: UNHURRIED, ..settings };
        let host = PluginHost::start(settings, Arc::new(SystemClock::start())).unwrap();
        let plugins = dir.path().join("plugins");
        let (loader, changes) = Loader::new(host, plugins, Arc::new(SystemClock::start())).unwrap();
        Self { dir, loader, changes }
    }

    /// The same, with a plugin that serves.
    async fn serving(compiler: &str) -> Self {
        let fixture = Self::new(compiler).await;
        fixture.loader.install("a", echo(), None, || {}).await.unwrap();
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("plugins").join(name)
    }

    async fn look(&self) {
        while self.loader.look().await.is_some() {}
    }

    /// Puts it there, and waits until it is seen to be compiled.
    async fn begin(&mut self, name: &'static str, bytes: Bytes) -> Installing {
        let loader = self.loader.clone();
        let installing = tokio::spawn(async move { loader.install(name, bytes, None, || {}).await });
        self.seen_loading(name).await;
        installing
    }

    /// Writes a component that is then being compiled for the folder, and looks for as long as that takes.
    async fn look_until_loading(&mut self) -> JoinHandle<()> {
        std::fs::write(self.path("a.wasm"), new()).unwrap();
        let loader = self.loader.clone();
        let looking = tokio::spawn(async move { while loader.look().await.is_some() {} });
        self.seen_loading("a").await;
        looking
    }

    async fn seen_loading(&mut self, wanted: &str) {
        while let Some(change) = self.changes.recv().await {
            if matches!(change, PluginChange::Updated { plugin, .. } if plugin.name == wanted && plugin.loading.is_some())
            {
                return;
            }
        }
    }

    fn standing(&self, name: &str) -> Option<PluginStanding> {
        self.loader.registry.get(name).map(|plugin| plugin.standing())
    }

    fn digest(&self, name: &str) -> Option<String> {
        self.loader.registry.get(name)?.revision.as_ref().map(|revision| revision.digest.clone())
    }

    /// What was said to have been removed.
    fn removed(&mut self) -> Vec<String> {
        let changes = std::iter::from_fn(|| self.changes.try_recv().ok());
        let name = |change| if let PluginChange::Removed { name } = change { Some(name) } else { None };
        changes.filter_map(name).collect()
    }
}

/// One that was not compiled before.
fn new() -> Bytes {
    component("", "nop", "")
}

#[track_caller]
fn is_overtaken<T: std::fmt::Debug>(installed: Result<T, InstallError>) {
    assert!(matches!(installed, Err(InstallError::Overtaken)), "{installed:?}");
}

#[tokio::test]
async fn a_removal_stops_what_serves_and_ends_what_is_being_put_in_its_place() {
    for by_hand in [true, false] {
        let mut fixture = Fixture::serving(ENDLESS).await;
        let installing = fixture.begin("a", new()).await;
        assert!(fixture.digest("a").is_some(), "what serves goes on");
        if by_hand {
            std::fs::remove_file(fixture.path("a.wasm")).unwrap();
            fixture.look().await;
        } else {
            assert!(fixture.loader.remove("a").await.unwrap());
        }
        assert_eq!(fixture.digest("a"), None);
        is_overtaken(installing.await.unwrap());
        assert!(!fixture.path("a.wasm").exists() && fixture.standing("a").is_none());
        assert_eq!(fixture.removed(), ["a"]);
    }
}

#[tokio::test]
async fn a_signature_that_cannot_be_removed_keeps_out_no_component_that_needs_none() {
    let fixture = Fixture::new(ENDLESS).await;
    std::fs::create_dir(fixture.path("a.wasm.sig")).unwrap();
    fixture.loader.install("a", echo(), None, || {}).await.unwrap();
    fixture.look().await;
    assert_eq!(fixture.standing("a"), Some(PluginStanding::Ready));
    // One that is to have a signature needs the place of it.
    let signature = format!("{}A==", "A".repeat(85)).parse().unwrap();
    let refused = fixture.loader.install("a", echo(), Some(signature), || {}).await;
    assert!(matches!(refused, Err(InstallError::Folder(_))), "{refused:?}");
}

#[tokio::test]
async fn what_is_being_put_under_a_new_name_can_be_removed_and_was_never_there() {
    let mut fixture = Fixture::new(ENDLESS).await;
    let installing = fixture.begin("a", new()).await;
    assert_eq!(fixture.standing("a"), Some(PluginStanding::Loading));
    assert!(fixture.loader.remove("a").await.unwrap());
    is_overtaken(installing.await.unwrap());
    assert!(!fixture.loader.remove("a").await.unwrap());
    // One whose client goes away.
    let installing = fixture.begin("a", new()).await;
    installing.abort();
    assert!(installing.await.is_err() && fixture.standing("a").is_none());
    fixture.look().await;
    assert_eq!(fixture.removed(), [""; 0]);
}

#[tokio::test]
async fn a_file_that_takes_the_place_of_what_serves_overtakes_what_is_being_put_there() {
    let mut fixture = Fixture::serving(ENDLESS).await;
    let installing = fixture.begin("a", new()).await;
    std::fs::write(fixture.path("a.wasm"), "no component").unwrap();
    fixture.look().await;
    is_overtaken(installing.await.unwrap());
    let plugin = fixture.loader.registry.get("a").unwrap();
    assert!(plugin.revision.is_some() && plugin.load_error.is_some() && plugin.loading.is_none(), "{plugin:?}");
}

#[tokio::test]
async fn what_was_changed_before_overtakes_nothing_however_late_it_is_seen() {
    let fixture = Fixture::serving(ENDLESS).await;
    let slot = fixture.loader.folder.slot("a");
    std::fs::remove_file(fixture.path("a.wasm")).unwrap();
    let put = Put::begin(&slot).await.unwrap();
    fixture.look().await;
    assert!(fixture.standing("a").is_none() && put.check().is_ok());
    std::fs::write(fixture.path("a.wasm"), "no component").unwrap();
    let later = Put::begin(&slot).await.unwrap();
    fixture.look().await;
    is_overtaken(put.check());
    later.check().unwrap();
}

#[tokio::test]
async fn a_file_that_comes_overtakes_what_is_being_put_under_a_new_name() {
    let mut fixture = Fixture::new(ENDLESS).await;
    let installing = fixture.begin("a", new()).await;
    std::fs::write(fixture.path("a.wasm"), echo()).unwrap();
    fixture.look().await;
    is_overtaken(installing.await.unwrap());
    assert_eq!(fixture.standing("a"), Some(PluginStanding::Ready));
}

#[tokio::test]
async fn what_is_put_into_the_folder_overtakes_nothing_that_came_later() {
    let fixture = Fixture::new(ENDLESS).await;
    let slot = fixture.loader.folder.slot("a");
    let mut first = Put::begin(&slot).await.unwrap();
    let second = Put::begin(&slot).await.unwrap();
    first.writes();
    std::fs::write(fixture.path("a.wasm"), echo()).unwrap();
    let its = slot.stamp(Kind::Component).await.unwrap().unwrap();
    lock(&slot.coming).found(Some(&its));
    second.check().unwrap();
    first.serves(&its);
    lock(&slot.coming).found(Some(&its));
    second.check().unwrap();
    lock(&slot.coming).found(None);
    is_overtaken(second.check());
}

#[tokio::test]
async fn who_puts_a_component_waits_for_no_other_that_is_compiled() {
    let mut fixture = Fixture::new(ENDLESS).await;
    let looking = fixture.look_until_loading().await;
    let refused = fixture.loader.install("a", Bytes::from_static(b"no component"), None, || {}).await;
    assert!(matches!(refused, Err(InstallError::Refused(_))), "{refused:?}");
    assert_eq!(fixture.standing("a"), Some(PluginStanding::Loading), "it goes on");
    // One that takes its place ends it.
    let plugin = fixture.loader.install("a", echo(), None, || {}).await.unwrap();
    looking.await.unwrap();
    fixture.look().await;
    assert_eq!(std::fs::read(fixture.path("a.wasm")).unwrap(), echo());
    let after = fixture.loader.registry.get("a").unwrap();
    assert!(after.loading.is_none() && after.load_error.is_none(), "{after:?}");
    assert_eq!(after.revision.as_ref().unwrap().digest, plugin.revision.as_ref().unwrap().digest);
    assert_eq!(fixture.removed(), [""; 0]);
}

#[tokio::test]
async fn of_two_that_are_put_there_the_later_one_serves() {
    let mut fixture = Fixture::new(ENDLESS).await;
    let first = fixture.begin("a", new()).await;
    let second = fixture.loader.install("a", echo(), None, || {}).await.unwrap();
    is_overtaken(first.await.unwrap());
    fixture.look().await;
    assert_eq!(fixture.digest("a").as_ref(), second.revision.as_ref().map(|revision| &revision.digest));
    assert_eq!(std::fs::read(fixture.path("a.wasm")).unwrap(), echo());
}

#[tokio::test]
async fn what_is_compiled_for_who_may_not_put_it_there_any_more_is_given_up() {
    let mut fixture = Fixture::new(ENDLESS).await;
    let giver = Giver::new(|| false, || unreachable!("it never serves"));
    let given_up = fixture.loader.install("a", echo(), None, giver).await;
    assert!(matches!(given_up, Err(InstallError::Withdrawn)), "{given_up:?}");
    fixture.look().await;
    assert!(!fixture.path("a.wasm").exists() && fixture.digest("a").is_none());
    // Nor does it keep anything waiting, or end what serves.
    let serving = fixture.loader.install("a", echo(), None, || {}).await.unwrap();
    let giver = Giver::new(|| false, || unreachable!("it never serves"));
    assert!(fixture.loader.install("a", echo(), None, giver).await.is_err());
    fixture.look().await;
    assert_eq!(fixture.digest("a").as_ref(), serving.revision.as_ref().map(|revision| &revision.digest));
    assert_eq!(fixture.removed(), [""; 0]);
}

#[tokio::test]
async fn what_gave_way_has_its_turn_again_where_the_other_does_not_come_in() {
    let mut fixture = Fixture::new(ENDLESS).await;
    let looking = fixture.look_until_loading().await;
    let slot = fixture.loader.folder.slot("a");
    let mut put = Put::begin(&slot).await.unwrap();
    put.ready();
    looking.await.unwrap();
    drop(put);
    fixture.seen_loading("a").await;
    assert!(fixture.loader.remove("a").await.unwrap());
}

#[tokio::test]
async fn nothing_is_said_to_be_removed_that_never_came() {
    let mut fixture = Fixture::new(REFUSING).await;
    std::fs::write(fixture.path("a.wasm"), new()).unwrap();
    fixture.look().await;
    assert!(matches!(fixture.standing("a"), Some(PluginStanding::Broken(_))));
    assert!(fixture.loader.install("b", new(), None, || {}).await.is_err());
    assert_eq!((fixture.standing("b"), fixture.removed()), (None, Vec::new()));
    std::fs::remove_file(fixture.path("a.wasm")).unwrap();
    fixture.look().await;
    assert_eq!(fixture.removed(), ["a"]);
}

#[tokio::test]
async fn a_removal_goes_on_when_who_asked_for_it_is_gone() {
    let bench = Bench::new();
    let dir = bench.dir.path().join("plugins");
    let (loader, _changes) = Loader::new(bench.host.clone(), dir, Arc::new(SystemClock::start())).unwrap();
    let serving = loader.install("a", echo(), None, || {}).await.unwrap();
    assert!(serving.revision.is_some());
    let slot = loader.folder.slot("a");
    let busy = slot.state.lock().await;
    let files_gone = async {
        while slot.accepted().component.is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        removed = loader.remove("a") => panic!("it did not wait: {removed:?}"),
        () = files_gone => {}
    }
    drop(busy);
    let gone = async {
        while loader.registry.get("a").is_some() {
            loader.look().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("it serves no more");
}

#[tokio::test]
async fn a_component_is_put_there_whole_when_who_brought_it_is_gone() {
    let bench = Bench::new();
    let dir = bench.dir.path().join("plugins");
    let (loader, _changes) = Loader::new(bench.host.clone(), dir.clone(), Arc::new(SystemClock::start())).unwrap();
    for n in 0..10 {
        let name = format!("a{n}");
        let is_its = |file: std::io::Result<DirEntry>| file.unwrap().file_name().to_string_lossy().contains(&name);
        let is_begun = || std::fs::read_dir(&dir).unwrap().any(is_its);
        let begun = async {
            while !is_begun() {
                tokio::task::yield_now().await;
            }
        };
        let is_told = Arc::<AtomicBool>::default();
        let told = is_told.clone();
        let put = move || told.store(true, Ordering::Relaxed);
        tokio::select! {
            biased;
            () = begun => {}
            // It was faster than this.
            installed = loader.install(&name, echo(), None, put) => drop(installed.unwrap()),
        }
        let slot = loader.folder.slot(&name);
        let standing = slot.state.lock().await;
        assert!(standing.taken.component.is_some() && slot.accepted() == standing.taken);
        assert!(loader.registry.get(&name).unwrap().revision.is_some() && is_told.load(Ordering::Relaxed));
    }
}
