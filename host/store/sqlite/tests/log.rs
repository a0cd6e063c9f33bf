//! A log of which the middle never reached the disk: it was promised, unless nobody waited for it.

use super::*;

const JOBS: u64 = 6;

/// A store with that many jobs.
async fn filled(sync: SyncMode) -> (TempDir, SqliteStore) {
    let folder = TempDir::new().unwrap();
    let store = open_with(&folder, SqliteOptions { sync, ..SqliteOptions::default() }).unwrap();
    for _ in 0..JOBS {
        accept(&store, NOW).await;
    }
    (folder, store)
}

/// What is left of such a store.
async fn broken(sync: SyncMode) -> TempDir {
    let (folder, _store) = filled(sync).await;
    left_behind(&folder, |frames| frames[frames.len() / 2].fill(0))
}

/// The store as it lies there, with that done to the frames of its log.
fn left_behind(folder: &TempDir, damage: impl FnOnce(&mut [&mut [u8]])) -> TempDir {
    left_with_log(folder, |content| {
        let (header, frames) = content.split_at_mut(32);
        // Behind them lie frames of an earlier log.
        let frames = frames.chunks_mut(24 + 4_096).take_while(|frame| frame[8..16] == header[16..24]);
        damage(&mut frames.collect::<Vec<_>>());
    })
}

/// The same, with that done to its log.
pub(super) fn left_with_log(folder: &TempDir, damage: impl FnOnce(&mut [u8])) -> TempDir {
    let left = TempDir::new().unwrap();
    std::fs::create_dir(left.path().join("data")).unwrap();
    for name in ["data/windlass.db", "data/windlass.db-wal"] {
        std::fs::copy(folder.path().join(name), left.path().join(name)).unwrap();
    }
    let log = left.path().join("data/windlass.db-wal");
    let mut content = std::fs::read(&log).unwrap();
    damage(&mut content);
    std::fs::write(log, content).unwrap();
    left
}

#[tokio::test]
async fn it_is_refused_where_it_was_promised() {
    let left = broken(SyncMode::Full).await;
    let refusal = open(&left).unwrap_err().to_string();
    assert!(refusal.contains("log is damaged at frame") && refusal.contains("windlass doctor"), "{refusal}");
    backup(&left.path().join("data/windlass.db"), &left.path().join("copy.db")).unwrap_err();
}

#[tokio::test]
async fn a_relaxed_store_goes_on_from_what_is_before_it() {
    let left = broken(SyncMode::Normal).await;
    let store = left.path().join("data/windlass.db");
    let report = examine(&store, left.path()).unwrap();
    assert!(report.log.unwrap().contains("breaks off at frame") && report.jobs.whole < JOBS);
    let copied = backup(&store, &left.path().join("copy.db")).unwrap();
    // Whoever waits for the disk by now need not have done so before.
    let kept = open(&left).unwrap().counts().unfinished;
    assert!((1..JOBS).contains(&kept) && kept == copied.jobs && kept == report.jobs.whole, "{kept} jobs");
    assert!(examine(&store, left.path()).unwrap().whole);
}

#[tokio::test]
async fn damage_where_the_file_has_what_is_lost_is_damage_too() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    let half = JOBS / 2;
    for _ in 0..half {
        accept(&store, NOW).await;
    }
    // The log is copied into the file up to here, and grows on for this reader's sake.
    let file = folder.path().join("data/windlass.db");
    let [reader, copier] = [(), ()].map(|()| Connection::open(&file).unwrap());
    reader.execute_batch("BEGIN; SELECT count(*) FROM jobs").unwrap();
    let copied: u32 = copier.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |row| row.get(2)).unwrap();
    for _ in half..JOBS {
        accept(&store, NOW).await;
    }
    let left = left_behind(&folder, |frames| frames[copied as usize - 1][24 + 7] ^= 1);
    let refusal = open(&left).unwrap_err().to_string();
    assert!(refusal.contains(&format!("log is damaged at frame {copied},")), "{refusal}");
    let file = left.path().join("data/windlass.db");
    assert!(examine(&file, left.path()).unwrap().log.is_some());
    let (_, made) = salvage(&file, &left.path().join("new.db")).unwrap();
    assert_eq!(made.jobs, JOBS, "nothing is lost with it");
}

#[tokio::test]
async fn a_log_without_its_header_is_told_of_and_all_that_is_in_it_is_salvaged() {
    let (folder, _store) = filled(SyncMode::Full).await;
    for byte in 0..33 {
        let left = left_with_log(&folder, |log| if byte < 32 { log[byte] ^= 1 } else { log[..32].fill(0xa5) });
        let file = left.path().join("data/windlass.db");
        let refusal = open(&left).unwrap_err().to_string();
        assert!(refusal.contains("beginning of its write-ahead log is damaged, with"), "{byte}: {refusal}");
        let (report, made) = salvage(&file, &left.path().join("new.db")).unwrap();
        assert!(report.log.unwrap().contains("that were promised"), "{byte}");
        assert_eq!(made.jobs, JOBS, "{byte}");
    }
}

#[tokio::test]
async fn a_page_beyond_what_there_can_be_is_not_taken_unseen() {
    let (folder, _store) = filled(SyncMode::Full).await;
    for at in [0, 4] {
        let left = left_with_log(&folder, |log| log[..32 + at + 2].fill(0x7f));
        let (_, made) = salvage(&left.path().join("data/windlass.db"), &left.path().join("new.db")).unwrap();
        assert!(made.jobs >= JOBS - 1, "{at}: {}", made.jobs);
    }
}

#[tokio::test]
async fn the_salts_of_a_log_that_lost_its_first_page_stand_in_its_index() {
    let (folder, _store) = filled(SyncMode::Full).await;
    let left = left_with_log(&folder, |log| log[..4_096].fill(0));
    let file = left.path().join("data/windlass.db");
    assert!(examine(&file, left.path()).unwrap().log.unwrap().contains("with 0 transactions"));
    std::fs::copy(folder.path().join("data/windlass.db-shm"), left.path().join("data/windlass.db-shm")).unwrap();
    let (report, made) = salvage(&file, &left.path().join("new.db")).unwrap();
    assert!(!report.log.unwrap().contains("with 0 transactions"));
    assert!(made.jobs >= JOBS - 1, "{}", made.jobs);
}

#[tokio::test]
async fn what_the_index_promises_counts_until_the_machine_is_started_anew() {
    let (folder, _store) = filled(SyncMode::Full).await;
    // The last commit is not in the log, and the index says that it is.
    let left = left_behind(&folder, |frames| frames.last_mut().unwrap().fill(0));
    let index = left.path().join("data/windlass.db-shm");
    std::fs::copy(folder.path().join("data/windlass.db-shm"), &index).unwrap();
    let refusal = open(&left).unwrap_err().to_string();
    assert!(refusal.contains("log is damaged at frame"), "{refusal}");
    let earlier = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
    std::fs::File::options().write(true).open(&index).unwrap().set_modified(earlier).unwrap();
    assert_eq!(open(&left).unwrap().counts().unfinished, JOBS - 1);
}

#[tokio::test]
async fn who_looks_at_a_store_takes_others_who_do_for_no_host() {
    let left = broken(SyncMode::Full).await;
    let (file, lock) = (left.path().join("data/windlass.db"), left.path().join("data/windlass.db.lock"));
    std::fs::write(&lock, [0]).unwrap();
    let other = std::fs::File::open(&lock).unwrap();
    other.try_lock_shared().unwrap();
    let told = backup(&file, &left.path().join("copy.db")).unwrap_err().to_string();
    assert!(told.contains("log is damaged at frame"), "{told}");
    assert!(!examine(&file, left.path()).unwrap().whole);
    std::fs::remove_file(left.path().join("data/windlass.db-wal")).unwrap();
    let told = backup(&file, &left.path().join("copy.db")).unwrap_err().to_string();
    assert!(told.contains("log (the file beside it that ends in -wal) is missing"), "{told}");
    assert!(!examine(&file, left.path()).unwrap().whole);
    assert!(!left.path().join("data/windlass.db-wal").exists());
}

#[tokio::test]
async fn what_a_host_is_opening_is_not_looked_at() {
    let left = broken(SyncMode::Full).await;
    let file = left.path().join("data/windlass.db");
    let _opening = Ownership::take(&file).unwrap();
    for told in [examine(&file, left.path()).unwrap_err(), backup(&file, &left.path().join("copy.db")).unwrap_err()] {
        assert!(told.to_string().contains("a windlass is opening it"), "{told}");
    }
}

#[tokio::test]
async fn a_log_that_lost_its_file_is_not_begun_over() {
    let (folder, _store) = filled(SyncMode::Full).await;
    // As it is, and with a last commit that a power cut tore.
    for torn in [0, 1] {
        for is_gone in [false, true] {
            let left = left_behind(&folder, |frames| frames.iter_mut().rev().take(torn).for_each(|it| it.fill(0)));
            let file = left.path().join("data/windlass.db");
            if is_gone {
                std::fs::remove_file(&file).unwrap()
            } else {
                std::fs::write(&file, "").unwrap()
            }
            let content = || ["", "-wal"].map(|it| std::fs::read(open::beside(&file, it)).ok());
            let before = content();
            for told in [open(&left).unwrap_err(), backup(&file, &left.path().join("copy.db")).unwrap_err()] {
                let told = told.to_string();
                assert!(told.contains("is empty or gone") && told.contains("windlass doctor"), "{told}");
                assert_eq!(told.lines().count(), 1, "{told}");
            }
            let report = examine(&file, left.path()).unwrap();
            let jobs = JOBS - torn as u64;
            assert!(report.log.as_ref().is_some_and(|log| log.contains("is empty or gone")), "{report:#?}");
            // What began to be written to the file before is lost with it: attempts, for all that anybody knows.
            assert_eq!((report.whole, report.jobs.whole + report.jobs.doubtful), (false, jobs), "{report:#?}");
            let (_, made) = salvage(&file, &left.path().join("new.db")).unwrap();
            assert_eq!(made.jobs, jobs);
            assert!(before == content(), "it was changed");
        }
    }
}

#[tokio::test]
async fn what_is_empty_is_told_to_be_empty_and_begun() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("data/windlass.db");
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(&file, "").unwrap();
    let new = folder.path().join("new.db");
    for has_log in [false, true] {
        if has_log {
            std::fs::write(open::beside(&file, "-wal"), "").unwrap();
        }
        for refused in
            [examine(&file, folder.path()).map(drop), salvage(&file, &new).map(drop), backup(&file, &new).map(drop)]
        {
            let told = refused.unwrap_err().to_string();
            assert!(told.contains("it is empty: ") && told.contains("`windlass serve` begins a new store"), "{told}");
        }
        assert!(!new.exists() && std::fs::read(&file).unwrap().is_empty());
    }
    assert_eq!(open(&folder).unwrap().counts().unfinished, 0);
    assert!(examine(&file, folder.path()).unwrap().whole);
}

#[tokio::test]
async fn no_page_behind_the_end_of_the_file_is_a_bad_one() {
    let (folder, store) = filled(SyncMode::Full).await;
    drop(store);
    let file = folder.path().join("data/windlass.db");
    for (pages, first) in [(3, None), (1, None), (1, Some(0xff)), (0, None)] {
        let mut content = std::fs::read(&file).unwrap();
        // With a page torn at the end, so that none of it is there as a whole.
        content.truncate(pages * 4_096 + 100);
        content[..100].iter_mut().for_each(|byte| *byte = first.unwrap_or(*byte));
        let cut = folder.path().join("cut.db");
        std::fs::write(&cut, content).unwrap();
        let report = examine(&cut, folder.path()).unwrap();
        assert!(report.bad_pages.iter().all(|page| (1..=pages).contains(&(*page as usize))), "{report:#?}");
        let ends = format!("it ends after page {pages}");
        assert!(!report.whole && report.structure.iter().any(|fault| fault.contains(&ends)), "{report:#?}");
    }
}

#[tokio::test]
async fn a_store_that_was_cut_off_before_its_first_page_is_begun() {
    let (folder, _store) = filled(SyncMode::Full).await;
    for length in [0, 20, 32] {
        let left = left_with_log(&folder, |_| ());
        let file = left.path().join("data/windlass.db");
        std::fs::write(&file, "").unwrap();
        std::fs::File::options().write(true).open(open::beside(&file, "-wal")).unwrap().set_len(length).unwrap();
        assert_eq!(open(&left).unwrap().counts().unfinished, 0, "{length}");
    }
}
