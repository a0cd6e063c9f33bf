//! Each gate by itself, and rates over any stretch of time.

use proptest::prelude::*;

use super::*;
use crate::job::health::{Change, Sign};

fn gates(concurrency: u32) -> (Gates, Lane) {
    let mut gates = Gates::new(concurrency);
    gates.set_standing("erp", PluginStanding::Ready);
    (gates, Lane::new("erp", "erp"))
}

fn reason(gates: &Gates, lane: &Lane) -> Option<WaitReason> {
    gates.why_waiting(lane, UnixMs(0)).map(|waiting| waiting.reason)
}

#[test]
fn each_gate_names_its_reason() {
    let (mut gates, lane) = gates(2);
    assert_eq!(reason(&gates, &lane), None);
    assert_eq!(reason(&gates, &Lane::new("other", "x")), Some(WaitReason::PluginMissing));
    gates.set_standing("erp", PluginStanding::Loading);
    let waiting = gates.why_waiting(&lane, UnixMs(0)).unwrap();
    assert_eq!(waiting.reason, WaitReason::PluginMissing);
    assert!(waiting.detail.unwrap().contains("compiled"));
    gates.set_standing("erp", PluginStanding::Broken("no export".into()));
    assert_eq!(reason(&gates, &lane), Some(WaitReason::PluginBroken));
    gates.set_paused("erp", true);
    assert_eq!(reason(&gates, &lane), Some(WaitReason::Paused));
    gates.set_paused("erp", false);
    gates.set_standing("erp", PluginStanding::Ready);
    gates.set_limits("erp", PluginLimits { concurrency: Some(1), rate: None, ..PluginLimits::default() });
    assert_eq!(gates.admit(&lane, UnixMs(0)), Admit::Yes);
    assert_eq!(reason(&gates, &lane), Some(WaitReason::Concurrency));
    gates.give_back(&lane, UnixMs(0), UnixMs(0));
    assert_eq!(reason(&gates, &lane), None);
}

#[test]
fn a_full_host_admits_no_lane() {
    let (mut gates, lane) = gates(1);
    assert_eq!(gates.admit(&lane, UnixMs(0)), Admit::Yes);
    assert_eq!(gates.admit(&lane, UnixMs(0)), Admit::HostFull);
    gates.give_back(&lane, UnixMs(0), UnixMs(0));
    gates.stop();
    assert_eq!(gates.admit(&lane, UnixMs(0)), Admit::HostFull);
}

#[test]
fn who_takes_the_room_of_another_does_not_begin_before_its_end() {
    let (mut gates, lane) = gates(1);
    assert_eq!(gates.admit(&lane, UnixMs(1)), Admit::Yes);
    let ended = Ended { started_at: UnixMs(1), sign: Sign::Well, latency: None };
    gates.end(&lane, &ended, UnixMs(8), 0.0);
    assert_eq!(gates.admit(&lane, UnixMs(7)), Admit::HostFull, "asked before that end, answered after it");
    assert_eq!(gates.admit(&lane, UnixMs(8)), Admit::Yes);
}

#[test]
fn a_storm_of_traps_stops_the_plugin_and_a_new_revision_starts_it_again() {
    let (mut gates, lane) = gates(100);
    let ended = |started: i64, sign| Ended { started_at: UnixMs(started), sign, latency: None };
    let mut now = 0;
    let mut change = None;
    while change.is_none() {
        now += 1;
        assert_eq!(gates.admit(&lane, UnixMs(now)), Admit::Yes);
        let judged = gates.end(&lane, &ended(now, Sign::Unfit("unreachable".into())), UnixMs(now), 0.0);
        assert!(!judged.is_free && now <= 20);
        change = judged.change;
    }
    assert_eq!((change, now), (Some(Change::PluginUnfit), 20));
    let waiting = gates.why_waiting(&lane, UnixMs(now)).unwrap();
    assert_eq!((waiting.reason, waiting.until), (WaitReason::BreakerOpen, Some(UnixMs(1_020))));
    assert!(waiting.detail.unwrap().contains("unreachable"));

    assert_eq!(gates.admit(&lane, UnixMs(1_020)), Admit::Probe);
    let judged = gates.end(&lane, &ended(1_020, Sign::Silent), UnixMs(1_030), 0.0);
    assert_eq!((judged.is_free, judged.change), (false, Some(Change::PluginFit)));

    for _ in 0..20 {
        gates.admit(&lane, UnixMs(2_000));
        gates.end(&lane, &ended(2_000, Sign::Unfit("again".into())), UnixMs(2_000), 0.0);
    }
    assert_eq!(reason(&gates, &lane), Some(WaitReason::BreakerOpen));
    gates.set_standing("erp", PluginStanding::Ready);
    assert_eq!(reason(&gates, &lane), Some(WaitReason::BreakerOpen), "it is the same one");
    gates.admit(&lane, UnixMs(3_000));
    gates.forgive("erp", UnixMs(3_001));
    assert_eq!(reason(&gates, &lane), None);
    // What began on the one before says nothing of the one that is there now.
    for _ in 0..30 {
        let judged = gates.end(&lane, &ended(2_000, Sign::Unfit("the one before".into())), UnixMs(3_001), 0.0);
        assert_eq!((judged.change, judged.is_free), (None, false), "and counts");
    }
    assert_eq!(reason(&gates, &lane), None);
}

#[test]
fn who_was_sent_to_see_is_spared_what_it_was_sent_for_and_nothing_else() {
    let ended = |started: i64, sign: &Sign| Ended { started_at: UnixMs(started), sign: sign.clone(), latency: None };
    let (ill, unfit) = (Sign::Ill("503".into()), Sign::Unfit("unreachable".into()));
    let busy = Sign::Busy(None, "429".into());
    // Which failures there were, and of which ends of the next attempt the job is spared.
    for (before, spared) in [(&ill, [true, true, true, false, false]), (&unfit, [false, false, true, true, false])] {
        for (sign, is_spared) in [&ill, &busy, &Sign::Nothing, &unfit, &Sign::Silent].into_iter().zip(spared) {
            let (mut gates, lane) = gates(100);
            let opened = (1..=20).find(|now| {
                assert_eq!(gates.admit(&lane, UnixMs(*now)), Admit::Yes);
                let judged = gates.end(&lane, &ended(*now, before), UnixMs(*now), 0.0);
                assert!(!judged.is_free);
                judged.change.is_some()
            });
            let probed_at = opened.unwrap() + 1_000;
            assert_eq!(gates.admit(&lane, UnixMs(probed_at)), Admit::Probe);
            let judged = gates.end(&lane, &ended(probed_at, sign), UnixMs(probed_at), 0.0);
            assert_eq!(judged.is_free, is_spared, "{sign:?} behind {before:?}");
        }
    }
}

#[test]
fn a_raised_rate_holds_at_once() {
    let (mut gates, lane) = gates(100);
    let limits = |per_second| PluginLimits { rate: Some(Rate { per_second }), ..PluginLimits::default() };
    gates.set_limits("erp", limits(1.0 / 3_600.0));
    assert_eq!(gates.admit(&lane, UnixMs(1_000)), Admit::Yes);
    assert_eq!(gates.why_waiting(&lane, UnixMs(1_000)).unwrap().until, Some(UnixMs(3_601_000)));
    gates.set_limits("erp", limits(100.0));
    assert_eq!(gates.why_waiting(&lane, UnixMs(1_010)), None);
}

#[test]
fn who_was_refused_is_told_when_to_ask_again() {
    let (mut gates, lane) = gates(100);
    let other = Lane::new("erp", "other");
    gates.set_limits("erp", PluginLimits { concurrency: Some(1), rate: None, ..PluginLimits::default() });
    assert_eq!(gates.admit(&lane, UnixMs(0)), Admit::Yes);
    assert_eq!(gates.admit(&other, UnixMs(0)), Admit::PluginClosed { until: None });
    assert_eq!(gates.opened(), Opened::These(Doors::default()));
    gates.give_back(&lane, UnixMs(0), UnixMs(0));
    assert_eq!(gates.opened(), Opened::These(Doors { plugins: vec!["erp".into()], ..Doors::default() }));
    gates.set_limits("erp", PluginLimits::default());

    let limit = HealthPolicy::default().limiter.initial;
    for _ in 0..limit {
        assert_eq!(gates.admit(&lane, UnixMs(0)), Admit::Yes);
    }
    assert_eq!(gates.admit(&lane, UnixMs(0)), Admit::DownstreamClosed { until: None });
    assert_eq!(gates.admit(&other, UnixMs(0)), Admit::Yes, "another downstream has its own");
    gates.give_back(&lane, UnixMs(0), UnixMs(0));
    assert_eq!(gates.opened(), Opened::These(Doors { downstreams: vec![lane], ..Doors::default() }));
}

proptest! {
    #[test]
    fn a_rate_holds_over_any_stretch(per_second in 1_u32..50, gaps in prop::collection::vec(0_i64..400, 1..300)) {
        let (mut gates, lane) = gates(u32::MAX);
        let rate = Some(Rate { per_second: per_second.into() });
        gates.set_limits("erp", PluginLimits { concurrency: None, rate, ..PluginLimits::default() });
        let (mut now, mut starts) = (UnixMs(1_000_000), Vec::new());
        for gap in gaps {
            now = UnixMs(now.0 + gap);
            match gates.admit(&lane, now) {
                Admit::Yes => {
                    starts.push(now);
                    gates.give_back(&lane, now, now);
                }
                Admit::PluginClosed { until } => prop_assert!(until.is_some_and(|until| until > now)),
                answer => prop_assert!(false, "{answer:?}"),
            }
        }
        // Within any window the starts are at most one burst and what the window's length allows.
        for (index, first) in starts.iter().enumerate() {
            for (count, last) in starts[index..].iter().enumerate() {
                let allowed = f64::from(per_second) * (1.0 + (last.0 - first.0) as f64 / 1e3);
                prop_assert!(count as f64 + 1.0 <= allowed + 1.0, "{} starts from {:?} to {:?}", count + 1, first, last);
            }
        }
    }
}

#[test]
fn what_refused_a_thousand_lanes_is_told_once() {
    let (mut gates, _) = gates(9_999);
    let lane = |downstream: &str, key: &str| Lane { limit_key: Some(key.into()), ..Lane::new("erp", downstream) };
    let limit = HealthPolicy::default().limiter.initial;
    for _ in 0..limit {
        assert_eq!(gates.admit(&Lane::new("erp", "north"), UnixMs(0)), Admit::Yes);
    }
    assert_eq!(gates.admit(&lane("south", "customer"), UnixMs(0)), Admit::Yes);
    for number in 0..1_000 {
        let number = number.to_string();
        assert_eq!(gates.admit(&lane("north", &number), UnixMs(0)), Admit::DownstreamClosed { until: None });
        assert_eq!(gates.admit(&lane(&number, "customer"), UnixMs(0)), Admit::KeyClosed { until: None });
    }
    assert_eq!(gates.opened(), Opened::These(Doors::default()));
    gates.give_back(&Lane::new("erp", "north"), UnixMs(0), UnixMs(0));
    gates.give_back(&lane("south", "customer"), UnixMs(0), UnixMs(0));
    let (downstreams, keys) = (vec![Lane::new("erp", "north")], vec![("erp".into(), "customer".into())]);
    assert_eq!(gates.opened(), Opened::These(Doors { downstreams, keys, ..Doors::default() }));
}

#[test]
fn who_waits_for_a_limit_key_is_told_of_other_limits() {
    let (mut gates, lane) = gates(9);
    let keyed = Lane { limit_key: Some("customer".into()), ..lane.clone() };
    assert_eq!(gates.admit(&keyed, UnixMs(0)), Admit::Yes);
    assert_eq!(gates.admit(&keyed, UnixMs(0)), Admit::KeyClosed { until: None });
    let per_key = KeyLimits { concurrency: 2, ..KeyLimits::default() };
    gates.set_limits("erp", PluginLimits { per_key, ..PluginLimits::default() });
    let keys = keyed.key().into_iter().collect();
    assert_eq!(gates.opened(), Opened::These(Doors { keys, ..Doors::default() }));
    assert_eq!(gates.admit(&keyed, UnixMs(0)), Admit::Yes);
}

#[test]
fn a_lane_that_opened_by_itself_and_met_its_limit_key_is_told_when_the_key_is_free() {
    let (mut gates, _) = gates(9);
    let lane = |downstream| Lane { limit_key: Some("customer".into()), ..Lane::new("erp", downstream) };
    let (north, south) = (lane("north"), lane("south"));
    assert_eq!(gates.admit(&north, UnixMs(0)), Admit::Yes);
    let pause = Sign::Busy(Some(std::time::Duration::from_millis(50)), "429".into());
    let ended = Ended { started_at: UnixMs(0), sign: pause, latency: None };
    gates.end(&north, &ended, UnixMs(0), 0.0);
    assert_eq!(gates.admit(&north, UnixMs(1)), Admit::DownstreamClosed { until: Some(UnixMs(50)) });
    assert_eq!(gates.admit(&south, UnixMs(40)), Admit::Yes);
    assert_eq!(gates.admit(&north, UnixMs(50)), Admit::KeyClosed { until: None }, "the key is taken");
    gates.opened();
    gates.give_back(&south, UnixMs(40), UnixMs(60));
    let Opened::These(doors) = gates.opened() else { panic!("it says which") };
    assert_eq!(doors.keys, [north.key().expect("it has one")]);
    assert_eq!(gates.admit(&north, UnixMs(60)), Admit::Yes);
}

/// An attempt that begins and ends at that moment.
fn attempt(gates: &mut Gates, lane: &Lane, now: i64, sign: Sign) {
    assert_eq!(gates.admit(lane, UnixMs(now)), Admit::Yes);
    let ended = Ended { started_at: UnixMs(now), sign, latency: None };
    gates.end(lane, &ended, UnixMs(now), 0.0);
}

#[test]
fn clients_that_name_ever_new_downstreams_take_neither_memory_nor_what_is_known_of_others() {
    let (mut gates, _) = gates(100);
    gates.set_standing("other", PluginStanding::Ready);
    let victim = Lane::new("other", "other");
    for now in 0..4 {
        attempt(&mut gates, &victim, now, Sign::Ill("503".into()));
    }
    for n in 0..3 * past::LANES_MANY as i64 {
        attempt(&mut gates, &Lane::new("erp", &format!("tenant-{n}")), 10, Sign::Ill("503".into()));
    }
    assert!(gates.lanes.len() <= 2 * past::LANES_MANY, "{}", gates.lanes.len());
    attempt(&mut gates, &victim, 20, Sign::Ill("503".into()));
    assert!(gates.health(&victim).unwrap().opening().is_some(), "its fifth failure in a row");
}

#[test]
fn a_plugin_with_very_many_downstreams_that_are_down_is_not_remembered_for_a_day() {
    let (mut gates, _) = gates(100);
    let day = gates.outage_lasts("erp");
    for n in 0..1_001 {
        assert!(!gates.are_many_down() && gates.outage_lasts("erp") == day);
        let lane = Lane::new("erp", &format!("tenant-{n}"));
        (0..5).for_each(|now| attempt(&mut gates, &lane, n * 10 + now, Sign::Ill("503".into())));
    }
    assert!(gates.are_many_down() && gates.outage_lasts("erp") * 60 < day && gates.outage_lasts("other") == day);
    let (lane, later) = (Lane::new("erp", "tenant-0"), UnixMs(80_000));
    assert!(gates.forget_past(&lane, later, true).is_none(), "jobs wait for it");
    assert!(gates.forget_past(&lane, later, false).unwrap().is_empty());
    assert!(!gates.are_many_down());
}
