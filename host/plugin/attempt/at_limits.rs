//! Limits that only a module can reach exactly: at each, and one above. `tests/limits.rs` has those of a real guest.

use tokio_util::sync::CancellationToken;

use crate::config::{LimitOverride, Limits, Network, PluginFile};
use crate::job::units::ByteSize;
use crate::job::{Evidence, HostFault, Outcome};

use super::super::testing::{Bench, call, component, small_limits};

/// Logs as many empty lines as the payload has bytes.
const LOG_EACH: &str = "(local $n i32)
    (loop $again (call $log (i32.const 0) (i32.const 512) (i32.const 0))
      (local.set $n (i32.add (local.get $n) (i32.const 1))) (br_if $again (i32.lt_u (local.get $n) (local.get 9))))";
/// Logs its payload.
const LOG_PAYLOAD: &str = "(call $log (i32.const 0) (local.get 8) (local.get 9))";

fn fault(outcome: &Outcome) -> Option<(HostFault, &str)> {
    match outcome {
        Outcome::Host(fault, message) => Some((*fault, message)),
        _ => None,
    }
}

async fn run(limits: Limits, body: &str, payload_bytes: usize) -> (Outcome, Evidence) {
    let bench = Bench::with(limits, Network::default());
    bench.run(component("", body, ""), &vec![b'x'; payload_bytes]).await
}

#[tokio::test]
async fn calls_are_counted_to_the_last() {
    let limits = || Limits { calls: 1_000, ..small_limits() };
    let (outcome, _) = run(limits(), LOG_EACH, 1_000).await;
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    let (outcome, evidence) = run(limits(), LOG_EACH, 1_001).await;
    let (fault, message) = fault(&outcome).unwrap();
    assert_eq!(fault, HostFault::HostCalls);
    assert!(message.contains("more than 1000 times") && message.contains("limits.calls"), "{message}");
    assert!(evidence.log_dropped_lines > 900, "{}", evidence.log_dropped_lines);
}

#[tokio::test]
async fn an_instance_that_goes_on_counts_anew() {
    let bench = Bench::with(Limits { calls: 1_000, ..small_limits() }, Network::default());
    let revision = std::sync::Arc::new(bench.load(component("", LOG_EACH, "")).await.unwrap());
    let file = PluginFile { reuse: Some(Default::default()), ..PluginFile::default() };
    let plugin = bench.host.plugin("test", "plugins/test.toml", revision, file).unwrap();
    for _ in 0..3 {
        let (outcome, _) = plugin.run(call(&[b'x'; 900]), &CancellationToken::new()).await;
        assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    }
}

#[tokio::test]
async fn bytes_through_calls_are_counted_to_the_last() {
    let limits = || Limits { call_bytes: ByteSize(64 << 10), ..small_limits() };
    let (outcome, _) = run(limits(), LOG_PAYLOAD, 64 << 10).await;
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    let (outcome, _) = run(limits(), LOG_PAYLOAD, (64 << 10) + 1).await;
    let (fault, message) = fault(&outcome).unwrap();
    assert_eq!(fault, HostFault::HostCalls);
    assert!(message.contains("limits.call_bytes"), "{message}");
}

#[tokio::test]
async fn what_is_handed_over_in_one_call_has_an_end() {
    // A message of nearly all of the memory, which is more than any body or result may be.
    let body = "(drop (memory.grow (i32.const 50))) (call $log (i32.const 0) (i32.const 0) (i32.const 3000000))";
    let limits = Limits { request: ByteSize(1 << 10), ..small_limits() };
    let (outcome, _) = run(limits, body, 1).await;
    let (fault, message) = fault(&outcome).unwrap();
    assert_eq!(fault, HostFault::HostCalls);
    assert!(message.contains("limits.request") && message.contains("run"), "{message}");
}

#[tokio::test]
async fn log_lines_are_kept_to_the_last() {
    let limits = || Limits { log_lines: 5, ..small_limits() };
    let (_, evidence) = run(limits(), LOG_EACH, 5).await;
    assert_eq!((evidence.log.len(), evidence.log_dropped_lines), (5, 0));
    let (_, evidence) = run(limits(), LOG_EACH, 6).await;
    assert_eq!((evidence.log.len(), evidence.log_dropped_lines), (5, 1));
}

#[tokio::test]
async fn instances_memories_and_tables_are_counted() {
    let with = |items: &str, times: usize| {
        let modules: String =
            (0..times).map(|n| format!("(core module $m{n} {items}) (core instance (instantiate $m{n}))")).collect();
        component("", "", &modules)
    };
    // The component itself has two instances and one memory, and one instance that holds what the host gives.
    for (limits, items, at, above) in [
        (Limits { memories: 2, ..small_limits() }, "(memory 1)", 1, 2),
        (Limits { tables: 2, ..small_limits() }, "(table 1 funcref)", 2, 3),
        (Limits { instances: 5, ..small_limits() }, "", 3, 4),
    ] {
        let bench = Bench::with(limits, Network::default());
        assert!(bench.load(with(items, at)).await.is_ok(), "{at} of {items:?}");
        let refusal = bench.load(with(items, above)).await.unwrap_err();
        assert!(refusal.summary.contains("more than this host gives"), "{above} of {items:?}: {refusal}");
    }
}

#[tokio::test]
async fn a_plugins_file_can_narrow_what_an_instance_is_made_of() {
    let bench = Bench::new();
    let revision = std::sync::Arc::new(bench.load(component("", "", "")).await.unwrap());
    let limits = LimitOverride { instances: Some(1), ..LimitOverride::default() };
    let file = PluginFile { limits, ..PluginFile::default() };
    let plugin = bench.host.plugin("test", "plugins/test.toml", revision, file).unwrap();
    let (outcome, _) = plugin.run(call(b"1"), &CancellationToken::new()).await;
    let (fault, message) = fault(&outcome).unwrap();
    assert_eq!(fault, HostFault::Start);
    assert!(message.contains("instance count too high"), "{message}");
}

/// A component whose instance takes so many elements of the host beside its memory.
fn with_elements(elements: usize) -> bytes::Bytes {
    let items = "(ref.null func)".repeat(elements / 4);
    let instances = "(core instance (instantiate $more))".repeat(4);
    component("", "", &format!("(core module $more (elem funcref {items})) {instances}"))
}

#[tokio::test]
async fn what_an_instance_takes_of_the_host_is_of_its_memory() {
    // Of 4 MiB, and one that is free, one page is its memory.
    let fits = (5 << 20) - (64 << 10) - (16 << 10);
    let bench = Bench::new();
    let (outcome, evidence) = bench.run(with_elements(fits / 16), b"1").await;
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    assert!(((4 << 20) - (16 << 10)..=4 << 20).contains(&evidence.memory_peak_bytes), "{}", evidence.memory_peak_bytes);
    let refusal = bench.load(with_elements((fits + (32 << 10)) / 16)).await.unwrap_err();
    assert!(refusal.summary.contains("does not start: the guest asked for"), "{refusal}");
    let refusal = bench.load(with_elements((5 << 20) / 16)).await.unwrap_err();
    assert!(refusal.summary.contains("an instance takes 6 MiB beside its memories and tables"), "{refusal}");
    assert!(refusal.help.unwrap().contains("limits.memory"));
}

#[tokio::test]
async fn a_plugins_file_can_narrow_what_an_instance_takes_of_the_host() {
    let bench = Bench::new();
    let revision = std::sync::Arc::new(bench.load(with_elements((3 << 20) / 16)).await.unwrap());
    let limits = LimitOverride { memory: Some(ByteSize(1 << 20)), ..LimitOverride::default() };
    let file = PluginFile { limits, ..PluginFile::default() };
    let plugin = bench.host.plugin("test", "plugins/test.toml", revision, file).unwrap();
    let (outcome, _) = plugin.run(call(b"1"), &CancellationToken::new()).await;
    let (fault, message) = fault(&outcome).unwrap();
    assert_eq!(fault, HostFault::Memory);
    assert!(message.contains("the limit is 1048576"), "{message}");
}

#[tokio::test]
async fn a_table_has_as_many_elements_as_it_may() {
    let table = |elements: u32| component(&format!("(table {elements} funcref)"), "", "");
    let bench = Bench::with(Limits { table_elements: 1_000, ..small_limits() }, Network::default());
    assert!(bench.load(table(1_000)).await.is_ok());
    let refusal = bench.load(table(1_001)).await.unwrap_err();
    assert!(refusal.summary.contains("more than this host gives"), "{refusal}");
}
