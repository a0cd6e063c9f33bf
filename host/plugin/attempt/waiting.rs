//! Asynchronous components whose calls wait, each on a stack of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::config::{Limits, Network, PluginFile, Reuse};
use crate::job::{Evidence, HostFault, Outcome};

use super::super::engine;
use super::super::testing::waiting::component;
use super::super::testing::{Bench, call_within, small_limits};
use super::super::{Plugin, digest};

/// The payload that has calls wait.
const GO: [u8; 200] = [b'x'; 200];

async fn run(plugin: &Plugin, payload: &[u8]) -> (Outcome, Evidence) {
    plugin.run(call_within(payload, Duration::from_secs(20)), &CancellationToken::new()).await
}

#[tokio::test]
async fn so_many_parts_of_an_asynchronous_component_can_be_called() {
    let bench = Bench::new();
    // One that never answers, six that wait for it, and one that calls them.
    let (outcome, _) = bench.run(component(6, 1).into(), &GO).await;
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    let refusal = bench.load(component(7, 1).into()).await.unwrap_err();
    assert!(refusal.summary.contains("9 parts that can be called, being asynchronous; 8 are the most"), "{refusal}");
}

#[tokio::test]
async fn whatever_waits_in_one_plugin_others_have_their_stacks() {
    let bench = Bench::new();
    let (holder, neighbour) =
        (bench.plugin(component(6, 1_000).into(), &[]).await, bench.plugin(component(0, 1).into(), &[]).await);
    let holders = engine::slots(&small_limits()) - 1;
    let held = join_all((0..holders).map(|_| run(&holder, &GO)));
    let (held, (beside, _)) = tokio::join!(held, run(&neighbour, &GO));
    assert!(matches!(beside, Outcome::Completed(_)), "{beside:?}");
    for (outcome, evidence) in held {
        assert!(matches!(outcome, Outcome::Completed(_)) && !evidence.crowded, "{outcome:?}");
    }
}

/// A plugin of that component, which came to be compiled without having been looked at.
async fn unchecked(bench: &Bench, component: Bytes) -> Plugin {
    use std::io::Write as _;

    let machine = bench.host.runtime.machine_for(true).unwrap();
    let mut code = tempfile::tempfile().unwrap();
    code.write_all(&machine.engine.precompile_component(&component).unwrap()).unwrap();
    let shape = super::super::inspect::Shape { is_async: true, ..Default::default() };
    machine.cache.keep(&machine.engine, &digest::of(&component), &shape, &code).unwrap();
    bench.plugin(component, &[]).await
}

#[tokio::test]
async fn who_has_all_stacks_wait_has_itself_to_blame() {
    let bench = Bench::with(Limits { handles: 10_000, ..small_limits() }, Network::default());
    let stacks = usize::try_from(engine::slots(&small_limits())).unwrap() * 10;
    let greedy = unchecked(&bench, component(stacks + 1, 1).into()).await;
    let (outcome, evidence) = run(&greedy, &GO).await;
    let Outcome::Host(HostFault::HostCalls, message) = &outcome else { panic!("{outcome:?}") };
    assert!(message.contains("more of its own calls wait than the host has stacks for"), "{message}");
    assert!(!evidence.crowded);
}

#[tokio::test]
async fn an_instance_in_which_calls_wait_is_not_kept() {
    let bench = Bench::new();
    let revision = Arc::new(bench.load(component(2, 1).into()).await.unwrap());
    let file = PluginFile { reuse: Some(Reuse::default()), ..PluginFile::default() };
    let plugin = bench.host.plugin("test", "plugins/test.toml", revision, file).unwrap();
    for (payload, is_kept) in [(&GO[..], false), (b"short", true), (&GO, false), (b"short", true)] {
        let (outcome, _) = run(&plugin, payload).await;
        assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
        assert_eq!(plugin.warm.as_ref().unwrap().waits(), usize::from(is_kept));
    }
}
