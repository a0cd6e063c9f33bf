//! Jobs that step back: each was sent to see whether its downstream is back, or its plugin works again, and failed.
//!
//! While that is seen, the others whom it concerns go first, however urgent it is, and of several who stepped back the one
//! that did longest ago: the others of the same plugin and downstream, or all of the plugin. Where nobody else is ready, all
//! of them have had their turn: they stand where they belong again, and so they do as soon as a job is let in because all is
//! well.

use std::collections::BTreeSet;

use super::LiveSet;

impl LiveSet {
    /// All is well with what that lane calls: who stepped back stands where it belongs again.
    pub(super) fn recall(&mut self, lane: u32) {
        let behind = self.lanes.take_behind(lane);
        self.stand_again(behind);
    }

    /// Where all who are ready step back, nobody does.
    pub(super) fn begin_rounds(&mut self) {
        while let Some(round) = self.lanes.take_round() {
            self.stand_again(round);
        }
    }

    fn stand_again(&mut self, behind: BTreeSet<i64>) {
        for place in behind {
            let Some(entry) = self.entries.get_mut(place).filter(|entry| entry.is_behind) else { continue };
            let (lane, phase, before) = (entry.lane, entry.phase(), entry.order(place));
            entry.is_behind = false;
            let now = entry.order(place);
            self.lanes.leave(lane, phase, before);
            self.lanes.join(lane, phase, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use proptest::prelude::*;

    use super::super::{Again, Handed, Unfinished};
    use super::*;
    use crate::clock::UnixMs;
    use crate::job::JobId;
    use crate::job::gates::{Admission, Admit, Lane, Opened, Probed};

    /// Lets everybody in, to see whether all is well or because it is.
    struct Door(Admit);

    impl Admission for Door {
        fn admit(&mut self, _: &Lane, _: UnixMs) -> Admit {
            self.0
        }

        fn opened(&mut self) -> Opened {
            Opened::Any
        }
    }

    const LANES: [(&str, Option<&str>); 4] = [("x", None), ("x", Some("a")), ("y", None), ("y", Some("a"))];

    #[derive(Clone, Debug)]
    struct Job {
        lane: usize,
        priority: i16,
        due: UnixMs,
        behind: Option<Probed>,
        runs: bool,
    }

    impl Job {
        fn downstream(&self) -> &'static str {
            LANES[self.lane].0
        }

        fn rank(&self) -> Reverse<Option<i16>> {
            Reverse(self.behind.is_none().then_some(self.priority))
        }
    }

    /// Beside a list of jobs that is searched whole each time.
    struct Bench {
        live: LiveSet,
        jobs: Vec<Job>,
        running: Vec<Handed>,
        now: i64,
    }

    impl Bench {
        fn new() -> Self {
            Self { live: LiveSet::new(1_000, 1), jobs: Vec::new(), running: Vec::new(), now: 0 }
        }

        fn arrive(&mut self, lane: usize, priority: i16) {
            let (now, place) = (UnixMs(self.now), self.jobs.len() as i64);
            let job = Unfinished { priority, due: now, ..Unfinished::new(JobId::from_parts(place, 7)) };
            let (downstream, limit_key) = LANES[lane];
            let of = Lane { limit_key: limit_key.map(Into::into), ..Lane::new("erp", downstream) };
            self.live.insert(&job, &of, now);
            self.jobs.push(Job { lane, priority, due: now, behind: None, runs: false });
        }

        fn is_ready(&self, job: &Job) -> bool {
            !job.runs && job.due.0 <= self.now
        }

        /// Where all who are ready step back, those that do for that stand where they belong.
        fn begin_rounds(&mut self) {
            for (downstream, probed) in
                [(Some("x"), Probed::Downstream), (Some("y"), Probed::Downstream), (None, Probed::Plugin)]
            {
                let concerns = |job: &Job| downstream.is_none_or(|downstream| job.downstream() == downstream);
                let mut ready = self.jobs.iter().filter(|job| concerns(job) && self.is_ready(job)).peekable();
                if ready.peek().is_some() && ready.all(|job| job.behind.is_some()) {
                    for job in self.jobs.iter_mut().filter(|job| concerns(job) && job.behind == Some(probed)) {
                        job.behind = None;
                    }
                }
            }
        }

        fn claim(&mut self, admit: Admit) -> Option<usize> {
            self.begin_rounds();
            let handed = self.live.claim(1, UnixMs(self.now), &mut Door(admit)).pop()?;
            let place = usize::try_from(handed.id.place()).unwrap();
            let mut is_settled = true;
            if admit == Admit::Yes {
                let downstream = self.jobs[place].downstream();
                for job in &mut self.jobs {
                    let concerns = job.behind == Some(Probed::Plugin) || job.downstream() == downstream;
                    if concerns && job.behind.take().is_some() {
                        // Whose turn it is was settled before they stood where they belong.
                        is_settled = false;
                    }
                }
            }
            let taken = &self.jobs[place];
            assert!(self.is_ready(taken));
            for (other, job) in self.jobs.iter().enumerate().filter(|(_, job)| self.is_ready(job)) {
                let order = |place: usize, job: &Job| (job.rank(), job.due, place);
                assert!(job.lane != taken.lane || order(place, taken) <= order(other, job), "{other} before {place}");
                assert!(!is_settled || taken.rank() <= job.rank(), "{other} is more urgent than {place}");
            }
            (self.jobs[place].runs, self.jobs[place].behind) = (true, None);
            self.running.push(handed);
            Some(place)
        }

        fn fail(&mut self, pick: usize, steps_back: Option<Probed>, delay: i64) {
            let handed = self.running.swap_remove(pick % self.running.len());
            let (place, due) = (handed.id.place(), UnixMs(self.now + delay));
            let (attempts, failed) = (handed.attempt, handed.failed_before);
            let again = Again { due, held: false, attempts, failed, is_spared: false, steps_back, newest: 1 };
            self.live.go_on(place, again, UnixMs(self.now));
            let job = &mut self.jobs[usize::try_from(place).unwrap()];
            (job.due, job.behind, job.runs) = (due, steps_back, false);
        }
    }

    #[test]
    fn who_failed_as_the_one_that_was_sent_lets_all_others_go_first() {
        let mut bench = Bench::new();
        bench.arrive(0, 9);
        for _ in 0..20 {
            bench.arrive(0, 0);
        }
        for probe in 0..50 {
            assert_eq!(bench.claim(Admit::Probe), Some(probe % 21), "each in its turn");
            bench.now += 1;
            bench.fail(0, Some(Probed::Downstream), 0);
        }
        // All is well: the most urgent is the first again.
        assert_eq!(bench.claim(Admit::Yes), Some(0));
    }

    #[test]
    fn it_lets_those_of_other_downstreams_go_first_only_where_they_are_looked_after_too() {
        for (probed, next) in [(Probed::Downstream, 0), (Probed::Plugin, 2)] {
            let mut bench = Bench::new();
            for (lane, priority) in [(0, 1), (0, 1), (2, 0), (2, 0)] {
                bench.arrive(lane, priority);
            }
            for place in 0..2 {
                assert_eq!(bench.claim(Admit::Probe), Some(place));
                bench.fail(0, Some(probed), 0);
            }
            assert_eq!(bench.claim(Admit::Probe), Some(next), "{probed:?}");
        }
    }

    proptest! {
        #[test]
        fn as_a_search_through_all_would_have_it(
            steps in prop::collection::vec((0..4_u8, 0..4_usize, -2..3_i16, any::<usize>(), 0..3_u8), 1..200)
        ) {
            let mut bench = Bench::new();
            for (what, lane, priority, pick, how) in steps {
                bench.now += 1;
                match what {
                    0 => bench.arrive(lane, priority),
                    1 => _ = bench.claim(if how == 0 { Admit::Yes } else { Admit::Probe }),
                    2 if !bench.running.is_empty() => {
                        let probed = [None, Some(Probed::Downstream), Some(Probed::Plugin)][how as usize];
                        bench.fail(pick, probed, lane as i64);
                    }
                    _ => {}
                }
            }
        }
    }
}
