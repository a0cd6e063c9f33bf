//! That what is used is not closed, and what is closed is not used.

use super::*;

/// Closes it, however short a time it has been of no use for.
fn close(usage: &Usage) {
    let seen = usage.standing();
    if seen.phase == Phase::Open && seen.users == 0 {
        usage.close(Idle { ms: 0, seen });
    }
}

#[test]
fn what_is_used_is_not_closed_and_what_is_closed_is_not_used() {
    let usage = Usage::default();
    close(&usage);
    assert!(!usage.has_ended() && usage.idle().is_none(), "it is being made");
    usage.ready();
    assert!(usage.idle().is_none(), "it was made a moment ago");
    assert!(usage.enter());
    close(&usage);
    assert!(!usage.has_ended());
    usage.leave();
    close(&usage);
    assert!(usage.enter() && !usage.has_ended(), "a request came first");
    usage.leave();
    close(&usage);
    usage.write();
    assert!(!usage.has_ended(), "something is still written");
    close(&usage);
    assert!(usage.has_ended() && usage.has_ended() && usage.is_closed());
    usage.write();
    usage.ready();
    assert!(!usage.enter() && usage.has_ended() && usage.idle().is_none(), "nothing brings it back");
}

#[test]
fn it_is_of_no_use_when_the_last_who_uses_it_has_left() {
    let usage = Usage::default();
    usage.ready();
    assert!(usage.enter() && usage.enter());
    usage.leave();
    close(&usage);
    assert!(!usage.is_to_close(), "another one uses it");
    assert!(usage.enter());
    usage.leave();
    usage.leave();
    close(&usage);
    assert!(usage.has_ended());
}

#[test]
fn what_was_used_since_it_was_looked_at_is_not_closed() {
    let usage = Usage::default();
    usage.ready();
    let looked_at = Idle { ms: 0, seen: usage.standing() };
    let later = Standing { since_ms: looked_at.seen.since_ms + 1, ..looked_at.seen };
    assert!(usage.replace(looked_at.seen, later));
    usage.close(looked_at);
    assert!(!usage.is_to_close());
}

#[test]
fn nobody_who_is_counted_finds_it_closed() {
    for _ in 0..50 {
        let usage = Usage::default();
        usage.ready();
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    for _ in 0..100 {
                        if usage.enter() {
                            usage.write();
                            assert!(!usage.has_ended() && !usage.is_closed());
                            usage.leave();
                        }
                    }
                });
            }
            while !usage.has_ended() {
                close(&usage);
            }
        });
        assert_eq!(usage.standing().users, 0);
    }
}

#[test]
fn what_comes_while_nobody_uses_it_ends_it_where_it_is_much() {
    let usage = Usage::default();
    usage.read(Work::Frames(10_000));
    assert!(!usage.has_ended(), "it is being made");
    usage.ready();
    for _ in 0..10 {
        // What was on its way when an answer was given up, and what servers say of themselves.
        usage.read(Work::Frames(16 + 32));
        usage.read(Work::Bytes(256 << 10));
        assert!(!usage.has_ended());
        assert!(usage.enter());
        usage.read(Work::Frames(1_000));
        usage.leave();
    }
    usage.read(Work::Frames(512));
    assert!(!usage.has_ended());
    usage.read(Work::Frames(1));
    assert!(usage.has_ended() && !usage.enter());
}

#[test]
fn one_that_is_retired_ends_with_its_last_use() {
    let usages: [Usage; 3] = Default::default();
    let [used, unused, making] = &usages;
    for usage in [used, unused] {
        usage.ready();
        assert!(usage.enter());
    }
    unused.leave();
    usages.iter().for_each(Usage::retire);
    assert!(!used.has_ended() && unused.has_ended() && !making.has_ended());
    assert!(!unused.enter());
    used.leave();
    assert!(used.has_ended());
    making.ready();
    assert!(making.enter());
    making.leave();
    assert!(!making.has_ended(), "it is newer than what was found out");
}

#[test]
fn what_is_written_long_after_its_last_use_does_not_keep_it() {
    let usage = Usage::default();
    usage.ready();
    usage.write();
    close(&usage);
    usage.write();
    assert!(!usage.is_to_close(), "something of its last use");
    let (before, later_ms) = (usage.standing(), usage.now_ms() + FINISHED_MS + 1);
    usage.write_at(later_ms);
    assert_eq!(usage.standing(), before);
    close(&usage);
    usage.write_at(later_ms);
    assert!(usage.is_to_close());
}

#[test]
fn how_it_stands_fits_into_a_word() {
    for phase in [Phase::Making, Phase::Open, Phase::ToClose, Phase::Closed] {
        for (users, since_ms) in [(0, 0), (1, u32::MAX), ((1 << USERS_BITS) - 1, 7)] {
            let standing = Standing { phase, users, since_ms };
            assert_eq!(Standing::from(u64::from(standing)), standing);
        }
    }
}
