//! Calls over real sockets: what each way of going wrong is called, and what is recorded of it.

use std::sync::atomic::Ordering;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::job::{Evidence, Exchange, Outcome};
use crate::plugin::Plugin;

use super::super::testing::stub::{Downstream, Nobody, Stub};
use super::super::testing::{Bench, call, caller};
use crate::config::{LimitOverride, Limits};

use super::*;

mod bounded;

/// The cases of `send-error`, by number.
const INVALID: u32 = 1;
const UNREACHABLE: u32 = 2;
const UNANSWERED: u32 = 3;
const TOO_LARGE: u32 = 4;

async fn run(plugin: &Plugin, url: &str) -> (Outcome, Evidence) {
    plugin.run(call(url.as_bytes()), &CancellationToken::new()).await
}

/// The case of the error that the guest was given, and the record of the call.
async fn failing(plugin: &Plugin, url: &str) -> (u32, String, Exchange) {
    let (outcome, mut evidence) = run(plugin, url).await;
    let Outcome::TryAgain(setback) = outcome else { panic!("{outcome:?}") };
    let exchange = evidence.exchanges.pop().unwrap();
    assert!(exchange.error.is_some());
    (setback.delay_ms.unwrap(), setback.message, exchange)
}

const OK: Downstream = Downstream::Answers("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");

#[tokio::test]
async fn an_answer_is_handed_over_and_recorded() {
    let (bench, stub) = (Bench::new(), Stub::start(&[OK]).await);
    let plugin = stub.plugin(&bench, "GET", None).await;
    let (outcome, evidence) = run(&plugin, &stub.url("/v1?token=s3cret")).await;
    assert!(matches!(&outcome, Outcome::Completed(completion) if &completion.body[..] == b"ok"), "{outcome:?}");
    let exchange = &evidence.exchanges[0];
    assert_eq!((exchange.method.as_str(), exchange.status), ("GET", Some(200)));
    assert_eq!(exchange.url, stub.url("/v1?token=***"));
    assert_eq!((exchange.received_bytes, exchange.error.as_ref()), (2, None));
    assert!(exchange.head_us.unwrap() <= exchange.total_us);
}

#[tokio::test]
async fn attempts_of_a_plugin_share_a_connection() {
    let (bench, stub) = (Bench::new(), Stub::start(&[OK]).await);
    let plugin = stub.plugin(&bench, "GET", None).await;
    for _ in 0..3 {
        assert!(matches!(run(&plugin, &stub.url("/")).await.0, Outcome::Completed(_)));
    }
    assert_eq!((stub.connections.load(Ordering::SeqCst), stub.requests.load(Ordering::SeqCst)), (1, 3));
    // Another plugin does not take part in it.
    let other = stub.plugin(&bench, "GET", None).await;
    assert!(matches!(run(&other, &stub.url("/")).await.0, Outcome::Completed(_)));
    assert_eq!(stub.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    const MOVED: Downstream =
        Downstream::Answers("HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n");
    let (bench, stub) = (Bench::new(), Stub::start(&[MOVED]).await);
    let (_, evidence) = run(&stub.plugin(&bench, "GET", None).await, &stub.url("/")).await;
    assert_eq!(evidence.exchanges.len(), 1);
    assert_eq!(evidence.exchanges[0].status, Some(302));
}

#[tokio::test]
async fn where_nobody_listens_it_is_unreachable() {
    let bench = Bench::new();
    let nobody = Nobody::listens();
    let closed = nobody.address;
    let hangs_up = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = hangs_up.local_addr().unwrap();
    tokio::spawn(async move { while hangs_up.accept().await.is_ok() {} });
    let plugin = bench.plugin(caller("GET", None), &[&format!("http://{closed}"), &format!("https://{plain}")]).await;
    let (case, message, _) = failing(&plugin, &format!("http://{closed}/")).await;
    assert_eq!(case, UNREACHABLE, "{message}");
    assert!(message.contains("refused"), "{message}");
    // Without TLS nothing is sent.
    let (case, message, exchange) = failing(&plugin, &format!("https://{plain}/")).await;
    assert_eq!(case, UNREACHABLE, "{message}");
    assert_eq!((exchange.status, exchange.sent_bytes), (None, 0));
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_unreachable() {
    let bench = Bench::new();
    let plugin = bench.plugin(caller("GET", None), &["http://nowhere.invalid"]).await;
    let (case, message, _) = failing(&plugin, "http://nowhere.invalid/").await;
    assert_eq!(case, UNREACHABLE, "{message}");
}

#[tokio::test]
async fn what_was_sent_and_not_answered_is_unanswered_and_not_repeated() {
    const CUT: Downstream = Downstream::Answers("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
    for script in [&[Downstream::Closes] as &'static [_], &[OK, Downstream::Closes], &[OK, Downstream::IsSilent]] {
        let (bench, stub) = (Bench::new(), Stub::start(script).await);
        let plugin = stub.plugin(&bench, "POST", Some(300)).await;
        for _ in 1..script.len() {
            assert!(matches!(run(&plugin, &stub.url("/")).await.0, Outcome::Completed(_)));
        }
        let (case, message, _) = failing(&plugin, &stub.url("/")).await;
        assert_eq!(case, UNANSWERED, "{message}");
        assert_eq!(stub.requests.load(Ordering::SeqCst), script.len());
    }
    let (bench, stub) = (Bench::new(), Stub::start(&[CUT]).await);
    let (case, message, exchange) = failing(&stub.plugin(&bench, "POST", Some(300)).await, &stub.url("/")).await;
    assert_eq!((case, exchange.status), (UNANSWERED, Some(200)), "{message}");
}

#[tokio::test]
async fn an_answer_over_the_limit_is_too_large() {
    const LARGE: usize = 1 << 20;
    let announced = Downstream::Says { head: "HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\n", body_bytes: LARGE };
    let endless = Downstream::Says { head: "HTTP/1.0 200 OK\r\n\r\n", body_bytes: LARGE };
    let script: &'static [Downstream] = Box::leak(Box::new([announced, endless]));
    let (bench, stub) = (Bench::new(), Stub::start(script).await);
    let plugin = stub.plugin(&bench, "GET", None).await;
    for _ in script {
        let (case, message, exchange) = failing(&plugin, &stub.url("/")).await;
        assert_eq!(case, TOO_LARGE, "{message}");
        assert!(exchange.received_bytes < LARGE as u64);
    }
}

#[tokio::test]
async fn a_malformed_request_is_invalid_and_not_sent() {
    let (bench, stub) = (Bench::new(), Stub::start(&[OK]).await);
    let plugin = stub.plugin(&bench, "CONNECT", None).await;
    assert_eq!(failing(&plugin, &stub.url("/")).await.0, INVALID);
    assert_eq!(failing(&plugin, "no url").await.0, INVALID);
    assert_eq!(failing(&plugin, &stub.url("/").replace("127", "user:pass@127")).await.0, INVALID);
    assert_eq!(stub.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn localhost_is_loopback_and_no_more() {
    let (bench, stub) = (Bench::new(), Stub::start(&[OK]).await);
    let origin = format!("http://localhost:{}", stub.port);
    let plugin = bench.plugin(caller("GET", None), &[&origin]).await;
    assert!(matches!(run(&plugin, &origin).await.0, Outcome::Completed(_)));
    let (outcome, _) = run(&plugin, &stub.url("/")).await;
    assert!(matches!(outcome, Outcome::Host(crate::job::HostFault::Denied, _)), "{outcome:?}");
}

#[test]
fn a_method_without_a_body_is_one_in_any_case() {
    for (text, bodiless) in [("GET", true), ("get", true), ("Head", true), ("POST", false), ("getx", false)] {
        assert_eq!(is_bodiless(&method(text).unwrap()), bodiless, "{text}");
    }
}

#[test]
fn headers_of_the_host_are_refused() {
    let header = |name: &str, value: &str| wit::Header { name: name.to_owned(), value: value.to_owned() };
    let limits = Limits::default().attempt(&LimitOverride::default());
    for name in ["Host", "content-length", "Transfer-Encoding", "connection", "Upgrade", "proxy-authorization", "TE"] {
        assert!(matches!(headers(&[header(name, "x")], &limits), Err(SendFailure::Invalid(_))), "{name}");
    }
    // Servers make one variable of both.
    for name in ["Content_Length", "transfer_encoding", "Proxy_Authorization"] {
        let Err(SendFailure::Invalid(why)) = headers(&[header(name, "x")], &limits) else { panic!("{name}") };
        assert!(why.contains("set by the host alone") && why.contains("count as one"), "{why}");
    }
    for (name, value) in [("a b", "x"), ("", "x"), ("x", "a\r\nb: c"), ("x", "a\0")] {
        assert!(
            matches!(headers(&[header(name, value)], &limits), Err(SendFailure::Invalid(_))),
            "{name:?}: {value:?}"
        );
    }
    assert!(headers(&vec![header("x", "y"); 129], &limits).is_err());
    assert!(headers(&[header("x", &"y".repeat(64 << 10))], &limits).is_err());
    assert!(headers(&[header("x-a", "ü")], &limits).is_err());
    let twice = headers(&[header("X-A", "1"), header("x-a", "2\t3")], &limits).unwrap();
    assert_eq!(twice.get_all("x-a").iter().count(), 2);
}
