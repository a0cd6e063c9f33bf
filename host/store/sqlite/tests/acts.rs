//! Acts that are lost: the job's own row tells of the newest.

use super::*;

#[tokio::test]
async fn a_later_retry_that_is_lost_is_noticed_unless_times_were_moved() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    let id = accept(&store, UnixMs(NOW.0 + 1_000_000)).await;
    for n in [1, 2] {
        assert!(matches!(store.retry(id, UnixMs(NOW.0 + n)).await, Ok(Acted::Done)));
        assert!(matches!(store.cancel(id, UnixMs(NOW.0 + 10 * n)).await, Ok(Acted::Done)));
    }
    assert!(matches!(store.retry(id, UnixMs(NOW.0 + 100)).await, Ok(Acted::Done)));
    drop(store);
    let file = folder.path().join("data/windlass.db");
    assert!(examine(&file, folder.path()).unwrap().whole);
    // The last cancel and the retry that undid it.
    let conn = Connection::open(&file).unwrap();
    assert_eq!(conn.execute("DELETE FROM acts WHERE seq > 3", ()), Ok(2));
    let report = examine(&file, folder.path()).unwrap();
    assert_eq!(report.incomplete[0].missing, ["what people did to it does not agree with its row"], "{report:#?}");
    conn.execute("INSERT INTO meta (name, value) VALUES ('forward_until_ms', 1)", ()).unwrap();
    assert!(examine(&file, folder.path()).unwrap().whole);
    let (_, made) = salvage(&file, &folder.path().join("new.db")).unwrap();
    assert!(made.jobs == 1 && examine(&made.file, folder.path()).unwrap().whole, "{made:?}");
}
