//! Power cuts. The writes and syncs of the real binary are recorded under load; then a disk is made of any part of that
//! which a power cut may have left, and the store on it must open, be sound, and hold whatever a client had been told.
//!
//!     cargo test --test power -- --nocapture
//!     POWER_IMAGES=20000 cargo test --test power -- --nocapture
//!     POWER_SEED=7 POWER_RECORD=target/power cargo test --test power      # once more what went wrong
#![cfg(target_os = "linux")]

mod common;
#[path = "power/cuts.rs"]
mod cuts;
#[path = "power/disk.rs"]
mod disk;
#[path = "power/image.rs"]
mod image;
#[path = "power/ledger.rs"]
mod ledger;
#[path = "power/load.rs"]
mod load;
#[path = "power/record.rs"]
mod record;
#[path = "power/recording.rs"]
mod recording;
#[path = "power/starts.rs"]
mod starts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cuts::{Cut, Moments};
use disk::Disk;
use ledger::{Fact, What};
use record::Record;
use recording::Recording;

/// How many threads check images.
const THREADS: usize = 2;
/// How many of an image's jobs are looked at through the store, beside the reading of all its rows.
const LOOKS: usize = 4;
/// How many hosts run at the same time.
const HOSTS: usize = 3;
/// How many hosts are started on images.
const STARTS: usize = 100;
/// Of so many starts one finds torn compiled code.
const TORN_EACH: usize = 20;

/// How many images are made.
fn images() -> usize {
    common::number("POWER_IMAGES").unwrap_or(1_000).max(1)
}

/// What chance begins with.
fn seed() -> u64 {
    common::number("POWER_SEED").unwrap_or_else(|| u64::from(std::process::id()))
}

/// The recording that the tests share, and the seed of it all.
fn recording() -> &'static (Recording, u64) {
    static RECORDING: OnceLock<(Recording, u64)> = OnceLock::new();
    RECORDING.get_or_init(|| {
        let seed = seed();
        println!("POWER_SEED={seed}");
        let recording = match std::env::var_os("POWER_RECORD") {
            Some(folder) => Recording::load(Path::new(&folder)),
            None => on_a_thread(|| Recording::make(seed)),
        };
        (recording, seed)
    })
}

/// Runs it to its end, wherever it was asked for.
fn on_a_thread<T: Send, F: Future<Output = T>>(make: impl FnOnce() -> F + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| tokio::runtime::Runtime::new().expect("a runtime").block_on(make()));
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A folder for images, in memory where that is to be had.
fn image_folder() -> tempfile::TempDir {
    tempfile::TempDir::new_in("/dev/shm").or_else(|_| tempfile::TempDir::new()).expect("a temporary folder")
}

/// What was wrong with the images of these cuts.
fn check(record: &Record, facts: &[Fact], cuts: &[Cut]) -> Vec<(Cut, Vec<String>)> {
    let folder = image_folder();
    let check = |chunk: &[Cut], folder: PathBuf| {
        let (mut disk, mut wrong) = (Disk::new(record), Vec::new());
        for cut in chunk {
            disk.advance(cut.entries);
            let mut chance = cut.chance();
            image::put(&disk.cut(cut.loss, &mut chance), &folder);
            image::put_index(&folder, &mut chance);
            let dues = ledger::dues(facts, record.position(cut.entries));
            let samples = starts::sample(&dues, &mut chance, LOOKS);
            let found = image::check(&folder, &dues, &samples);
            if !found.is_empty() {
                wrong.push((*cut, found));
            }
            std::fs::remove_dir_all(&folder).expect("our own folder");
        }
        wrong
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (cuts.chunks(cuts.len().div_ceil(THREADS).max(1)).enumerate())
            .map(|(number, chunk)| {
                let folder = folder.path().join(number.to_string());
                scope.spawn(move || check(chunk, folder))
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a checker does not panic")).collect()
    })
}

#[test]
fn every_image_of_a_power_cut_holds_what_clients_were_told() {
    let (recording, seed) = recording();
    let Recording { record, facts, .. } = recording;
    let images = images();
    let moments = Moments::of(record, facts);
    assert!(moments.resets > 0, "the load was too small for the WAL to be copied back");
    let has_said = facts.iter().any(|fact| matches!(fact.what, What::Said { .. }));
    assert!(has_said, "no attempt of an unfinished job was seen, nor what it said");
    let cuts = moments.cuts(*seed, images, 0);
    let wrong = check(record, facts, &cuts);
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for cut in &cuts {
        *kinds.entry(format!("{:?}", cut.aim)).or_default() += 1;
        *kinds.entry(format!("loses {:?}", cut.loss)).or_default() += 1;
    }
    let jobs: usize = cuts.iter().map(|cut| ledger::dues(facts, record.position(cut.entries)).jobs.len()).sum();
    println!(
        "{images} images of {} events, {} checkpoints, {} resets of the WAL; {} things seen, {jobs} jobs checked; {kinds:?}",
        record.entries.len(),
        moments.checkpoints,
        moments.resets,
        facts.len(),
    );
    complain(recording, *seed, &wrong);
}

/// How many of these images lack jobs.
fn lossy(wrong: &[(Cut, Vec<String>)]) -> usize {
    told_of(wrong, "was acknowledged, and is lost")
}

/// Of how many of these images that is told.
fn told_of(wrong: &[(Cut, Vec<String>)], what: &str) -> usize {
    wrong.iter().filter(|(_, told)| told.iter().any(|told| told.contains(what))).count()
}

fn complain(recording: &Recording, seed: u64, wrong: &[(Cut, Vec<String>)]) {
    let Some((cut, first)) = wrong.first() else { return };
    for (cut, what) in wrong.iter().take(10) {
        println!("{cut:?}: {:?}", &what[..what.len().min(3)]);
    }
    give_up(recording, seed, &format!("{} images are wrong, the first {cut:?}: {first:#?}", wrong.len()));
}

/// Checks images of the time from there in the record on.
fn check_from(recording: &Recording, seed: u64, position: u64) {
    let not_before = recording.record.first_behind(position);
    let cuts = Moments::of(&recording.record, &recording.facts).cuts(seed, 70, not_before);
    complain(recording, seed, &check(&recording.record, &recording.facts, &cuts));
}

/// Keeps the recording, so that the same images can be made again.
fn give_up(recording: &Recording, seed: u64, why: &str) -> ! {
    recording.save(&common::guests::root().join("target/power"));
    panic!("{why}\nagain: POWER_SEED={seed} POWER_RECORD=target/power cargo test --test power");
}

#[test]
fn the_binary_goes_on_from_images_of_power_cuts() {
    let (recording, seed) = recording();
    let (images, starts) = (images(), STARTS.min(images()));
    let cuts = Moments::of(&recording.record, &recording.facts).cuts(*seed, images, 0);
    // Some of the very images that the other test opens.
    let cuts: Vec<Cut> = cuts.into_iter().step_by(images / starts).take(starts).collect();
    on_a_thread(|| async {
        let mut hosts = tokio::task::JoinSet::new();
        let mut disk = Disk::new(&recording.record);
        for (number, cut) in cuts.into_iter().enumerate() {
            disk.advance(cut.entries);
            let found = disk.cut(cut.loss, &mut cut.chance());
            if hosts.len() == HOSTS {
                let ended: Option<Result<(), _>> = hosts.join_next().await;
                if ended.is_some_and(|ended| ended.is_err()) {
                    give_up(recording, *seed, "a start went wrong, as is said above");
                }
            }
            hosts.spawn(async move {
                let dues = ledger::dues(&recording.facts, recording.record.position(cut.entries));
                println!("start {number}, cut {}: {cut:?}", cut.number);
                starts::check(found, recording.beside.path(), &dues, &mut cut.chance(), number % TORN_EACH == 0).await;
            });
        }
        while let Some(ended) = hosts.join_next().await {
            if ended.is_err() {
                give_up(recording, *seed, "a start went wrong, as is said above");
            }
        }
    });
    println!("{starts} starts of the binary");
}

/// A checker that finds nothing is worth nothing: a store that did not sync would be found out.
#[test]
fn a_store_that_does_not_sync_is_found_out() {
    let (recording, seed) = recording();
    let record = recording.record.without_syncs();
    let cuts = Moments::of(&record, &recording.facts).cuts(*seed, 70, record.entries.len() / 4);
    let wrong = check(&record, &recording.facts, &cuts);
    let losses = lossy(&wrong);
    let (attempts, said) = (told_of(&wrong, "was shown, and is lost: Attempt"), told_of(&wrong, "said was shown"));
    println!(
        "without syncs {} of {} images are wrong, {losses} of them lack jobs, {attempts} attempts, {said} what these said",
        wrong.len(),
        cuts.len()
    );
    assert!(losses > 0, "nothing was lost without syncs");
}

/// What `store.sync = "normal"` gives up, and what it does not: the newest answers may be lost, which the same checker
/// finds, but the store opens and is sound.
#[test]
fn a_relaxed_store_loses_its_newest_and_stays_sound() {
    let seed = seed();
    let recording = on_a_thread(|| Recording::relaxed(seed));
    let Recording { record, facts, .. } = &recording;
    let cuts = Moments::of(record, facts).cuts(seed, 140, record.entries.len() / 4);
    let mut wrong = check(record, facts, &cuts);
    let losses = lossy(&wrong);
    println!("sync = normal: {} of {} images are wrong, {losses} of them lack jobs", wrong.len(), cuts.len());
    assert!(losses > 0, "nothing was lost with store.sync = \"normal\"");
    let is_unsound = |what: &String| what.contains("integrity") || what.contains("does not open");
    wrong.retain(|(_, what)| what.iter().any(is_unsound));
    complain(&recording, seed, &wrong);
}

/// The system takes what it could not write for written, and says so once: what a failed sync had covered must be written
/// anew before anything is built on it.
#[test]
fn what_a_failed_sync_covered_is_not_built_on() {
    let seed = seed();
    for (of, which) in [(2, 1), (2, 2), (2, 7), (1, 1)] {
        let (recording, third_life) = on_a_thread(|| Recording::with_a_failed_sync(seed, of, which));
        println!("sync {which} of file {of} failed: images of the host's next life");
        check_from(&recording, seed, third_life);
    }
}

/// The same of a start: whichever of its syncs fails, the host gives up, and the next start makes it good.
#[test]
fn what_a_failed_sync_of_a_start_covered_is_not_built_on() {
    let seed = seed();
    let mut failed = 0;
    while let Some((recording, third_life)) = on_a_thread(|| Recording::with_a_failed_start(seed, failed + 1)) {
        failed += 1;
        println!("sync {failed} of a start failed: images from there on");
        check_from(&recording, seed, third_life);
    }
    assert!(failed >= 5, "a start has {failed} syncs only");
}
