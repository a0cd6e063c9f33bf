//! What people are shown while it changes.

use super::*;
use crate::job::State;

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

type Brief = (JobId, State, u32, UnixMs, Option<String>);

/// The jobs in that state, as the store tells of each: what a page must say of them.
async fn told(store: &SqliteStore, ids: &[JobId], state: Option<State>) -> Vec<Brief> {
    let mut told = Vec::new();
    for id in ids.iter().rev() {
        let job = store.job(*id, NOW).await.unwrap();
        told.extend(job.filter(|job| state.is_none_or(|state| job.state == state)).map(brief));
    }
    told
}

fn brief(job: crate::store::JobView) -> Brief {
    (job.id, job.state, job.attempt, job.run_at, job.last_error)
}

#[tokio::test]
async fn a_page_that_was_begun_before_jobs_went_on_tells_them_as_they_stand() {
    for held_jobs_max in [1_000_000, 4] {
        let folder = TempDir::new().unwrap();
        let store = open_with(&folder, SqliteOptions { held_jobs_max, ..Default::default() }).unwrap();
        let far = NOW.moved(9_000_000);
        let mut ids = Vec::new();
        for run_at in [NOW, NOW, NOW, NOW, NOW, NOW, far, far] {
            ids.push(accept(&store, run_at).await);
        }
        let conn = open::reader(&folder.path().join("data/windlass.db")).unwrap();
        let snapshot = conn.unchecked_transaction().unwrap();
        let expect_same = async |step: &str| {
            let states = [State::Scheduled, State::Available, State::Running, State::Retryable].map(Some);
            for state in [None].into_iter().chain(states) {
                let filter = ListFilter { limit: 99, state, ..ListFilter::default() };
                let page = query::list::page(&snapshot, &store.shared, &filter, NOW).unwrap();
                let page: Vec<_> = page.jobs.into_iter().map(brief).collect();
                assert_eq!(page, told(&store, &ids, state).await, "{step}, {state:?}, {held_jobs_max} in memory");
            }
        };
        expect_same("begun").await;
        let claimed = store.claim(3, NOW, &mut Open).await.unwrap();
        assert_eq!(claimed.len(), 3);
        expect_same("they run").await;
        // The first one leaves the memory where that is small.
        let again = Disposition::Retry { at: far.moved(1), counted: true };
        for (claimed, disposition) in claimed.iter().zip([again, Disposition::Complete, Disposition::Discard]) {
            let finish = Finish { error: Some("once".to_owned()), ..ending(claimed, NOW, disposition) };
            assert_eq!(store.finish(&[finish]).await.unwrap(), [Finished::Recorded]);
            expect_same("one has ended").await;
        }
        assert_eq!(store.shared.memory().live.get(ids[0]).is_some(), held_jobs_max > 4);
        for id in [ids[4], ids[6]] {
            assert!(matches!(store.cancel(id, NOW).await, Ok(Acted::Done)));
            expect_same("one was cancelled").await;
        }
        for id in [ids[2], ids[4], ids[7]] {
            assert!(matches!(store.retry(id, NOW).await, Ok(Acted::Done)));
            expect_same("one was sent on").await;
        }
        let at_once = std::time::Duration::ZERO;
        let retention = Retention { completed: at_once, cancelled: at_once, discarded: at_once };
        while store.prune(retention, NOW.moved(1), 99).await.unwrap().more {}
        assert!(store.job(ids[1], NOW).await.unwrap().is_none() && store.job(ids[6], NOW).await.unwrap().is_none());
        expect_same("some are deleted").await;
    }
}

#[tokio::test]
async fn pages_of_jobs_on_disk_only_are_full_and_leave_none_out() {
    let folder = TempDir::new().unwrap();
    let store = open_with(&folder, SqliteOptions { held_jobs_max: 4, ..Default::default() }).unwrap();
    let mut of_state = std::collections::BTreeMap::<_, Vec<JobId>>::new();
    for n in 0..60 {
        let state = if n % 7 == 3 { State::Scheduled } else { State::Available };
        let later = if state == State::Scheduled { 9_000_000 } else { 0 };
        of_state.entry(state.name()).or_default().insert(0, accept(&store, NOW.moved(later)).await);
    }
    for state in [State::Scheduled, State::Available] {
        for limit in [1, 2, 5, 99] {
            let mut filter = ListFilter { limit, state: Some(state), ..ListFilter::default() };
            let mut listed = Vec::new();
            loop {
                let page = store.list(filter.clone(), NOW).await.unwrap();
                assert!(
                    page.jobs.len() == limit || page.next.is_none() && page.jobs.len() < limit,
                    "{}",
                    page.jobs.len()
                );
                listed.extend(page.jobs.iter().map(|job| job.id));
                filter.before = page.next;
                if page.next.is_none() {
                    break;
                }
            }
            assert_eq!(listed, of_state[state.name()], "{state}, {limit} a page");
        }
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
