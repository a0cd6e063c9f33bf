//! Each gate by itself, and rates over any stretch of time.

use proptest::prelude::*;

use super::*;

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
    gates.set_standing("erp", PluginStanding::Broken("no export".into()));
    assert_eq!(reason(&gates, &lane), Some(WaitReason::PluginBroken));
    gates.set_paused("erp", true);
    assert_eq!(reason(&gates, &lane), Some(WaitReason::Paused));
    gates.set_paused("erp", false);
    gates.set_standing("erp", PluginStanding::Ready);
    gates.set_limits("erp", PluginLimits { concurrency: Some(1), rate: None });
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

proptest! {
    #[test]
    fn a_rate_holds_over_any_stretch(per_second in 1_u32..50, gaps in prop::collection::vec(0_i64..400, 1..300)) {
        let (mut gates, lane) = gates(u32::MAX);
        let rate = Some(Rate { per_second: per_second.into() });
        gates.set_limits("erp", PluginLimits { concurrency: None, rate });
        let (mut now, mut starts) = (UnixMs(1_000_000), Vec::new());
        for gap in gaps {
            now = UnixMs(now.0 + gap);
            match gates.admit(&lane, now) {
                Admit::Yes => {
                    starts.push(now);
                    gates.give_back(&lane, now, now);
                }
                Admit::PluginClosed { until } | Admit::LaneClosed { until } => prop_assert!(until.is_some_and(|until| until > now)),
                Admit::HostFull => prop_assert!(false),
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
