//! A plugin's client over real sockets, by names whose addresses a test scripts.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::config::{Limits, Network};

use super::super::Descriptors;
use super::super::granted::Granted;
use super::resolve::Names;
use super::*;

mod connections;
mod covers;
mod frames;
mod lost;
mod refused;

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// A listener on loopback that keeps what each connection sent, and answers every head with 200.
struct Raw {
    port: u16,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Raw {
    async fn start(address: &str, answer: &'static str) -> Self {
        Self::brief(address, answer, usize::MAX).await
    }

    /// One that closes each connection when it has read one request more than so many.
    async fn brief(address: &str, answer: &'static str, most: usize) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let raw = Self { port, connections: Arc::default(), heads: Arc::default() };
        let (connections, heads) = (raw.connections.clone(), raw.heads.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, heads.clone(), answer, most));
            }
        });
        raw
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, heads: Arc<Mutex<Vec<String>>>, answer: &'static str, most: usize) {
    let (mut head, mut answered) = (Vec::new(), 0);
    while let Ok(byte) = stream.read_u8().await {
        head.push(byte);
        if head.ends_with(b"\r\n\r\n") {
            heads.lock().unwrap().push(String::from_utf8(std::mem::take(&mut head)).unwrap());
            if answered == most || stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
            answered += 1;
        }
    }
}

const KEPT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const CLOSED: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// A client under that file, where names have these addresses, one answer after the other.
fn egress(network: &Network, file: &str, answers: &[&[&str]]) -> (Arc<Grants>, Egress) {
    let mut outside = Outside::new(network, Descriptors::default());
    let answers = answers.iter().map(|answer| answer.iter().map(|address| address.parse().unwrap()).collect());
    outside.names = Names::Scripted(Arc::new(Mutex::new(answers.collect())));
    let file = PluginFile::parse(std::path::Path::new("test.toml"), file, &Limits::default()).unwrap();
    let granted = Granted::read("test.toml", &file, &outside).unwrap();
    (granted.grants, Egress::new("test", Arc::new(outside), granted.way))
}

fn network(allow_cidrs: &[&str]) -> Network {
    let allow_cidrs = allow_cidrs.iter().map(|range| range.parse().unwrap()).collect();
    Network { allow_cidrs, ..Network::default() }
}

async fn get((grants, egress): &(Arc<Grants>, Egress), url: &str) -> Result<u16, SendFailure> {
    let target = grants.admit(url).1?;
    let mut request = Request::new(SendBody::whole(Vec::new(), Arc::default()));
    grants.inject(&target, request.headers_mut())?;
    *request.uri_mut() = target.uri;
    egress.send(request, PATIENCE).await.map(|answer| answer.response.status().as_u16())
}

#[tokio::test]
async fn a_name_that_comes_to_mean_another_address_is_judged_when_it_is_dialled() {
    let raw = Raw::start("127.0.0.1", CLOSED).await;
    let url = format!("http://rebind.example:{}/", raw.port);
    let file = format!("origins = ['{url}']");
    let way =
        egress(&network(&["127.0.0.1/32"]), &file, &[&["127.0.0.1"], &["127.0.0.2"], &["127.0.0.2", "127.0.0.1"]]);
    assert_eq!(get(&way, &url).await, Ok(200));
    let refusal = get(&way, &url).await;
    assert!(
        matches!(&refusal, Err(SendFailure::Denied(denial)) if denial.remedy.contains("127.0.0.2/32")),
        "{refusal:?}"
    );
    assert_eq!(get(&way, &url).await, Ok(200), "of both, the one that is allowed");
    assert_eq!(raw.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_connection_that_is_kept_stays_with_the_address_that_was_judged() {
    let raw = Raw::start("127.0.0.1", KEPT).await;
    let url = format!("http://kept.example:{}/", raw.port);
    let way = egress(&network(&["127.0.0.1/32"]), &format!("origins = ['{url}']"), &[&["127.0.0.1"], &["10.0.0.1"]]);
    for _ in 0..3 {
        assert_eq!(get(&way, &url).await, Ok(200));
    }
    assert_eq!((raw.connections.load(Ordering::SeqCst), raw.heads().len()), (1, 3));
}

#[tokio::test]
async fn a_connection_that_is_old_takes_no_further_request() {
    let raw = Raw::start("127.0.0.1", KEPT).await;
    let url = format!("http://127.0.0.1:{}/", raw.port);
    let (grants, egress) = egress(&network(&[]), &format!("origins = ['{url}']"), &[&[]]);
    let mut outside = Outside::new(&network(&[]), Descriptors::default());
    outside.age_max = std::time::Duration::ZERO;
    let way = (grants, Egress::new("test", Arc::new(outside), egress.way));
    for connections in 1..4 {
        assert_eq!(get(&way, &url).await, Ok(200));
        assert_eq!(raw.connections.load(Ordering::SeqCst), connections);
    }
}

#[tokio::test]
async fn the_head_on_the_wire_names_the_granted_host_and_nothing_else() {
    let raw = Raw::start("127.0.0.1", KEPT).await;
    let origin = format!("http://127.0.0.1:{}", raw.port);
    let way = egress(&network(&[]), &format!("origins = ['{origin}']"), &[&[]]);
    for odd in ["127.1", "0x7f.1", "2130706433", "0177.0.0.1", "127.0.0.1.", "[::ffff:127.0.0.1]", "%3127.0.0.1"] {
        assert_eq!(get(&way, &format!("http://{odd}:{}/a?b=c", raw.port)).await, Ok(200), "{odd}");
    }
    let head = format!("GET /a?b=c HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n\r\n", raw.port);
    assert!(raw.heads().iter().all(|seen| *seen == head), "{:?}", raw.heads());
    assert_eq!(raw.heads().len(), 7);
}

#[tokio::test]
async fn a_proxy_makes_a_tunnel_to_the_address_that_was_judged() {
    let proxy = Raw::start("127.0.0.1", KEPT).await;
    let network = Network {
        proxy: Some(format!("http://127.0.0.1:{}", proxy.port).parse().unwrap()),
        proxy_credentials: Some(crate::config::SecretSource::Given("user:pass".into()).into()),
        ..network(&[])
    };
    let way = egress(&network, "origins = ['http://api.example']", &[&["93.184.216.34"], &["10.0.0.1"]]);
    assert_eq!(get(&way, "http://api.example/x").await, Ok(200));
    let heads = proxy.heads();
    let tunnel = "CONNECT 93.184.216.34:80 HTTP/1.1\r\nHost: 93.184.216.34:80\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n";
    assert_eq!(heads, [tunnel, "GET /x HTTP/1.1\r\nhost: api.example\r\n\r\n"]);
    assert!(!format!("{way:?}").contains("pass"));
    // What the name means from now on is judged before the proxy hears of it.
    let (grants, old) = way;
    let fresh = Egress::new("test", old.outside.clone(), Way { proxy: old.way.proxy.clone(), ..Way::default() });
    assert!(matches!(get(&(grants, fresh), "http://api.example/x").await, Err(SendFailure::Denied(_))));
    assert_eq!(proxy.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_proxy_that_makes_no_tunnel_makes_the_downstream_unreachable() {
    for (answer, told) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407"),
        ("SSH-2.0-x\r\n\r\n", "does not speak HTTP"),
        ("HTTP/1.1 200", "made no tunnel"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let file = format!("origins = ['http://api.example']\nproxy = 'http://{}'", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 64];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let way = egress(&network(&[]), &file, &[&["93.184.216.34"]]);
        let failure = get(&way, "http://api.example/").await.unwrap_err();
        assert!(matches!(&failure, SendFailure::Unreachable(_, why) if why.contains(told)), "{failure:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_says_the_password_back_has_it_told_to_nobody() {
    for (status, told) in [("HTTP/1.1 407", "it answered 407"), ("HTTP/2 407", "does not speak HTTP/1.1")] {
        // Cut anywhere it would leave a part that nobody takes for the password.
        for before in 60..130 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let network = Network {
                proxy: Some(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap()),
                proxy_credentials: Some(crate::config::SecretSource::Given("user:s3cret-of-the-test".into()).into()),
                ..network(&[])
            };
            let answer = format!("{status} {}user:s3cret-of-the-test\r\n\r\n", "-".repeat(before));
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 512]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            });
            let way = egress(&network, "origins = ['http://api.example']", &[&["93.184.216.34"]]);
            let failure = get(&way, "http://api.example/").await.unwrap_err();
            let secrets = &way.0.secrets;
            for text in [secrets.line(failure.message(), 2 << 10), failure.message().to_owned()] {
                assert!(!text.contains("s3cr") && !text.contains("user:"), "{before}: {text}");
                assert!(text.ends_with(told), "{before}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_added_goes_over_plain_http_only_where_it_stays_inside() {
    let raw = Raw::start("127.0.0.1", CLOSED).await;
    let url = format!("http://inside.example:{}/", raw.port);
    let inject = "inject = { header = 'X-Key', value = '{{k}} {k}', plain_http = false }\nconfig = { k = 'v' }";
    let file = format!("origins = ['{url}', 'http://outside.example']\n{inject}");
    let way = egress(&network(&["127.0.0.1/32"]), &file, &[&["127.0.0.1"], &["93.184.216.34"]]);
    assert_eq!(get(&way, &url).await, Ok(200));
    assert!(raw.heads()[0].contains("x-key: {k} v\r\n"), "{:?}", raw.heads());
    assert!(!format!("{way:?}").contains("{k} v"), "what is added is not shown");
    let refusal = get(&way, "http://outside.example/").await;
    assert!(
        matches!(&refusal, Err(SendFailure::Denied(denial)) if denial.remedy.contains("plain_http")),
        "{refusal:?}"
    );
}

const HIDDEN: &str = "secrets = { key = { command = ['printf', '%s', 'sk-live-1234'], readable = false } }";

#[tokio::test]
async fn a_denial_tells_nobody_a_secret_that_the_guest_made_an_origin_of() {
    let (grants, _) = egress(&network(&[]), HIDDEN, &[]);
    let Err(SendFailure::Denied(denial)) = grants.admit("http://sk-live-1234.x.example/").1 else {
        panic!("not denied")
    };
    assert!(denial.told.contains("sk-live-1234.x.example"), "the guest's own words: {}", denial.told);
    let limits = Limits::default().attempt(&crate::config::LimitOverride::default());
    let clock = Arc::new(crate::clock::SystemClock::start());
    let attempt = super::super::attempt::Attempt::start(limits, PATIENCE, grants.clone(), None, clock);
    attempt.deny(&denial.remedy);
    let told = format!("{:?} {:?} {:?}", grants.denials.all(), grants.denials.origins(), attempt.ledger().denied);
    assert!(told.contains("[key].x.example") && !told.contains("sk-live"), "{told}");
}

#[test]
fn a_way_is_another_when_anything_of_it_changed() {
    let way = |file: &str| {
        let file = PluginFile::parse(std::path::Path::new("t.toml"), file, &Limits::default()).unwrap();
        Granted::read("t.toml", &file, &Outside::new(&Network::default(), Descriptors::default())).unwrap().way
    };
    let usual = "origins = ['https://a.example']\n";
    assert_eq!(way(usual), way(&format!("{usual}concurrency = 3\nconfig = {{ a = '1' }}")));
    for other in [
        "origins = ['https://b.example']",
        "origins = ['https://a.example']\nproxy = 'http://127.0.0.1:1'",
        "origins = ['https://a.example']\nsecrets = { k = { command = ['echo', 'a-secret'] } }",
        "origins = ['https://a.example']\ninject = { header = 'A', value = 'b' }",
    ] {
        assert_ne!(way(usual), way(other), "{other}");
    }
}

#[tokio::test]
async fn who_closes_a_connection_that_was_kept_gets_one_for_each_request() {
    let raw = Raw::brief("127.0.0.1", KEPT, 1).await;
    let kept = Raw::start("127.0.0.1", KEPT).await;
    let [url, other] = [&raw, &kept].map(|raw| format!("http://127.0.0.1:{}/", raw.port));
    let way = egress(&network(&[]), &format!("origins = ['{url}', '{other}']"), &[&[], &[]]);
    assert_eq!(get(&way, &url).await, Ok(200));
    // Whether this one was read nobody knows, so that it is not sent again.
    assert!(matches!(get(&way, &url).await, Err(SendFailure::Unanswered(_))));
    for n in 2..6 {
        assert_eq!(get(&way, &url).await, Ok(200));
        assert_eq!(raw.connections.load(Ordering::SeqCst), n);
        assert_eq!(get(&way, &other).await, Ok(200));
    }
    assert_eq!(kept.connections.load(Ordering::SeqCst), 1, "others keep theirs");
}

#[tokio::test]
async fn one_that_closes_its_first_connection_is_not_taken_for_such_a_one() {
    let raw = Raw::brief("127.0.0.1", KEPT, 0).await;
    let url = format!("http://127.0.0.1:{}/", raw.port);
    let way = egress(&network(&[]), &format!("origins = ['{url}']"), &[&[]]);
    for n in 1..4 {
        assert!(matches!(get(&way, &url).await, Err(SendFailure::Unanswered(_))));
        assert_eq!(raw.connections.load(Ordering::SeqCst), n);
    }
    assert!(!way.1.brief.holds(&url.parse().unwrap()));
}

#[tokio::test]
async fn an_answer_with_more_headers_than_are_read_is_too_large() {
    let headers: String = (0..HEADERS_MAX + 50).map(|n| format!("x-{n}: 1\r\n")).collect();
    let answer = Box::leak(format!("HTTP/1.1 200 OK\r\n{headers}content-length: 0\r\n\r\n").into_boxed_str());
    let raw = Raw::start("127.0.0.1", answer).await;
    let url = format!("http://127.0.0.1:{}/", raw.port);
    let way = egress(&network(&[]), &format!("origins = ['{url}']"), &[&[]]);
    assert!(matches!(get(&way, &url).await, Err(SendFailure::TooLarge(_))));
}
