//! Instances made and called on two threads, beside one: whether anything in the sandbox is shared that stands in the way.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use windlass::job::Outcome;

use crate::guest::{self, Alone};
use crate::machine::{Meter, now, processors};
use crate::role::{Player, alternate, answer_rounds};
use crate::table::{against, number, rounds};

/// How long each side of a round calls.
const ROUND: Duration = Duration::from_millis(1_000);

/// Measures and prints.
pub fn report() {
    if guest::built("echo").is_none() || processors() < 2 {
        println!("threads: not measured; it takes two processors, and the plugin echo, which `plugins/build` makes");
        return;
    }
    let player = |threads: usize| Player::ready("threads", &[("THREADS", threads.to_string())]);
    let [two, one] = alternate(rounds(), &mut [player(2), player(1)]);
    against("instance made, called, dropped: on 2 threads | on 1", "  CPU for one call", &two, &one, ">= 1.5");
}

/// Calls on as many threads as the environment says.
pub async fn guest() {
    let threads: usize = number("THREADS").expect("said");
    let component = guest::built("echo").expect("asked before");
    let alone = Arc::new(Alone::load(component, "", 64).await);
    answer_rounds(async || {
        let alone = alone.clone();
        tokio::task::spawn_blocking(move || on_threads(&alone, threads)).await.expect("it ends")
    })
    .await;
}

fn on_threads(alone: &Alone, threads: usize) -> Vec<f64> {
    let meter = Meter::start();
    let calls: usize = std::thread::scope(|scope| {
        let calling: Vec<_> = (0..threads).map(|_| scope.spawn(|| call_again_and_again(alone))).collect();
        calling.into_iter().map(|thread| thread.join().expect("it ends")).sum()
    });
    meter.numbers(calls)
}

fn call_again_and_again(alone: &Alone) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (payload, cancelled) = (Bytes::from(vec![b'1'; 256]), CancellationToken::new());
    runtime.block_on(async {
        let (started, mut calls) = (now(), 0);
        while started.elapsed() < ROUND {
            let (outcome, _) = alone.plugin.run(alone.call(&payload), &cancelled).await;
            assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
            calls += 1;
        }
        calls
    })
}
