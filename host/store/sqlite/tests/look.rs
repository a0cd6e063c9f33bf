//! What people are shown while it changes.

use super::*;

#[tokio::test]
async fn a_page_that_was_begun_before_an_attempt_ended_is_told_all_the_same() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    let id = accept(&store, NOW).await;
    let filter = ListFilter { limit: 9, ..ListFilter::default() };
    let conn = open::reader(&folder.path().join("data/windlass.db")).unwrap();
    let page = |conn: &Connection| query::list::page(conn, &store.shared, &filter, NOW).unwrap();
    for (error, seen) in [("once", 1), ("twice", 2)] {
        let snapshot = conn.unchecked_transaction().unwrap();
        assert_eq!(page(&snapshot).jobs.len(), 1);
        let claimed = store.claim(1, NOW, &mut Open).await.unwrap().remove(0);
        let again = Disposition::Retry { at: NOW, counted: true };
        let finish = Finish { error: Some(error.to_owned()), ..ending(&claimed, NOW, again) };
        assert_eq!(store.finish(&[finish]).await.unwrap(), [Finished::Recorded]);
        // The memory knows of an attempt that this reader does not see yet.
        let jobs = page(&snapshot).jobs;
        assert_eq!((jobs[0].id, jobs[0].attempt, jobs[0].last_error.as_deref()), (id, seen, Some(error)));
    }
}
