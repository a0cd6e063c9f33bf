//! Damaged stores, for the fuzzer: the bytes say what happened to a store, and the doctor is called.

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use rusqlite::Connection;

use super::{JobCounts, examine, salvage};
use crate::lock::lock;
use crate::store::sqlite::sums;

/// A store with rows of every kind, of each layout.
const FIXTURES: [&str; 5] = [
    include_str!("../../../../tests/fixtures/store/v1.sql"),
    include_str!("../../../../tests/fixtures/store/v2.sql"),
    include_str!("../../../../tests/fixtures/store/v3.sql"),
    include_str!("../../../../tests/fixtures/store/v4.sql"),
    include_str!("../../../../tests/fixtures/store/v5.sql"),
];
const FILES: [&str; 3] = ["windlass.db", "windlass.db-wal", "windlass.db-shm"];
/// Small, so that there are inner pages and rows of several pages.
const PAGE_SIZE: usize = 512;
/// The head of the log and of each of its frames.
const LOG_HEADS: (usize, usize) = (32, 24);

/// The content of a store's files; none where there is no such file.
type Files = [Option<Vec<u8>>; 3];

/// What the calls of one process share: one at a time has the folder.
struct Bed {
    folder: PathBuf,
    /// The first four fixtures, the newest one as a host leaves it that was killed, and that one as it is.
    stores: Vec<Files>,
}

static BED: LazyLock<Mutex<Bed>> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let folder = place.join(format!("windlass-fuzzing-store-{}", std::process::id()));
    let mut stores: Vec<Files> = FIXTURES.iter().map(|sql| closed(&folder, sql)).collect();
    stores.insert(4, killed(&folder));
    Mutex::new(Bed { folder, stores })
});

/// Looks over a store that these bytes have damaged, and now and then salvages it.
///
/// # Panics
/// Where the doctor writes to the store, tells of a store that it then cannot salvage, or makes one that is not whole.
pub fn store(input: &[u8]) {
    let Some((which, wounds)) = input.split_first() else { return };
    let bed = lock(&BED);
    let which_of_all = which % 8;
    let mut files = match which_of_all {
        // The bytes are the file, or the log, themselves.
        5 => [Some(wounds.to_vec()), None, None],
        6 => [bed.stores[3][0].clone(), Some(wounds.to_vec()), None],
        store => bed.stores[usize::from(store.min(5))].clone(),
    };
    if !matches!(which_of_all, 5 | 6) {
        wound(&mut files, wounds);
    }
    put(&bed.folder, &files);
    look(&bed.folder, which & 8 != 0);
    assert!(read(&bed.folder) == files, "the store was changed");
    // Nothing is left behind when the process ends.
    _ = std::fs::remove_dir_all(&bed.folder);
}

/// What holds for any store at all.
fn look(folder: &Path, is_salvaged: bool) {
    let (store, new) = (folder.join(FILES[0]), folder.join("new.db"));
    let examined = examine(&store, folder);
    if !is_salvaged {
        return;
    }
    let salvaged = salvage(&store, &new);
    let (Ok(report), Ok((again, made))) = (&examined, &salvaged) else {
        return assert!(examined.is_err() && salvaged.is_err(), "{examined:#?}, but {salvaged:#?}");
    };
    assert_eq!(again.jobs.whole + again.jobs.doubtful, made.jobs, "{again:#?}");
    assert!(made.jobs <= report.jobs.whole + report.jobs.doubtful, "{report:#?} but {made:#?}");
    let found = examine(&new, folder).unwrap_or_else(|error| panic!("what was salvaged: {error}"));
    let is_sound = found.structure.is_empty() && found.bad_pages.is_empty() && found.damaged_rows.is_empty();
    let jobs = JobCounts { doubtful: 0, incomplete: 0, lost: 0, ..found.jobs };
    assert!(is_sound && found.jobs == jobs && jobs.whole == made.jobs, "{report:#?} became {found:#?}");
}

/// Does to the files what the bytes say, one after the other: bytes written over, pages exchanged, wiped, cut off.
fn wound(files: &mut Files, mut wounds: &[u8]) {
    while let Some((&[what, page, high, low], rest)) = wounds.split_first_chunk::<4>() {
        wounds = rest;
        let is_log = what & 0x80 != 0;
        let (head, frame) = if is_log { LOG_HEADS } else { (0, 0) };
        let Some(file) = &mut files[usize::from(is_log)] else { continue };
        let size = PAGE_SIZE + frame;
        let pages = file.len().saturating_sub(head) / size;
        if pages == 0 {
            continue;
        }
        let begin = |page: u8| head + usize::from(page) % pages * size;
        let (from, at) = (begin(page), usize::from(u16::from_be_bytes([high, low])));
        match what % 4 {
            0 => {
                let (bytes, rest) = wounds.split_at(wounds.len().min(usize::from(what >> 2) % 16 + 1));
                wounds = rest;
                // The head of a log lies before its pages.
                let at = if is_log && page == u8::MAX { at % head } else { from + at % size };
                let length = bytes.len().min(file.len() - at);
                file[at..at + length].copy_from_slice(&bytes[..length]);
            }
            1 => file.copy_within(from..from + size, begin(low)),
            2 => file[from..from + size].fill(high),
            _ => file.truncate(from + at % size),
        }
    }
}

fn put(folder: &Path, files: &Files) {
    _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).expect("a new folder");
    for (name, content) in FILES.iter().zip(files) {
        content.iter().for_each(|content| std::fs::write(folder.join(name), content).expect("a new file"));
    }
}

fn read(folder: &Path) -> Files {
    FILES.map(|name| std::fs::read(folder.join(name)).ok())
}

fn closed(folder: &Path, sql: &str) -> Files {
    put(folder, &Files::default());
    drop(made(folder, sql));
    read(folder)
}

fn made(folder: &Path, sql: &str) -> Connection {
    let conn = Connection::open(folder.join(FILES[0])).expect("a new store");
    sums::register(&conn).expect("a function");
    conn.execute_batch(&format!("PRAGMA page_size = {PAGE_SIZE}; {sql}")).expect("a fixture");
    conn
}

/// With a log of several transactions, and its index.
fn killed(folder: &Path) -> Files {
    put(folder, &Files::default());
    let conn = made(folder, FIXTURES[FIXTURES.len() - 1]);
    conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;").expect("a log");
    let paused = "INSERT INTO paused_plugins (name, sum) VALUES (?1, row_sum('paused', ?1))";
    for n in 0..8 {
        conn.execute(paused, [format!("{n}{}", "x".repeat(n * 90))]).expect("a row");
    }
    read(folder)
}
