//! What an attempt says of its downstream: by all of its calls, however many are kept, and by none that the host refused.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::{Limits, Network};
use crate::job::health::Sign;
use crate::job::{Evidence, Fault, HostFault, Outcome, Setback};

use super::super::testing::stub::{Downstream, Nobody, Stub};
use super::super::testing::{Bench, call_within, caller, small_limits};

/// The URL of a downstream that follows that script.
async fn calling(script: &'static [Downstream]) -> String {
    Stub::start(script).await.url("/")
}

/// One attempt that calls that URL once, of which so many calls are kept.
async fn attempt(kept: u32, method: &str, url: &str) -> (Outcome, Evidence) {
    let bench = Bench::with(Limits { exchanges: kept, ..small_limits() }, Network::default());
    let plugin = bench.plugin(caller(method, None), &[url]).await;
    let never = CancellationToken::new();
    let ended = plugin.run(call_within(url.as_bytes(), Duration::from_millis(1_500)), &never).await;
    assert_eq!(ended.1.exchanges.len() as u64 + ended.1.exchanges_dropped, 1, "{:?}", ended.1);
    ended
}

fn sign(outcome: &Outcome, evidence: &Evidence) -> Sign {
    Sign::of(outcome, evidence, Duration::from_secs(300))
}

fn try_again() -> Outcome {
    Outcome::TryAgain(Setback { message: "m".into(), ..Setback::default() })
}

fn reject() -> Outcome {
    Outcome::Reject(Fault { message: "m".into(), code: None })
}

#[tokio::test]
async fn how_many_calls_are_kept_makes_no_difference() {
    let nobody = Nobody::listens();
    for kept in [1, 0] {
        let (outcome, evidence) = attempt(kept, "GET", &format!("http://{}/", nobody.address)).await;
        assert!(matches!(sign(&outcome, &evidence), Sign::Ill(_)), "{outcome:?}");

        let (outcome, evidence) = attempt(kept, "GET", &calling(&[Downstream::IsSilent]).await).await;
        assert!(matches!(sign(&outcome, &evidence), Sign::Ill(_)), "{outcome:?}");
        let late = Outcome::Host(HostFault::Deadline, "m".into());
        assert_eq!(sign(&late, &evidence), Sign::Ill("m".into()));

        let well = calling(&[Downstream::Answers("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")]).await;
        let (outcome, evidence) = attempt(kept, "GET", &well).await;
        assert_eq!(sign(&outcome, &evidence), Sign::Well, "{outcome:?}");
        assert_eq!(sign(&late, &evidence), Sign::Unfit("m".into()));

        let busy =
            calling(&[Downstream::Answers("HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n")]).await;
        let (_, evidence) = attempt(kept, "GET", &busy).await;
        assert_eq!(sign(&try_again(), &evidence), Sign::Busy(Some(Duration::from_secs(7)), "m".into()));
    }
}

#[tokio::test]
async fn a_call_that_the_host_refused_says_nothing_of_the_downstream() {
    let url = calling(&[Downstream::Answers("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")]).await;
    let (outcome, evidence) = attempt(1, "CONNECT", &url).await;
    assert!(evidence.exchanges[0].error.as_ref().unwrap().contains("CONNECT"), "{evidence:?}");
    for outcome in [outcome, reject(), Outcome::Completed(crate::job::Completion::default())] {
        assert_eq!(sign(&outcome, &evidence), Sign::Silent, "{outcome:?}");
    }
    let late = Outcome::Host(HostFault::Deadline, "m".into());
    assert_eq!(sign(&late, &evidence), Sign::Unfit("m".into()), "nobody owed it an answer");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_one() {
    let url = calling(&[Downstream::Answers("HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\n")]).await;
    let (_, evidence) = attempt(1, "GET", &url).await;
    assert!(evidence.exchanges[0].error.as_ref().unwrap().contains("limits.response"), "{evidence:?}");
    assert_eq!(sign(&reject(), &evidence), Sign::Well);
    let late = Outcome::Host(HostFault::Deadline, "m".into());
    assert_eq!(sign(&late, &evidence), Sign::Unfit("m".into()), "nobody owed it an answer");
}
