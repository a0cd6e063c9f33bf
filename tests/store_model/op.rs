//! What a store is asked, drawn at random.

use proptest::prelude::*;

/// The plugins.
pub const PLUGINS: [&str; 2] = ["erp", "hook"];
/// Their downstreams.
pub const DOWNSTREAMS: [&str; 2] = ["north", "south"];
/// How many idempotency keys there are.
pub const KEYS: u8 = 4;

/// A job to be accepted.
#[derive(Clone, Debug)]
pub struct Asked {
    pub lane: usize,
    pub limited: bool,
    pub priority: i16,
    /// Due so many milliseconds later.
    pub delay_ms: u64,
    /// The number of its idempotency key and of its request, where it has one.
    pub key: Option<(u8, u8)>,
    pub labelled: bool,
    pub max_attempts: Option<u32>,
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug)]
pub enum How {
    Completes,
    IsGivenUp,
    IsCalledOff,
    IsHeld,
    FailsUntil { ms: u64, counted: bool },
}

/// One call of the store, or what happens to it. A `pick` chooses among what there is.
#[derive(Clone, Debug)]
pub enum Op {
    Accept(Vec<Asked>),
    /// Lanes in `closed` are not admitted.
    Claim {
        most: usize,
        closed: Vec<usize>,
    },
    End {
        picks: Vec<usize>,
        how: How,
    },
    /// A right that has run out: of an attempt that was recorded, or of an earlier opening.
    EndAgain {
        pick: usize,
        how: How,
    },
    Release {
        pick: usize,
    },
    ReleaseAgain {
        pick: usize,
    },
    Cancel {
        pick: usize,
    },
    Retry {
        pick: usize,
    },
    EditGrants {
        plugin: usize,
    },
    Prune {
        most: usize,
    },
    Pause {
        plugin: usize,
        paused: bool,
    },
    KeepHealth {
        lane: usize,
        hold_ms: Option<i64>,
    },
    Wait {
        ms: u64,
    },
    /// About as long as a key is remembered at least: a little less, or a little more.
    WaitADay {
        nearly: bool,
    },
    LookAtAll,
    List {
        lane: Option<usize>,
        state: Option<usize>,
        labelled: bool,
        limit: usize,
    },
    /// All at once, without waiting for the answer of the one before.
    Together(Vec<Op>),
    Rescue,
    Reopen,
    Crash,
}

/// A bound on the jobs in memory, and what is done.
pub fn sequences() -> impl Strategy<Value = (usize, Vec<Op>)> {
    let held_jobs_max = prop_oneof![2 => Just(1_000_000), 1 => Just(4), 1 => Just(9)];
    (held_jobs_max, prop::collection::vec(ops(), 1..120))
}

fn ops() -> impl Strategy<Value = Op> {
    let alone = prop_oneof![
        2 => (any::<Option<u8>>(), any::<Option<u8>>(), any::<bool>(), 1..6_usize).prop_map(
            |(lane, state, labelled, limit)| Op::List {
                lane: lane.map(usize::from), state: state.map(usize::from), labelled, limit,
            }
        ),
        3 => Just(Op::LookAtAll),
        3 => Just(Op::Rescue),
        2 => Just(Op::Reopen),
        2 => Just(Op::Crash),
    ];
    let calls = || calls().boxed();
    prop_oneof![
        60 => calls(),
        10 => alone,
        3 => prop::collection::vec(calls(), 2..6).prop_map(Op::Together),
    ]
}

fn calls() -> impl Strategy<Value = Op> {
    let pick = any::<usize>;
    prop_oneof![
        6 => prop::collection::vec(asked(), 1..4).prop_map(Op::Accept),
        6 => (1..5_usize, prop::collection::vec(0..4_usize, 0..2))
            .prop_map(|(most, closed)| Op::Claim { most, closed }),
        10 => (prop::collection::vec(pick(), 1..4), how()).prop_map(|(picks, how)| Op::End { picks, how }),
        1 => (pick(), how()).prop_map(|(pick, how)| Op::EndAgain { pick, how }),
        1 => pick().prop_map(|pick| Op::Release { pick }),
        1 => pick().prop_map(|pick| Op::ReleaseAgain { pick }),
        3 => pick().prop_map(|pick| Op::Cancel { pick }),
        4 => pick().prop_map(|pick| Op::Retry { pick }),
        2 => (0..2_usize).prop_map(|plugin| Op::EditGrants { plugin }),
        2 => (1..5_usize).prop_map(|most| Op::Prune { most }),
        1 => (0..2_usize, any::<bool>()).prop_map(|(plugin, paused)| Op::Pause { plugin, paused }),
        1 => (0..4_usize, prop::option::of(1..99_i64)).prop_map(|(lane, hold_ms)| Op::KeepHealth { lane, hold_ms }),
        4 => (1..3_000_u64).prop_map(|ms| Op::Wait { ms }),
        1 => any::<bool>().prop_map(|nearly| Op::WaitADay { nearly }),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    let key = prop::option::weighted(0.3, (0..KEYS, 0..2_u8));
    let delay_ms = prop_oneof![2 => Just(0), 1 => 0..5_000_u64];
    let max_attempts = prop::option::weighted(0.2, 1..4_u32);
    (0..4_usize, any::<bool>(), -1..2_i16, delay_ms, key, any::<bool>(), max_attempts).prop_map(
        |(lane, limited, priority, delay_ms, key, labelled, max_attempts)| Asked {
            lane,
            limited,
            priority,
            delay_ms,
            key,
            labelled,
            max_attempts,
        },
    )
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        3 => Just(How::Completes),
        1 => Just(How::IsGivenUp),
        1 => Just(How::IsCalledOff),
        2 => Just(How::IsHeld),
        5 => (0..4_000_u64, any::<bool>()).prop_map(|(ms, counted)| How::FailsUntil { ms, counted }),
    ]
}
