//! Every way in which an attempt can end.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::job::health::Sign;
use crate::job::{HostFault, LogLevel, Outcome};

use super::super::engine;
use super::super::testing::{Bench, call, call_within, caller, component, echo, importing, small_limits};

/// An endless loop.
const SPIN: &str = "(loop $again (br $again))";

fn fault(outcome: &Outcome) -> (HostFault, &str) {
    match outcome {
        Outcome::Host(fault, message) => (*fault, message),
        other => panic!("the host did not end it: {other:?}"),
    }
}

#[tokio::test]
async fn what_completes_answers_with_evidence() {
    let bench = Bench::new();
    let plugin = bench.plugin(echo(), &[]).await;
    let (outcome, evidence) = plugin.run(call(b"hello"), &CancellationToken::new()).await;
    let Outcome::Completed(completion) = outcome else { panic!("{outcome:?}") };
    assert_eq!(&completion.body[..], b"hello");
    assert_eq!(evidence.revision.as_ref(), plugin.revision.as_ref().map(|revision| &revision.digest));
    assert_eq!(evidence.memory_peak_bytes, 64 << 10);
    assert!(evidence.cpu_us > 0);
}

#[tokio::test]
async fn each_attempt_has_an_instance_of_its_own() {
    let bench = Bench::new();
    let counter = component(
        "(global $calls (mut i32) (i32.const 0))",
        "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
         (i32.store8 (i32.const 300) (global.get $calls)) (local.set 8 (i32.const 300)) (local.set 9 (i32.const 1))",
        "",
    );
    let plugin = bench.plugin(counter, &[]).await;
    for _ in 0..3 {
        let (outcome, _) = plugin.run(call(b""), &CancellationToken::new()).await;
        assert!(matches!(&outcome, Outcome::Completed(completion) if completion.body[..] == [1]), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_trap_tells_the_guests_frames_and_not_the_hosts() {
    let (outcome, _) = Bench::new().run(component("(func $inner unreachable)", "(call $inner)", ""), b"").await;
    let (fault, message) = fault(&outcome);
    assert_eq!(fault, HostFault::Trap);
    assert!(message.contains("unreachable") && message.contains("inner < ") && message.contains("run"), "{message}");
    assert!(!message.contains("tokio") && !message.contains("wasmtime") && !message.contains('\n'), "{message}");
}

/// Imports standard error, for `$complain`: so many bytes from 256 on, without an end of the line.
fn complaining(module_items: &str, body: &str) -> bytes::Bytes {
    let imports = r#"
        (import "wasi:io/error@0.2.0" (instance $ioerr (export "error" (type (sub resource)))))
        (alias export $ioerr "error" (type $error))
        (import "wasi:io/streams@0.2.0" (instance $streams
          (export "output-stream" (type $os (sub resource)))
          (alias outer 1 $error (type $e0)) (export "error" (type $e1 (eq $e0)))
          (type $se (variant (case "last-operation-failed" (own $e1)) (case "closed")))
          (export "stream-error" (type $se2 (eq $se)))
          (export "[method]output-stream.write"
            (func (param "self" (borrow $os)) (param "contents" (list u8)) (result (result (error $se2)))))))
        (alias export $streams "output-stream" (type $outs))
        (import "wasi:cli/stderr@0.2.0" (instance $stderr
          (alias outer 1 $outs (type $o0)) (export "output-stream" (type $o1 (eq $o0)))
          (export "get-stderr" (func (result (own $o1))))))
        (core func $get (canon lower (func $stderr "get-stderr")))
        (core func $write (canon lower (func $streams "[method]output-stream.write") (memory (core memory $libc "memory"))))"#;
    let words = "the order has no lines";
    let items = format!(
        r#"(import "host" "get" (func $get (result i32)))
           (import "host" "write" (func $write (param i32 i32 i32 i32)))
           (data (i32.const 256) "{words}")
           (func $complain (call $write (call $get) (i32.const 256) (i32.const {}) (i32.const 512)))
           {module_items}"#,
        words.len()
    );
    importing(imports, r#"(export "get" (func $get)) (export "write" (func $write))"#, &items, body, "")
}

#[tokio::test]
async fn the_last_words_are_told_also_where_their_line_has_no_end() {
    let bench = Bench::new();
    let (outcome, evidence) = bench.run(complaining("", "(call $complain) unreachable"), b"").await;
    let (fault, message) = fault(&outcome);
    assert_eq!(fault, HostFault::Trap);
    assert!(message.contains("the order has no lines"), "{message}");
    let log: Vec<_> = evidence.log.iter().map(|line| (line.level, line.message.as_str())).collect();
    assert_eq!(log, [(LogLevel::Stderr, "the order has no lines")]);
    let start = complaining("(func $begin (call $complain) unreachable) (start $begin)", "");
    let error = bench.load(start).await.unwrap_err();
    assert!(error.summary.contains("the order has no lines"), "{error:?}");
}

#[tokio::test]
async fn names_of_functions_cannot_forge_a_line() {
    let forged =
        component("(func $\"x\\0aERROR forged\\1b[31m\" unreachable)", "(call $\"x\\0aERROR forged\\1b[31m\")", "");
    let (outcome, _) = Bench::new().run(forged, b"").await;
    let message = outcome.message().unwrap();
    assert!(!message.contains('\n') && !message.contains('\u{1b}'), "{message}");
}

#[tokio::test]
async fn an_exit_ends_the_attempt_alone() {
    let (outcome, _) = Bench::new().run(component("", "(call $exit (i32.const 1))", ""), b"").await;
    assert_eq!(fault(&outcome).0, HostFault::Exit, "{outcome:?}");
}

#[tokio::test]
async fn an_endless_loop_uses_up_its_cpu_time() {
    let (outcome, evidence) = Bench::new().run(component("", SPIN, ""), b"").await;
    assert_eq!(fault(&outcome).0, HostFault::CpuBudget, "{outcome:?}");
    assert!(evidence.cpu_us >= 200_000, "{}", evidence.cpu_us);
}

#[tokio::test]
async fn a_deadline_comes_before_the_cpu_budget_where_it_is_shorter() {
    let bench = Bench::new();
    let plugin = bench.plugin(component("", SPIN, ""), &[]).await;
    let call = call_within(b"", Duration::from_millis(30));
    let (outcome, _) = plugin.run(call, &CancellationToken::new()).await;
    assert_eq!(fault(&outcome).0, HostFault::Deadline, "{outcome:?}");
}

#[tokio::test]
async fn a_call_that_was_out_at_the_deadline_is_told_also_of_a_guest_that_computed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let bench = Bench::new();
    let plugin = bench.plugin(caller("GET", None), &[&url]).await;
    for _ in 0..5 {
        // So it begins on the threads for those.
        (0..20).for_each(|_| plugin.habit.note(Duration::from_millis(50)));
        let call = call_within(url.as_bytes(), Duration::from_secs(60));
        let cancelled = CancellationToken::new();
        let ((outcome, evidence), accepted) = tokio::join!(plugin.run(call, &cancelled), async {
            let accepted = listener.accept().await;
            cancelled.cancel();
            accepted
        });
        assert_eq!(fault(&outcome).0, HostFault::Cancelled, "{outcome:?}");
        assert!(accepted.is_ok());
        let errors: Vec<_> = evidence.exchanges.iter().map(|exchange| exchange.error.as_deref()).collect();
        assert_eq!(errors, [Some("the plugin or its attempt ended before the answer did")]);
    }
}

#[tokio::test]
async fn who_finds_no_place_for_an_instance_is_tried_again_and_is_not_blamed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let bench = Bench::new();
    let plugin = bench.plugin(caller("GET", None), &[&url]).await;
    let (never, slots) = (CancellationToken::new(), usize::try_from(engine::slots(&small_limits())).unwrap());
    // Nobody answers: so many wait at once, and a few more.
    let calls = (0..slots + 5).map(|_| plugin.run(call_within(url.as_bytes(), Duration::from_secs(2)), &never));
    let ended = futures_util::future::join_all(calls).await;
    let crowded: Vec<_> = ended.iter().filter(|(_, evidence)| evidence.crowded).collect();
    assert_eq!(crowded.len(), 5);
    for (outcome, evidence) in crowded {
        let Outcome::TryAgain(setback) = outcome else { panic!("{outcome:?}") };
        assert_eq!(setback.code.as_deref(), Some("no-instance"), "{setback:?}");
        assert!(evidence.not_begun);
        assert_eq!(Sign::of(outcome, evidence, Duration::ZERO), Sign::Nothing);
    }
}

#[tokio::test]
async fn growing_over_the_limit_is_told_as_memory() {
    let greedy = component("", "(drop (memory.grow (i32.const 64)))", "");
    let (outcome, evidence) = Bench::new().run(greedy, b"").await;
    assert_eq!(fault(&outcome).0, HostFault::Memory, "{outcome:?}");
    assert_eq!(evidence.memory_peak_bytes, 64 << 10);
}

#[tokio::test]
async fn memories_are_summed_over_the_store() {
    let second = r#"
        (core module $other (memory (export "m") 1)
          (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#;
    let with = |pages: u32| {
        // Each memory stays below the limit of 64 pages; together they may not.
        component(
            "",
            "(drop (memory.grow (i32.const 40)))",
            &format!(
                "{second} (core instance $other (instantiate $other))
             (core module $start (import \"o\" \"grow\" (func $grow (param i32) (result i32)))
               (func $go (drop (call $grow (i32.const {pages})))) (start $go))
             (core instance (instantiate $start (with \"o\" (instance $other))))"
            ),
        )
    };
    let bench = Bench::new();
    let (outcome, evidence) = bench.run(with(10), b"").await;
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    assert_eq!(evidence.memory_peak_bytes, 52 << 16);
    let (outcome, _) = bench.run(with(30), b"").await;
    assert_eq!(fault(&outcome).0, HostFault::Memory, "{outcome:?}");
}

#[tokio::test]
async fn a_result_over_the_limit_is_refused() {
    let bench = Bench::new();
    let grown = |bytes: u32| {
        component("", &format!("(drop (memory.grow (i32.const 60))) (local.set 9 (i32.const {bytes}))"), "")
    };
    // The first is read and refused, the second is not even read.
    for bytes in [(128 << 10) + 1, 3 << 20] {
        let (outcome, _) = bench.run(grown(bytes), b"").await;
        assert_eq!(fault(&outcome).0, HostFault::ResultTooLarge, "{outcome:?}");
    }
}

#[tokio::test]
async fn what_the_guest_logs_is_cleaned_and_capped() {
    let logger = component(
        r#"(data (i32.const 512) "a\1b[31mb\0ac") (data (i32.const 600) "0123456789")"#,
        "(local $n i32) (call $log (i32.const 2) (i32.const 512) (i32.const 9))
         (loop $again (call $log (i32.const 0) (i32.const 600) (i32.const 10))
           (local.set $n (i32.add (local.get $n) (i32.const 1))) (br_if $again (i32.lt_u (local.get $n) (i32.const 100))))",
        "",
    );
    let (_, evidence) = Bench::new().run(logger, b"").await;
    let first: Vec<_> = evidence.log[..2].iter().map(|line| (line.level, line.message.as_str())).collect();
    assert_eq!(first, [(LogLevel::Warn, "ab"), (LogLevel::Warn, "c")]);
    let kept: usize = evidence.log.iter().map(|line| line.message.len()).sum();
    assert!(kept as u64 <= small_limits().output.0);
    assert_eq!(kept as u64 + evidence.log_dropped_bytes, 3 + 100 * 10);
}

#[tokio::test]
async fn what_is_not_granted_is_the_outcome() {
    let (outcome, evidence) = Bench::new().run(caller("GET", None), b"https://api.example.com/v1?key=s3cret").await;
    let (fault, message) = fault(&outcome);
    assert_eq!(fault, HostFault::Denied);
    assert!(message.contains(r#"add "https://api.example.com" to origins in plugins/test.toml"#), "{message}");
    assert_eq!(evidence.exchanges[0].url, "https://api.example.com/v1?key=***");
}

#[tokio::test]
async fn a_cancelled_attempt_is_dropped() {
    let bench = Bench::new();
    let plugin = bench.plugin(component("", SPIN, ""), &[]).await;
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let (outcome, _) = plugin.run(call(b""), &cancelled).await;
    assert_eq!(fault(&outcome).0, HostFault::Cancelled);
}

#[tokio::test]
async fn without_a_component_there_is_no_start() {
    let bench = Bench::new();
    let mut plugin = bench.plugin(echo(), &[]).await;
    plugin.revision = None;
    let (outcome, evidence) = plugin.run(call(b""), &CancellationToken::new()).await;
    assert_eq!(fault(&outcome).0, HostFault::Start);
    assert_eq!(evidence.revision, None);
}
