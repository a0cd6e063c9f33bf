//! Answers that are covered as they come: when a piece of one is given must tell nothing of the secret.

use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;

use super::*;
use crate::config::Limits;

/// How many bytes the guest is given of a body that begins so, before anything follows, and how many when it has ended.
async fn given(bench: &Bench, more: &str, begins: &'static str) -> (usize, usize) {
    let downstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", downstream.local_addr().unwrap());
    let seen = Arc::new(Notify::new());
    let goes_on = seen.clone();
    tokio::spawn(async move {
        let (mut stream, _) = downstream.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(format!("{head}{:x}\r\n{begins}\r\n", begins.len()).as_bytes()).await.unwrap();
        goes_on.notified().await;
        stream.write_all(b"1\r\n\n\r\n0\r\n\r\n").await.unwrap();
    });
    let file = format!(
        "origins = ['{origin}', 'https://other.example']\n{more}\n\
         secrets = {{ key = {{ command = ['printf', '%s', 'sk-live-1234'], readable = false }} }}"
    );
    let file = PluginFile::parse(std::path::Path::new("test.toml"), &file, &Limits::default()).unwrap();
    let revision = Arc::new(bench.load(component("", "", "")).await.unwrap());
    let plugin = bench.host.plugin("test", "plugins/test.toml", revision, file).unwrap();
    let (wall, clock) = (Duration::from_secs(9), Arc::new(SystemClock::start()));
    let attempt = Attempt::start(plugin.limits, wall, plugin.grants.clone(), Some(plugin.egress.clone()), clock);
    let request = Request::get(format!("{origin}/")).body(StreamBody::new(stream::empty()).boxed_unsync()).unwrap();
    let (asked, going) = Asked::judged(attempt, request);
    let (mut response, _) = asked.answered(going.unwrap(), RequestOptions::default()).await.unwrap();
    // The downstream wrote it at once, so that it is one frame.
    let first = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap().len();
    seen.notify_one();
    let rest = response.into_body().collect().await.unwrap().to_bytes().len();
    (first, rest)
}

const INJECT: &str = "inject = { header = 'X-Key', value = '{key}' }";
/// The longest spelling is that in hex.
const REACH: usize = 2 * "sk-live-1234".len() - 1;

#[tokio::test]
async fn when_a_piece_is_given_depends_on_its_length_alone() {
    let bench = Bench::new();
    for begins in [
        "----------------------------------------sk-live-123",
        "----------------------------------------sk-live-12x",
        "----------------------------------------736b2d6c697",
        "---------------------------------------------------",
    ] {
        let left = begins.len() - REACH;
        assert_eq!(given(&bench, INJECT, begins).await, (left, REACH + 1), "{begins}");
    }
}

#[tokio::test]
async fn where_nothing_is_added_nothing_is_held_back() {
    let bench = Bench::new();
    let begins = "--sk-live-123";
    for more in ["", "inject = { header = 'X-Key', value = '{key}', origins = ['https://other.example'] }"] {
        assert_eq!(given(&bench, more, begins).await, (begins.len(), 1), "{more}");
    }
}
