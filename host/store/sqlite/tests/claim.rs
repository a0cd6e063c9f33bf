//! What is handed out is what was accepted, where it has to be read back.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// What becomes of a job's rows on the disk.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Damage {
    None,
    Job,
    Payload,
    JobGone,
    PayloadGone,
}

impl Damage {
    fn sql(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Job => Some("UPDATE jobs SET priority = priority + 1 WHERE place = ?1"),
            Self::Payload => Some("UPDATE payloads SET body = zeroblob(9001) WHERE place = ?1"),
            Self::JobGone => Some("DELETE FROM jobs WHERE place = ?1"),
            Self::PayloadGone => Some("DELETE FROM payloads WHERE place = ?1"),
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let each = vec![Damage::Job, Damage::Payload, Damage::JobGone, Damage::PayloadGone];
    prop_oneof![6 => Just(Damage::None), 1 => prop::sample::select(each)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each job is handed out as it was accepted, whatever became of the rows of others.
    #[test]
    fn a_backlog_is_read_back_as_it_was_accepted(
        jobs in prop::collection::vec((0..9_000_usize, 0..100_i64, damage()), 1..40),
        most in 1..40_usize,
        // Nothing is kept, or only some of it: then what is read ahead is handed out.
        cached in prop::sample::select(vec![0, 64 << 10]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let folder = TempDir::new().unwrap();
            let store = open_with(&folder, SqliteOptions { cached_bytes_max: cached, ..Default::default() }).unwrap();
            let other = Connection::open(folder.path().join("data/windlass.db")).unwrap();
            let (mut accepted, mut whole) = (BTreeMap::new(), BTreeSet::new());
            for (at, (bytes, delay, damage)) in jobs.iter().enumerate() {
                let mut spec = spec(UnixMs(NOW.0 + delay), *bytes);
                spec.labels.insert("at".to_owned(), at.to_string());
                let new = NewJob { spec: spec.clone(), request_digest: [0; 32] };
                // As they come: their places lie apart.
                let answers = store.enqueue(vec![new], UnixMs(NOW.0 + at as i64)).await.unwrap();
                let [Enqueued::Created(id)] = answers[..] else { panic!("{answers:?}") };
                let changed = damage.sql().map_or(0, |sql| other.execute(sql, [id.place()]).unwrap());
                accepted.insert(id, spec);
                whole.extend((changed == 0).then_some(id));
            }
            let later = UnixMs(NOW.0 + 1_000);
            let mut claimed = Vec::new();
            for _ in 0..jobs.len() {
                claimed.extend(store.claim(most, later, &mut Open).await.unwrap());
            }
            let found: BTreeMap<_, _> = claimed.iter().map(|job| (job.lease.job, JobSpec::clone(&job.spec))).collect();
            prop_assert_eq!(found.len(), claimed.len(), "one was handed out twice");
            for (id, spec) in &found {
                prop_assert_eq!(accepted.get(id), Some(spec));
            }
            // One that is damaged may be in the memory still.
            let found: BTreeSet<_> = found.into_keys().filter(|id| cached == 0 || whole.contains(id)).collect();
            prop_assert_eq!(found, whole);
            Ok(())
        })?;
    }
}
