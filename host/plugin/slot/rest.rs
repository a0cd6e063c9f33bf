//! The plugin's file as whoever puts a component over HTTP is judged by: one that is at rest, as the looks through the folder
//! ask for. What is half written may lack the very line that keeps a component out, and what is gone may be about to come
//! back.

use std::time::Duration;

use tokio::time::Instant;

use super::super::folder::{Kind, Stamp};
use super::super::loader::LOOK_AGAIN;
use super::super::rest::Rest;
use super::super::{InstallError, report};
use super::Slot;

/// How long a file may take to come to rest. Whoever waits for longer is told to ask again.
const PATIENCE: Duration = Duration::from_secs(2);

impl Slot {
    /// The plugin's file once it is at rest, or once it is gone for as long. Waits for that since `asked`.
    pub(super) async fn grants_at_rest(&self, asked: Instant) -> Result<Option<Stamp>, InstallError> {
        let mut rest = None;
        loop {
            let found = self.stamp(Kind::Grants).await?;
            let rest = rest.get_or_insert_with(|| Rest::new(found.clone()));
            // What was accepted was at rest then, and is the same still.
            if rest.is_over(found.clone()) || found == self.accepted().grants {
                return Ok(found);
            }
            if asked.elapsed() >= PATIENCE {
                return Err(report::restless_grants(&self.name).into());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::path::PathBuf;
    use std::sync::Arc;

    use tokio::sync::mpsc::UnboundedReceiver;
    use tokio::time::sleep;

    use crate::clock::SystemClock;
    use crate::plugin::{Loader, PluginChange};

    use super::super::super::rest::REST;
    use super::super::super::testing::Bench;
    use super::super::coming::Put;
    use super::*;

    /// A plugin whose file asks for a component that nobody has, on a clock that goes on where nobody has anything to do.
    struct Fixture {
        _bench: Bench,
        file: PathBuf,
        text: String,
        slot: Arc<Slot>,
        _changes: UnboundedReceiver<PluginChange>,
    }

    impl Fixture {
        async fn new() -> Self {
            let bench = Bench::new();
            let dir = bench.dir.path().join("plugins");
            let (loader, changes) =
                Loader::new(bench.host.clone(), dir.clone(), Arc::new(SystemClock::start())).unwrap();
            let (file, text) = (dir.join("a.toml"), format!("concurrency = 3\nsha256 = \"{}\"\n", "ab".repeat(32)));
            fs::write(&file, &text).unwrap();
            while loader.look().await.is_some() {}
            let slot = loader.folder.slot("a");
            assert!(slot.state.lock().await.file.sha256.is_some());
            tokio::time::pause();
            Self { _bench: bench, file, text, slot, _changes: changes }
        }

        /// Whether a component may come in that is not the pinned one.
        async fn admit(&self) -> Result<(), InstallError> {
            let digest = "cd".repeat(32);
            let glanced = self.slot.glance(&digest, &[]).await;
            let mut put = Put::begin(&self.slot).await?;
            glanced.and(self.slot.admitted(&mut put, &digest, &[]).await.map(drop))
        }

        fn append(&self, text: &str) {
            fs::File::options().append(true).open(&self.file).unwrap().write_all(text.as_bytes()).unwrap();
        }

        /// The file is saved in place, slowly: the line that counts comes last.
        async fn save(&self, lines: usize) {
            for n in 0..lines {
                sleep(REST * 3 / 4).await;
                self.append(&format!("# {n}\n"));
            }
            self.append(&self.text);
        }
    }

    #[track_caller]
    fn is_kept_out(admitted: Result<(), InstallError>) {
        let Err(InstallError::Refused(error)) = admitted else { panic!("{admitted:?}") };
        assert!(error.summary.contains("sha256") && !error.is_hosts_own(), "{error:?}");
    }

    #[tokio::test]
    async fn half_of_a_file_lets_nobody_in() {
        let fixture = Fixture::new().await;
        fs::write(&fixture.file, "").unwrap();
        let (admitted, ()) = tokio::join!(fixture.admit(), fixture.save(12));
        is_kept_out(admitted);
    }

    #[tokio::test]
    async fn a_file_that_is_gone_for_a_moment_lets_nobody_in_and_one_that_is_gone_keeps_nobody_out() {
        let fixture = Fixture::new().await;
        let beside = fixture.file.with_extension("toml~");
        fs::rename(&fixture.file, &beside).unwrap();
        let back = async {
            sleep(REST * 3 / 4).await;
            fs::rename(&beside, &fixture.file).unwrap();
        };
        let (admitted, ()) = tokio::join!(fixture.admit(), back);
        is_kept_out(admitted);
        fs::remove_file(&fixture.file).unwrap();
        let removed = Instant::now();
        fixture.admit().await.unwrap();
        assert!(removed.elapsed() >= REST);
        // From here on that is known.
        let again = Instant::now();
        fixture.admit().await.unwrap();
        assert_eq!(again.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn while_a_file_is_being_written_it_grants_nothing_and_who_asks_is_told_to_ask_again() {
        let fixture = Fixture::new().await;
        fs::write(&fixture.file, "concurrency = 4\n").unwrap();
        let asked = Instant::now();
        let admitted = tokio::select! {
            admitted = fixture.admit() => admitted,
            () = fixture.save(1_000) => panic!("it was waited for for ever"),
        };
        let Err(InstallError::Refused(error)) = admitted else { panic!("{admitted:?}") };
        assert!(error.is_hosts_own() && error.summary.contains("a.toml"), "{error:?}");
        assert!(asked.elapsed() >= PATIENCE);
        let standing = fixture.slot.state.lock().await;
        assert_eq!((standing.file.concurrency, standing.file_error.as_ref()), (Some(3), None));
    }
}
