//! The folder's rules, on a real folder.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::clock::{Stopwatch, SystemClock};
use crate::job::PluginStanding;
use crate::plugin::{InstallError, Loader, Plugin, PluginChange};

use super::super::folder::{Found, Kind};
use super::super::testing::{Bench, component, echo};

struct Fixture {
    _bench: Bench,
    dir: PathBuf,
    loader: Arc<Loader>,
    changes: UnboundedReceiver<PluginChange>,
}

impl Fixture {
    fn new() -> Self {
        let bench = Bench::new();
        let dir = bench.dir.path().join("plugins");
        let (loader, changes) = Loader::new(bench.host.clone(), dir.clone(), Arc::new(SystemClock::start())).unwrap();
        Self { _bench: bench, dir, loader, changes }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.dir.join(name), bytes).unwrap();
    }

    async fn look(&self) {
        while self.loader.look().await.is_some() {}
    }

    async fn plugin(&self, name: &str) -> Arc<Plugin> {
        self.look().await;
        self.loader.registry.get(name).unwrap()
    }

    /// What is said to have changed, without what is only being compiled.
    fn changes(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Ok(change) = self.changes.try_recv() {
            if matches!(&change, PluginChange::Updated { plugin, .. } if plugin.loading.is_some()) {
                continue;
            }
            told.push(match change {
                PluginChange::Updated { plugin, grants_edited: true, .. } => format!("{} granted", plugin.name),
                PluginChange::Updated { plugin, .. } => plugin.name.clone(),
                PluginChange::Removed { name } => format!("{name} removed"),
            });
        }
        told
    }
}

fn digest(plugin: &Plugin) -> Option<&str> {
    plugin.revision.as_ref().map(|revision| revision.digest.as_str())
}

#[tokio::test]
async fn what_is_told_says_whether_the_plugin_is_another_one() {
    let mut fixture = Fixture::new();
    let mut look = async |name: &str, bytes: bytes::Bytes| {
        fixture.write(name, bytes);
        fixture.look().await;
        let mut last = None;
        while let Ok(PluginChange::Updated { is_another, .. }) = fixture.changes.try_recv() {
            last = Some(is_another);
        }
        last
    };
    assert_eq!(look("a.wasm", echo()).await, Some(true));
    assert_eq!(look("a.wasm", echo().slice(..100)).await, Some(false), "the older one goes on");
    assert_eq!(look("a.toml", "concurrency = 3".into()).await, Some(true));
    assert_eq!(look("a.toml", "concurrency = three".into()).await, Some(false), "the older file goes on");
    assert_eq!(look("a.toml", "concurrency = 3".into()).await, Some(false), "it is the same again");
    assert_eq!(look("a.wasm", other()).await, Some(true));
}

/// Another component than `echo`.
fn other() -> bytes::Bytes {
    component("", "nop", "")
}

#[tokio::test]
async fn a_component_is_seen_while_it_is_being_compiled() {
    let mut fixture = Fixture::new();
    fixture.write("a.wasm", echo());
    fixture.look().await;
    let mut seen = Vec::new();
    while let Ok(PluginChange::Updated { plugin, .. }) = fixture.changes.try_recv() {
        seen.push((plugin.standing(), plugin.loading.as_ref().map(|loading| loading.size_bytes)));
    }
    let size_bytes = echo().len() as u64;
    assert_eq!(seen, [(PluginStanding::Loading, Some(size_bytes)), (PluginStanding::Ready, None)]);

    // What was compiled before is not compiled again.
    fixture.write("b.wasm", echo());
    assert!(fixture.plugin("b").await.loading.is_none());
    assert!(matches!(fixture.changes.try_recv(), Ok(PluginChange::Updated { plugin, .. }) if plugin.loading.is_none()));
    // One that is none is not left as if it were still being compiled.
    fixture.write("c.wasm", component("", "(unreachable)", "").slice(..100));
    let broken = fixture.plugin("c").await;
    assert!(matches!(broken.standing(), PluginStanding::Broken(_)) && broken.loading.is_none());
}

#[tokio::test]
async fn a_file_comes_changes_and_goes() {
    let mut fixture = Fixture::new();
    fixture.write("a.wasm", echo());
    let first = fixture.plugin("a").await;
    assert_eq!(first.standing(), PluginStanding::Ready);
    fixture.write("a.wasm", other());
    let second = fixture.plugin("a").await;
    assert_ne!(digest(&first), digest(&second));
    // The same content is not compiled again, nor are files that did not change.
    fixture.write("a.wasm", other());
    let third = fixture.plugin("a").await;
    assert!(Arc::ptr_eq(second.revision.as_ref().unwrap(), third.revision.as_ref().unwrap()));
    fixture.look().await;
    assert!(Arc::ptr_eq(&third, &fixture.loader.registry.get("a").unwrap()));
    fs::remove_file(fixture.dir.join("a.wasm")).unwrap();
    fixture.look().await;
    assert!(fixture.loader.registry.get("a").is_none());
    assert_eq!(fixture.changes(), ["a", "a", "a", "a removed"]);
}

#[tokio::test]
async fn a_bad_component_leaves_the_last_good_one() {
    let fixture = Fixture::new();
    fixture.write("a.wasm", echo());
    let good = fixture.plugin("a").await;
    fixture.write("a.wasm", &echo()[..200]);
    let bad = fixture.plugin("a").await;
    assert_eq!(digest(&good), digest(&bad));
    assert!(bad.load_error.as_ref().unwrap().summary.contains("cut short"));
    fixture.write("a.wasm", echo());
    assert_eq!(fixture.plugin("a").await.load_error, None);
    fixture.write("b.wasm", b"x");
    assert!(matches!(fixture.plugin("b").await.standing(), PluginStanding::Broken(_)));
}

#[tokio::test]
async fn grants_are_taken_up_without_compiling() {
    let mut fixture = Fixture::new();
    fixture.write("a.wasm", echo());
    let before = fixture.plugin("a").await;
    fixture.write("a.toml", "origins = [\"https://a.example\"]");
    let granted = fixture.plugin("a").await;
    assert!(Arc::ptr_eq(before.revision.as_ref().unwrap(), granted.revision.as_ref().unwrap()));
    assert_eq!(granted.file.origins.len(), 1);
    // A mistake neither takes nor gives anything.
    fixture.write("a.toml", "origins = [\"https://a.example\", \"https://b.example\"]\nlimits = 1");
    let mistaken = fixture.plugin("a").await;
    assert_eq!(mistaken.file, granted.file);
    assert_eq!(mistaken.standing(), PluginStanding::Ready);
    assert!(mistaken.load_error.as_ref().unwrap().summary.contains("a.toml"));
    fixture.write("a.toml", "origins = [\"https://a.example\"]\nconcurrency = 3");
    assert_eq!(fixture.plugin("a").await.file.concurrency, Some(3));
    fs::remove_file(fixture.dir.join("a.toml")).unwrap();
    assert!(fixture.plugin("a").await.file.origins.is_empty());
    assert_eq!(fixture.changes(), ["a", "a granted", "a", "a", "a granted"]);
}

#[tokio::test]
async fn nothing_serves_before_its_file_was_right_once() {
    let fixture = Fixture::new();
    fixture.write("a.toml", "concurrency = 0");
    fixture.write("a.wasm", echo());
    let broken = fixture.plugin("a").await;
    assert!(matches!(broken.standing(), PluginStanding::Broken(_)), "{:?}", broken.standing());
    fixture.write("a.toml", "concurrency = 1");
    assert_eq!(fixture.plugin("a").await.standing(), PluginStanding::Ready);
}

#[tokio::test]
async fn a_plugin_of_grants_alone_is_missing_and_not_removed() {
    let mut fixture = Fixture::new();
    fixture.write("a.wasm", echo());
    fixture.write("a.toml", "");
    fixture.look().await;
    fs::remove_file(fixture.dir.join("a.wasm")).unwrap();
    assert_eq!(fixture.plugin("a").await.standing(), PluginStanding::Missing);
    fs::remove_file(fixture.dir.join("a.toml")).unwrap();
    fixture.look().await;
    assert_eq!(fixture.changes(), ["a", "a", "a removed"]);
}

#[tokio::test]
async fn what_is_no_plain_file_is_refused_and_never_waited_for() {
    let fixture = Fixture::new();
    let pipe = fixture.dir.join("pipe.wasm");
    rustix::fs::mknodat(rustix::fs::CWD, pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    fs::create_dir(fixture.dir.join("folder.wasm")).unwrap();
    let outside = fixture.dir.parent().unwrap().join("outside.wasm");
    fs::write(&outside, echo()).unwrap();
    std::os::unix::fs::symlink(&outside, fixture.dir.join("away.wasm")).unwrap();
    for (name, told) in [("pipe", "named pipe"), ("folder", "a folder"), ("away", "leads out of")] {
        let plugin = fixture.plugin(name).await;
        assert!(plugin.revision.is_none());
        assert!(plugin.load_error.as_ref().unwrap().summary.contains(told), "{:?}", plugin.load_error);
    }
}

#[tokio::test]
async fn a_file_that_keeps_changing_is_not_loaded() {
    let fixture = Fixture::new();
    fixture.write("a.wasm", &echo()[..1]);
    let writer = async {
        for length in 2.. {
            fixture.write("a.wasm", &echo()[..length % echo().len()]);
            tokio::time::sleep(super::LOOK_AGAIN / 2).await;
        }
    };
    tokio::select! {
        again = fixture.loader.look() => assert_eq!(again, Some(super::LOOK_AGAIN)),
        () = writer => {}
    }
    assert!(fixture.loader.registry.get("a").is_none());
    fixture.write("a.wasm", echo());
    assert_eq!(fixture.plugin("a").await.load_error, None);
}

#[tokio::test]
async fn a_component_waits_for_the_file_that_may_keep_it_out() {
    let fixture = Fixture::new();
    fixture.write("a.wasm", echo());
    let writer = async {
        for n in 0.. {
            fixture.write("a.toml", format!("concurrency = {}", n % 9 + 1));
            tokio::time::sleep(super::LOOK_AGAIN / 2).await;
        }
    };
    tokio::select! {
        again = fixture.loader.look() => assert_eq!(again, Some(super::LOOK_AGAIN)),
        () = writer => {}
    }
    assert!(fixture.loader.registry.get("a").is_none());
    fixture.write("a.toml", format!("sha256 = \"{}\"", "0".repeat(64)));
    let refused = fixture.plugin("a").await;
    assert!(refused.revision.is_none());
    assert!(refused.load_error.as_ref().unwrap().summary.contains("sha256"), "{:?}", refused.load_error);
}

#[tokio::test]
async fn a_pin_that_comes_while_its_component_is_compiled_keeps_it_out() {
    let fixture = Fixture::new();
    fixture.write("a.wasm", echo());
    let slot = fixture.loader.folder.slot("a");
    fixture.write("a.toml", "");
    // As if a look had found the component alone, and the file a moment later.
    let root = fixture.dir.canonicalize().unwrap();
    let stamp = |name: &str, kind| super::super::folder::stamp(&root, &root.join(name), kind).unwrap();
    let alone = Found { component: stamp("a.wasm", Kind::Component), ..Found::default() };
    assert!(slot.accept(&Found::default(), alone.clone()));
    let both = Found { grants: stamp("a.toml", Kind::Grants), ..alone.clone() };
    let (before, slot_too) = (alone, slot.clone());
    let later = async move {
        tokio::task::yield_now().await;
        assert!(slot_too.accept(&before, both));
    };
    tokio::join!(slot.take_up(), later);
    assert!(fixture.loader.registry.get("a").is_none_or(|plugin| plugin.revision.is_none()));
    slot.take_up().await;
    assert!(fixture.loader.registry.get("a").unwrap().revision.is_some());
}

#[tokio::test]
async fn the_system_reports_a_change() {
    let fixture = Fixture::new();
    fixture.look().await;
    fixture.write("a.wasm", echo());
    fixture.loader.changed().await;
    assert!(fixture.plugin("a").await.revision.is_some());
}

#[tokio::test]
async fn looks_that_follow_each_other_leave_room_for_others() {
    let fixture = Fixture::new();
    let watch = Stopwatch::start();
    fixture.look().await;
    fixture.look().await;
    assert!(watch.elapsed() >= super::GATHER);
    let pauses = [0, 2, 4, 20, 1_000].map(|took_ms| super::gathering(Duration::from_millis(took_ms)).as_millis());
    assert_eq!(pauses, [20, 20, 36, 180, 250]);
}

#[tokio::test]
async fn what_was_put_only_in_part_is_removed_by_a_look() {
    let fixture = Fixture::new();
    let path = fixture.dir.join(".a.wasm.0123456789abcdef.put");
    fs::File::create(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    fixture.look().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn an_installed_component_serves_before_the_answer() {
    let mut fixture = Fixture::new();
    let plugin = fixture.loader.install("a", echo(), None, || {}).await.unwrap();
    assert!(Arc::ptr_eq(&plugin, &fixture.loader.registry.get("a").unwrap()));
    assert_eq!(fs::read(fixture.dir.join("a.wasm")).unwrap(), echo());
    assert!(fixture.loader.install("a", other().slice(..99), None, || {}).await.is_err());
    assert!(fixture.loader.install("../a", echo(), None, || {}).await.is_err());
    fixture.look().await;
    let after = fixture.loader.registry.get("a").unwrap();
    assert!(
        Arc::ptr_eq(plugin.revision.as_ref().unwrap(), after.revision.as_ref().unwrap()) && after.loading.is_none()
    );
    let (one, two) = tokio::join!(
        fixture.loader.install("a", other(), None, || {}),
        fixture.loader.install("a", echo(), None, || {})
    );
    let serving = fixture.plugin("a").await;
    // The first may have been overtaken by the second.
    assert!(matches!(one, Ok(_) | Err(InstallError::Overtaken)) && digest(&two.unwrap()) == digest(&serving));
    assert_eq!(
        fs::read(fixture.dir.join("a.wasm")).unwrap().len() as u64,
        serving.revision.as_ref().unwrap().size_bytes
    );
    assert!(fixture.loader.remove("a").await.unwrap());
    assert!(!fixture.loader.remove("a").await.unwrap());
    fixture.look().await;
    assert!(fixture.loader.registry.get("a").is_none());
    // The refused one was seen to be compiled, and to be so no longer.
    assert_eq!(fixture.changes(), ["a", "a", "a", "a", "a removed"]);
}

#[tokio::test]
async fn a_file_that_takes_the_place_of_one_just_put_there_is_taken_up() {
    let fixture = Fixture::new();
    let path = fixture.dir.join("a.wasm");
    let others = fixture.loader.install("a", other(), None, || {}).await.unwrap();
    for _ in 0..10 {
        fixture.write(".other", other());
        let (from, to) = (fixture.dir.join(".other"), path.clone());
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let before = inode(&path);
        let somebody = std::thread::spawn(move || {
            while inode(&to) == before {
                std::hint::spin_loop();
            }
            fs::rename(from, to).unwrap();
        });
        fixture.loader.install("a", echo(), None, || {}).await.unwrap();
        somebody.join().unwrap();
        let serving = fixture.plugin("a").await;
        assert_eq!(digest(&serving), digest(&others), "what lies there serves");
    }
}

#[tokio::test]
async fn where_there_are_as_many_plugins_as_there_may_be_no_more_are_put_there() {
    let fixture = Fixture::new();
    fixture.write("a.wasm", echo());
    assert!(fixture.plugin("a").await.revision.is_some());
    let found = fixture.loader.folder.slot("a").accepted();
    for n in 1..super::PLUGINS_MAX {
        assert!(fixture.loader.folder.slot(&format!("p{n}")).accept(&Found::default(), found.clone()));
    }
    let refused = fixture.loader.install("one-more", echo(), None, || {}).await;
    let Err(InstallError::Refused(error)) = refused else { panic!("{refused:?}") };
    assert!(error.summary.contains("4096") && !error.is_hosts_own(), "{error:?}");
    assert!(!fixture.dir.join("one-more.wasm").exists());
    // One that is there may be replaced. Names that nobody has take no room.
    fixture.loader.install("a", other(), None, || {}).await.unwrap();
    fixture.look().await;
    for n in 0..super::PLUGINS_MAX {
        fixture.loader.folder.slot(&format!("none{n}"));
    }
    fixture.loader.install("one-more", echo(), None, || {}).await.unwrap();
}
