//! Jobs that step back: each was sent to see whether its downstream is back, or its plugin works again, and failed.
//!
//! While that is seen, the other jobs of the same plugin and downstream go first, however urgent it is, and of several who
//! stepped back the one that did longest ago. As soon as one is let in because all is well, they stand where they belong.

use super::LiveSet;
use crate::clock::UnixMs;

impl LiveSet {
    /// All is well with what that lane calls: who stepped back stands where it belongs again.
    pub(super) fn recall(&mut self, lane: u32, now: UnixMs) {
        for place in self.lanes.take_behind(lane) {
            let Some(entry) = self.entries.get(place).filter(|entry| entry.is_behind) else { continue };
            let phase = entry.phase();
            self.unsettle(place);
            if let Some(entry) = self.entries.get_mut(place) {
                entry.is_behind = false;
            }
            self.settle(place, phase, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use proptest::prelude::*;

    use super::super::{Again, Handed, Unfinished};
    use super::*;
    use crate::job::JobId;
    use crate::job::gates::{Admission, Admit, Lane, Opened};

    /// Lets everybody in, to see whether all is well or because it is.
    struct Door(Admit);

    impl Admission for Door {
        fn admit(&mut self, _: &Lane, _: UnixMs) -> Admit {
            self.0
        }

        fn withdrawn(&mut self, _: &Lane, _: UnixMs, _: UnixMs) {}

        fn opened(&mut self) -> Opened {
            Opened::Any
        }
    }

    #[derive(Clone, Debug)]
    struct Job {
        lane: usize,
        priority: i16,
        due: UnixMs,
        is_behind: bool,
        runs: bool,
    }

    fn lane(number: usize) -> Lane {
        Lane { limit_key: [None, Some("a".into()), Some("b".into())][number].clone(), ..Lane::new("erp", "erp") }
    }

    /// Beside a list of jobs that is searched whole each time.
    #[derive(Default)]
    struct Bench {
        jobs: Vec<Job>,
        running: Vec<Handed>,
        now: i64,
    }

    impl Bench {
        fn arrive(&mut self, live: &mut LiveSet, of: usize, priority: i16) {
            let (now, place) = (UnixMs(self.now), self.jobs.len() as i64);
            live.insert(
                &Unfinished { priority, due: now, ..Unfinished::new(JobId::from_parts(place, 7)) },
                &lane(of),
                now,
            );
            self.jobs.push(Job { lane: of, priority, due: now, is_behind: false, runs: false });
        }

        fn claim(&mut self, live: &mut LiveSet, admit: Admit) -> Option<usize> {
            let had_behind = self.jobs.iter().any(|job| job.is_behind);
            let handed = live.claim(1, UnixMs(self.now), &mut Door(admit)).pop()?;
            let place = handed.id.place() as usize;
            if admit == Admit::Yes {
                self.jobs.iter_mut().for_each(|job| job.is_behind = false);
            }
            let rank = |job: &Job| Reverse((!job.is_behind).then_some(job.priority));
            let order = |place: usize, job: &Job| (rank(job), job.due, place);
            let taken = &self.jobs[place];
            assert!(!taken.runs && taken.due <= UnixMs(self.now));
            for (other, job) in self.jobs.iter().enumerate().filter(|(_, job)| !job.runs && job.due.0 <= self.now) {
                assert!(job.lane != taken.lane || order(place, taken) <= order(other, job), "{other} before {place}");
                // Whose turn it is was settled before they stood where they belong.
                let is_settled = admit == Admit::Probe || !had_behind;
                assert!(!is_settled || rank(taken) <= rank(job), "{other} is more urgent than {place}");
            }
            (self.jobs[place].runs, self.jobs[place].is_behind) = (true, false);
            self.running.push(handed);
            Some(place)
        }

        fn fail(&mut self, live: &mut LiveSet, pick: usize, steps_back: bool, delay: i64) {
            let handed = self.running.swap_remove(pick % self.running.len());
            let (place, due) = (handed.id.place(), UnixMs(self.now + delay));
            let (attempts, failed) = (handed.attempt, handed.failed_before);
            let again = Again { due, held: false, attempts, failed, is_spared: false, steps_back, newest: 1 };
            live.go_on(place, again, UnixMs(self.now));
            let job = &mut self.jobs[place as usize];
            (job.due, job.is_behind, job.runs) = (due, steps_back, false);
        }
    }

    #[test]
    fn who_failed_as_the_one_that_was_sent_lets_all_others_go_first() {
        let (mut live, mut bench) = (LiveSet::new(1_000, 1), Bench::default());
        bench.arrive(&mut live, 0, 9);
        for _ in 0..20 {
            bench.arrive(&mut live, 0, 0);
        }
        for probe in 0..50 {
            let place = bench.claim(&mut live, Admit::Probe).unwrap();
            assert_eq!(place, probe % 21, "each in its turn");
            bench.now += 1;
            bench.fail(&mut live, 0, true, 0);
        }
        // All is well: the most urgent is the first again.
        assert_eq!(bench.claim(&mut live, Admit::Yes), Some(0));
    }

    proptest! {
        #[test]
        fn as_a_search_through_all_would_have_it(
            steps in prop::collection::vec((0..4_u8, 0..3_usize, -2..3_i16, any::<usize>(), any::<bool>()), 1..200)
        ) {
            let (mut live, mut bench) = (LiveSet::new(1_000, 1), Bench::default());
            for (what, of, priority, pick, flag) in steps {
                bench.now += 1;
                match what {
                    0 => bench.arrive(&mut live, of, priority),
                    1 => _ = bench.claim(&mut live, if flag { Admit::Probe } else { Admit::Yes }),
                    2 if !bench.running.is_empty() => bench.fail(&mut live, pick, flag, of as i64),
                    _ => {}
                }
            }
        }
    }
}
