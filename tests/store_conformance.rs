//! What every store must do, case by case, run over each of them.
//!
//! A store joins by a [`harness::Harness`] and one line of `conformance!`; `tests/store_model.rs` takes it from there too.

#[path = "store_conformance/accept.rs"]
mod accept;
#[path = "store_conformance/claim.rs"]
mod claim;
#[path = "store_conformance/crash.rs"]
mod crash;
#[path = "store_conformance/finish.rs"]
mod finish;
#[path = "store_conformance/harness.rs"]
mod harness;
#[path = "store_conformance/keep.rs"]
mod keep;
#[path = "store_conformance/look.rs"]
mod look;
#[path = "store_conformance/people.rs"]
mod people;
#[path = "store_conformance/support.rs"]
mod support;

/// Runs each case over a fresh store of each harness.
macro_rules! conformance {
    (stores { $($store:ident: $harness:path;)* } cases $cases:tt) => {$(
        mod $store {
            conformance!(@each $harness, $cases);
        }
    )*};
    (@each $harness:path, { $($group:ident: $($case:ident),+;)* }) => {$($(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            crate::$group::$case(&<$harness as crate::harness::Harness>::holding(1_000_000)).await;
        }
    )+)*};
}

conformance! {
    stores { sqlite: crate::harness::SqliteHarness; }
    cases {
        accept:
            what_was_accepted_is_there_after_a_reopening,
            a_repeated_key_answers_the_first_job,
            a_key_with_another_request_is_refused,
            a_key_is_looked_up_without_an_enqueue,
            keys_count_within_one_call,
            a_batch_is_taken_whole_or_not_at_all,
            a_key_used_by_many_at_once_makes_one_job,
            ids_rise_over_a_reopening;
        claim:
            higher_priority_goes_first_then_the_longest_due,
            lanes_are_served_in_turn,
            no_job_starts_before_its_time,
            only_what_is_admitted_is_handed_out,
            many_claimers_never_share_a_job,
            a_released_job_leaves_no_trace,
            the_next_due_moment_is_known,
            an_enqueue_wakes_who_waits,
            a_claim_carries_the_whole_spec;
        finish:
            a_completed_job_keeps_its_result,
            a_retry_comes_due_at_its_time,
            a_retry_is_due_at_its_time_after_a_reopening,
            spared_rate_limits_are_counted_apart_from_what_else_does_not_count,
            a_held_job_waits_for_the_grants,
            a_held_job_is_held_after_a_reopening_until_it_is_not,
            an_edit_while_an_attempt_runs_is_not_lost,
            ten_thousand_held_jobs_go_on_after_one_edit,
            a_result_after_a_cancel_is_fenced_and_kept,
            a_result_counts_once,
            a_result_from_before_a_reopening_is_void,
            evidence_reads_back,
            the_end_wakes_who_waits_for_it;
        crash:
            an_interrupted_attempt_is_handed_out_to_be_closed,
            an_interrupted_attempt_of_a_cancelled_job_is_recorded,
            a_suspects_start_is_on_disk_before_it_is_handed_out,
            nothing_acknowledged_is_lost_in_a_crash,
            a_retried_job_never_runs_twice_at_once;
        people:
            cancel_and_retry_in_every_state,
            acts_are_recorded,
            a_used_up_job_gets_one_more_attempt,
            a_retried_job_is_owed_an_attempt_until_one_counts,
            a_retry_after_a_reopening_is_due,
            unknown_jobs_are_unknown;
        look:
            a_list_is_newest_first_and_goes_on_at_its_cursor,
            a_list_is_filtered,
            a_job_shows_its_attempts,
            counts_follow_the_jobs,
            lanes_are_told_by_downstream_a_few_at_a_time;
        keep:
            what_is_past_its_retention_goes,
            a_key_outlives_its_job_for_a_day,
            paused_plugins_stay_paused,
            what_is_known_of_downstreams_is_kept,
            nothing_comes_back_of_what_was_pruned;
    }
}
