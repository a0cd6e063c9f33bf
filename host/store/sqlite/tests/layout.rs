//! The file: who may open it, and what it refuses to hold.

use super::*;

fn reason(opened: Result<SqliteStore, StoreError>) -> String {
    match opened {
        Err(StoreError::Open { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_second_owner_is_refused_at_once() {
    let folder = TempDir::new().unwrap();
    let first = open(&folder).unwrap();
    assert!(reason(open(&folder)).starts_with("another windlass is using it"));
    drop(first);
    open(&folder).unwrap();
}

#[tokio::test]
async fn a_second_owner_is_refused_though_somebody_removed_the_lock() {
    let folder = TempDir::new().unwrap();
    let first = open(&folder).unwrap();
    for _ in 0..2 {
        // Also the one that was refused leaves one.
        std::fs::remove_file(folder.path().join("data/windlass.db.lock")).unwrap();
        assert!(reason(open(&folder)).starts_with("another windlass is using it"));
    }
    drop(first);
    open(&folder).unwrap();
}

#[tokio::test]
async fn a_newer_layout_and_a_foreign_file_are_refused() {
    let folder = TempDir::new().unwrap();
    drop(open(&folder).unwrap());
    let file = folder.path().join("data/windlass.db");
    Connection::open(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(reason(open(&folder)).contains("its layout is number 99"));

    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let foreign = Connection::open(folder.path().join("data/windlass.db")).unwrap();
    foreign.execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    assert!(reason(open(&folder)).contains("not a windlass store"));

    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("data/windlass.db"), "x".repeat(9_000)).unwrap();
    assert!(reason(open(&folder)).contains("not a database"));
}

#[tokio::test]
async fn a_name_for_a_copy_is_refused_for_what_is_wrong_with_it() {
    let folder = TempDir::new().unwrap();
    let _store = open(&folder).unwrap();
    let file = folder.path().join("data/windlass.db");
    let at = |name: &str| folder.path().join(name);
    for (to, told) in [
        (at("new/"), "it names a folder; name a file in it"),
        (at("data"), "it names a folder; name a file in it"),
        (at("no/copy.db"), "there is no folder"),
        (at("data/windlass.db/copy.db"), "is no folder; name one"),
        ("/proc/copy.db".into(), "no file can be made in /proc: "),
    ] {
        let said = backup(&file, &to).unwrap_err().to_string();
        assert!(said.contains(told), "{said}");
    }
}

#[tokio::test]
async fn what_is_no_file_is_refused_at_once() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    for (pipe, other) in [
        ("windlass.db", None),
        ("windlass.db", Some("windlass.db-wal")),
        ("windlass.db-wal", None),
        ("windlass.db-wal", Some("windlass.db")),
        ("windlass.db.lock", Some("windlass.db")),
    ] {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        mknodat(CWD, data.join(pipe), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        if let Some(other) = other {
            std::fs::write(data.join(other), [1; 5_000]).unwrap();
        }
        let (file, new) = (data.join("windlass.db"), folder.path().join("new.db"));
        for refused in [
            open(&folder).map(drop),
            examine(&file, folder.path()).map(drop),
            salvage(&file, &new).map(drop),
            backup(&file, &new).map(drop),
        ] {
            let told = refused.unwrap_err().to_string();
            assert!(told.ends_with(&format!("{pipe}: it is no file")), "{told}");
        }
    }
}

#[tokio::test]
async fn what_is_refused_keeps_its_log() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    accept(&store, NOW).await;
    let set = |folder: &TempDir, number: u32| {
        let conn = Connection::open(folder.path().join("data/windlass.db")).unwrap();
        crate::store::sqlite::open::leave_to_others(&conn).unwrap();
        conn.pragma_update(None, "user_version", number).unwrap();
    };
    let number = Connection::open(folder.path().join("data/windlass.db"))
        .unwrap()
        .query_row("PRAGMA user_version", (), |row| row.get(0))
        .unwrap();
    set(&folder, 99);
    let left = log::left_with_log(&folder, |_| ());
    let content = || ["", "-wal"].map(|it| std::fs::read(left.path().join(format!("data/windlass.db{it}"))).unwrap());
    let before = content();
    assert!(reason(open(&left)).contains("its layout is number 99"));
    assert!(before == content(), "the version that it is of goes on from there");
    set(&left, number);
    assert_eq!(open(&left).unwrap().counts().unfinished, 1);
}

#[tokio::test]
async fn a_link_to_a_store_is_the_store() {
    let folder = TempDir::new().unwrap();
    let link = |folder: &TempDir| {
        std::fs::create_dir(folder.path().join("data")).unwrap();
        std::os::unix::fs::symlink("link.db", folder.path().join("data/windlass.db")).unwrap();
        std::os::unix::fs::symlink("../disk.db", folder.path().join("data/link.db")).unwrap();
        folder.path().join("data/windlass.db")
    };
    link(&folder);
    let store = open(&folder).unwrap();
    accept(&store, NOW).await;
    // As a host that is killed leaves it.
    let left = TempDir::new().unwrap();
    for name in ["disk.db", "disk.db-wal"] {
        std::fs::copy(folder.path().join(name), left.path().join(name)).unwrap();
    }
    let link = link(&left);
    assert_eq!(backup(&link, &left.path().join("copy.db")).unwrap().jobs, 1);
    assert!(examine(&link, left.path()).unwrap().whole);
    let store = open(&left).unwrap();
    assert_eq!(store.counts().unfinished, 1);
    let target = left.path().join("disk.db");
    let second = SqliteStore::open(&target, SqliteOptions::default(), Arc::new(Chance::seeded(1)));
    assert!(reason(second).starts_with("another windlass is using it"));
}

#[tokio::test]
async fn a_path_is_a_path_and_no_uri() {
    let folder = TempDir::new().unwrap();
    drop(open(&folder).unwrap());
    let file = folder.path().join("data/windlass.db");
    let uri = format!("file:{}", file.display());
    assert!(Connection::open(&uri).is_ok(), "SQLite takes it for one");
    crate::store::sqlite::open::reader(Path::new(&uri)).unwrap_err();
    assert!(backup(Path::new(&uri), &folder.path().join("copy.db")).is_err());
}

#[tokio::test]
async fn nobody_else_can_read_it() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    accept(&store, NOW).await;
    let mode = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("data"), 0o700);
    for name in ["data/windlass.db", "data/windlass.db-wal", "data/windlass.db.lock"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
}

#[tokio::test]
async fn nonsense_rows_are_refused() {
    let folder = TempDir::new().unwrap();
    drop(open(&folder).unwrap());
    let conn = Connection::open(folder.path().join("data/windlass.db")).unwrap();
    let job = |columns: &str, values: &str| {
        format!(
            "INSERT INTO jobs (place, tail, plugin, downstream, priority, run_at_ms, created_ms{columns}) \
             VALUES (1, 2, 'p', 'd', 0, 3, 4{values})"
        )
    };
    let attempt = |columns: &str, values: &str| {
        format!(
            "INSERT INTO attempts (seq, place, started_ms, finished_ms, cpu_us, memory_peak_bytes, n, kind, failed, \
             held{columns}) VALUES (9, 1, 3, 4, 0, 0{values})"
        )
    };
    let good = [job("", ""), attempt(", previous, next_run_ms", ", 2, 'trap', 1, 0, 8, 5")];
    for sql in good {
        conn.execute(&sql, ()).unwrap_or_else(|error| panic!("{error}: {sql}"));
    }
    conn.execute_batch("DELETE FROM jobs; DELETE FROM attempts").unwrap();
    let bad = [
        job(", end_state", ", 'completed'"),
        job(", finished_ms", ", 5"),
        job(", end_state, finished_ms", ", 'running', 5"),
        job(", end_state, finished_ms", ", 'completed', 5"),
        job(", retried_ms", ", 5"),
        job(", retried_after", ", 5"),
        job(", labels", ", 'no json'"),
        job(", retry", ", '{'"),
        job(", deadline_ms", ", -1"),
        job("", "").replace("'d', 0,", "'d', 32768,"),
        job("", "").replace("(1, 2", "(0, 2"),
        attempt("", ", 1, 'broken', 0, 0"),
        attempt("", ", 0, 'trap', 0, 0"),
        attempt("", ", 1, 'trap', 2, 0"),
        attempt("", ", 1, 'trap', 0, 2"),
        attempt(", next_run_ms", ", 1, 'denied', 0, 1, 5"),
        attempt(", previous", ", 2, 'trap', 1, 0, 9"),
        "INSERT INTO idempotency VALUES ('k', 1, 2, x'00', 3, 4)".to_owned(),
        "INSERT INTO acts VALUES (1, 1, 2, 'praise', 3)".to_owned(),
        "INSERT INTO attempt_evidence VALUES (1, 'no json', 0, NULL, 0, 0)".to_owned(),
        "INSERT INTO begun VALUES (1, x'', 3)".to_owned(),
        "INSERT INTO begun VALUES (1, zeroblob(21), 3)".to_owned(),
        "INSERT INTO begun VALUES (0, zeroblob(20), 3)".to_owned(),
    ];
    for sql in bad {
        let error = conn.execute(&sql, ()).expect_err(&sql);
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::ConstraintViolation), "{error}: {sql}");
    }
}

#[tokio::test]
async fn what_an_older_layout_holds_is_kept() {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let file = folder.path().join("data/windlass.db");
    let old = Connection::open(&file).unwrap();
    old.execute_batch(include_str!("../../migrations/0001_jobs.sql")).unwrap();
    old.execute_batch(include_str!("../../migrations/0002_downstreams.sql")).unwrap();
    let columns = "seq, place, n, started_ms, finished_ms, kind, cpu_us, memory_peak_bytes, failed, held";
    let attempt = |seq: u32, kind: &str| {
        format!("INSERT INTO attempts ({columns}) VALUES ({seq}, 7, {seq}, 1, 2, '{kind}', 3, 4, 1, 0)")
    };
    old.execute(&attempt(1, "trap"), ()).unwrap();
    assert!(old.execute(&attempt(2, "host-calls"), ()).is_err(), "the older layout does not know it");
    old.execute("INSERT INTO attempt_evidence VALUES (1, NULL, 9, NULL)", ()).unwrap();
    old.pragma_update(None, "user_version", 2).unwrap();
    drop(old);
    drop(open(&folder).unwrap());
    let new = Connection::open(&file).unwrap();
    let kept: (String, u32) = new
        .query_row("SELECT kind, failed FROM attempts WHERE seq = 1", (), |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!(kept, ("trap".to_owned(), 1));
    let sql = "SELECT dropped_bytes, dropped_lines, dropped_exchanges FROM attempt_evidence";
    let cut: (u32, u32, u32) = new.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    assert_eq!(cut, (9, 0, 0));
    new.execute(&attempt(2, "host-calls"), ()).unwrap();
    assert!(new.execute(&attempt(3, "nonsense"), ()).is_err());
}

#[tokio::test]
async fn a_foreign_reader_or_writer_keeps_it_from_opening_and_is_told_of() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    accept(&store, NOW).await;
    // As a host that was killed leaves it, with its WAL.
    let left = TempDir::new().unwrap();
    std::fs::create_dir(left.path().join("data")).unwrap();
    for name in ["data/windlass.db", "data/windlass.db-wal"] {
        std::fs::copy(folder.path().join(name), left.path().join(name)).unwrap();
    }
    let foreign = Connection::open(left.path().join("data/windlass.db")).unwrap();
    foreign.execute_batch("BEGIN; SELECT count(*) FROM jobs").unwrap();
    let refusal = open(&left).unwrap_err().to_string();
    assert!(refusal.contains("another process is reading it"), "{refusal}");
    foreign.execute_batch("COMMIT; BEGIN IMMEDIATE").unwrap();
    let refusal = open(&left).unwrap_err().to_string();
    assert!(refusal.contains("another process is writing to it"), "{refusal}");
    foreign.execute_batch("COMMIT").unwrap();
    assert_eq!(open(&left).unwrap().counts().unfinished, 1);
}
