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

#[tokio::test]
async fn a_damaged_job_keeps_no_other_out_of_a_list_and_is_told_to_who_asks_for_it() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).unwrap();
    let conn = Connection::open(folder.path().join("data/windlass.db")).unwrap();
    // Its own row, its chain of attempts where it is final, and where it waits.
    let (of_job, of_attempt) =
        ("UPDATE jobs SET sum = sum + 1 WHERE place = ?1", "UPDATE attempts SET sum = sum + 1 WHERE place = ?1");
    let again = Disposition::Retry { at: NOW, counted: true };
    for (damage, end) in [(of_job, None), (of_attempt, Some(Disposition::Complete)), (of_attempt, Some(again))] {
        let (oldest, damaged) = (accept(&store, NOW).await, accept(&store, NOW).await);
        if let Some(end) = end {
            let claimed = store.claim(99, NOW, &mut Open).await.unwrap();
            let mut claimed = claimed.iter();
            let of_damaged = claimed.find(|claimed| claimed.lease.job == damaged).unwrap();
            store.finish(&[ending(of_damaged, NOW, end)]).await.unwrap();
        }
        let newest = accept(&store, NOW).await;
        assert_eq!(conn.execute(damage, [damaged.place()]), Ok(1));
        let mut listed = Vec::new();
        let mut filter = ListFilter { limit: 2, ..ListFilter::default() };
        loop {
            let page = store.list(filter.clone(), NOW).await.unwrap();
            listed.extend(page.jobs.iter().map(|job| job.id));
            filter.before = page.next;
            if page.next.is_none() {
                break;
            }
        }
        assert_eq!(listed[..2], [newest, oldest]);
        assert!(matches!(store.job(damaged, NOW).await, Err(StoreError::Damaged(_))));
    }
}
