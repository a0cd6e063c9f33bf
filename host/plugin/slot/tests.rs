//! What a plugin's commands print: read again, and of no matter to anybody where it is the same.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::clock::SystemClock;
use crate::plugin::{Loader, Plugin, PluginChange};

use super::super::testing::{Bench, echo, program};
use super::Slot;

/// A plugin whose instances are used again, and whose secret is what a command prints.
struct Fixture {
    _bench: Bench,
    dir: PathBuf,
    loader: Arc<Loader>,
    changes: UnboundedReceiver<PluginChange>,
    slot: Arc<Slot>,
}

impl Fixture {
    async fn new() -> Self {
        let bench = Bench::new();
        let dir = bench.dir.path().join("plugins");
        let (loader, changes) = Loader::new(bench.host.clone(), dir.clone(), Arc::new(SystemClock::start())).unwrap();
        let value = bench.dir.path().join("value");
        let command = program(bench.dir.path(), &format!("exec cat '{}'", value.display()));
        let text = format!("[reuse]\n[secrets]\nkey = {{ command = [{command:?}], refresh = \"1h\" }}");
        fs::write(dir.join("a.toml"), text).unwrap();
        fs::write(dir.join("a.wasm"), echo()).unwrap();
        let slot = loader.folder.slot("a");
        let mut fixture = Self { _bench: bench, dir, loader, changes, slot };
        fixture.print("s3cret-one");
        fixture.look().await;
        assert!(fixture.plugin().revision.is_some() && fixture.plugin().load_error.is_none());
        fixture
    }

    fn print(&self, value: &str) {
        fs::write(self.dir.parent().unwrap().join("value"), value).unwrap();
    }

    async fn look(&mut self) {
        while self.loader.look().await.is_some() {}
        while self.changes.try_recv().is_ok() {}
    }

    fn plugin(&self) -> Arc<Plugin> {
        self.loader.registry.get("a").unwrap()
    }

    /// What its command prints is to be read again, and is.
    async fn refresh(&self) {
        self.slot.is_stale.store(true, Ordering::Release);
        self.slot.take_up().await;
    }

    /// The same while it is being compiled.
    async fn refresh_beside(&self) {
        let work = async {
            self.slot.is_stale.store(true, Ordering::Release);
            self.slot.accepted_changed.notify_waiters();
            while self.slot.is_stale.load(Ordering::Acquire) {
                tokio::task::yield_now().await;
            }
        };
        self.slot.obeying(&mut *self.slot.state.lock().await, work).await;
    }

    /// How often it was said to have changed.
    fn told(&mut self) -> usize {
        std::iter::from_fn(|| self.changes.try_recv().ok()).count()
    }

    fn has_pool_of(&self, before: &Plugin) -> bool {
        Arc::ptr_eq(self.plugin().warm.as_ref().unwrap(), before.warm.as_ref().unwrap())
    }
}

#[tokio::test]
async fn what_is_read_again_is_told_where_it_is_another() {
    let mut fixture = Fixture::new().await;
    let before = fixture.plugin();
    for value in ["s3cret-one", "s3cret-two"] {
        fixture.print(value);
        fixture.refresh().await;
        fixture.refresh_beside().await;
        assert_eq!(fixture.told(), usize::from(value != "s3cret-one"), "{value}");
    }
    assert!(!fixture.has_pool_of(&before), "no instance outlives the secrets that it was made with");
    fixture.print("s3cret-three");
    fixture.refresh_beside().await;
    assert_eq!(fixture.told(), 1);
    // What is wrong is told, once, and that it no longer is.
    for (value, told) in [("", 1), ("", 0), ("s3cret-three", 1), ("s3cret-three", 0)] {
        fixture.print(value);
        fixture.refresh().await;
        assert_eq!((fixture.told(), fixture.plugin().load_error.is_some()), (told, value.is_empty()), "{value:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_edited_as_its_commands_are_to_be_run_again_is_left_to_the_next_look() {
    let mut fixture = Fixture::new().await;
    let file = fixture.dir.join("a.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("concurrency = 3\n{text}")).unwrap();
    fixture.refresh().await;
    fixture.refresh_beside().await;
    assert_eq!((fixture.told(), fixture.plugin().load_error.clone()), (0, None));
    fixture.look().await;
    assert_eq!((fixture.plugin().file.concurrency, fixture.plugin().load_error.clone()), (Some(3), None));
}

#[tokio::test]
async fn instances_go_on_as_long_as_all_that_they_were_made_with_is_the_same() {
    let mut fixture = Fixture::new().await;
    let before = fixture.plugin();
    fs::write(fixture.dir.join("a.wasm"), "no component").unwrap();
    fixture.look().await;
    assert!(fixture.plugin().load_error.is_some() && fixture.has_pool_of(&before));
    // Neither does a mistake in its file change anything.
    let text = fs::read_to_string(fixture.dir.join("a.toml")).unwrap();
    fs::write(fixture.dir.join("a.toml"), format!("concurrency = 0\n{text}")).unwrap();
    fixture.look().await;
    assert!(fixture.has_pool_of(&before));
    fs::write(fixture.dir.join("a.toml"), &text).unwrap();
    fs::write(fixture.dir.join("a.wasm"), echo()).unwrap();
    fixture.look().await;
    assert!(fixture.plugin().load_error.is_none() && fixture.has_pool_of(&before));
    fs::write(fixture.dir.join("a.toml"), format!("concurrency = 1\n{text}")).unwrap();
    fixture.look().await;
    assert!(!fixture.has_pool_of(&before), "another file");
    let before = fixture.plugin();
    fs::write(fixture.dir.join("a.wasm"), super::super::testing::component("", "nop", "")).unwrap();
    fixture.look().await;
    assert!(!fixture.has_pool_of(&before), "another revision");
}
