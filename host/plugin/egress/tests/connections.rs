//! Who has a connection while there are fewer than are wanted.

use std::convert::Infallible;
use std::time::Duration;

use http::Response;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::super::race::CONNECT_TIMEOUT;
use super::super::send::Answered;
use super::super::usage::Usage;
use super::*;

/// As long as a call waits of which a test says that it has no connection.
const IMPATIENCE: Duration = Duration::from_millis(400);

/// A server's side of TLS that offers HTTP/2 alone, and who trusts it.
pub(super) fn http2() -> (TlsAcceptor, ClientConfig) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = CertificateDer::from(made.cert);
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let server = server.unwrap().with_no_client_auth();
    let mut server = server.with_single_cert(vec![certificate.clone()], key).unwrap();
    server.alpn_protocols = vec![b"h2".to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
    (TlsAcceptor::from(Arc::new(server)), client)
}

/// A downstream on loopback that answers at once, but `/held` only when it is let, and with as many bytes as `/bytes/N` says.
#[derive(Clone)]
pub(super) struct Downstream {
    pub(super) url: Arc<str>,
    connections: Arc<AtomicUsize>,
    came: Arc<Semaphore>,
    let_go: Arc<Semaphore>,
}

impl Downstream {
    /// One that speaks HTTP/1.1.
    pub(super) async fn plain() -> Self {
        Self::start(None).await
    }

    /// One that speaks HTTP/2, and who trusts it.
    pub(super) async fn tls() -> (Self, ClientConfig) {
        let (server, client) = http2();
        (Self::start(Some(server)).await, client)
    }

    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}/", listener.local_addr().unwrap());
        let nobody = || Arc::new(Semaphore::new(0));
        let downstream = Self { url: url.into(), connections: Arc::default(), came: nobody(), let_go: nobody() };
        let serving = downstream.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::SeqCst);
                let (tls, serving) = (tls.clone(), serving.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| serving.clone().answer(request));
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _ = match tls {
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            server.serve_connection(TokioIo::new(stream), service).await
                        }
                        None => server.serve_connection(TokioIo::new(stream), service).await,
                    };
                });
            }
        });
        downstream
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        if request.uri().path() == "/held" {
            self.came.add_permits(1);
            self.let_go.acquire().await.unwrap().forget();
        }
        let bytes = request.uri().path().strip_prefix("/bytes/").and_then(|bytes| bytes.parse().ok());
        Ok(Response::new(Full::from(vec![b'x'; bytes.unwrap_or(1)])))
    }

    pub(super) fn held(&self) -> String {
        format!("{}held", self.url)
    }

    /// A request for `/held` is there.
    pub(super) async fn came(&self) {
        tokio::time::timeout(PATIENCE, self.came.acquire()).await.expect("the request comes").unwrap().forget();
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A client that may have three connections, two of them by itself.
fn narrow(origins: &[&str]) -> (Arc<Grants>, Egress) {
    let origins = origins.iter().map(|origin| format!("'{origin}'")).collect::<Vec<_>>().join(", ");
    let (grants, egress) = egress(&network(&[]), &format!("origins = [{origins}]"), &[&[]]);
    let outside = Outside::new(&network(&[]), Descriptors { sockets: 3, ..Descriptors::default() });
    (grants, Egress::new("test", Arc::new(outside), egress.way))
}

/// The same, on that way.
pub(super) fn narrow_on(way: Way, origins: &[&str]) -> Arc<(Arc<Grants>, Egress)> {
    let (grants, egress) = narrow(origins);
    Arc::new((grants, Egress::new("test", egress.outside, way)))
}

pub(super) async fn call(
    (grants, egress): &(Arc<Grants>, Egress),
    url: &str,
    patience: Duration,
) -> Result<Answered, SendFailure> {
    let mut request = Request::new(SendBody::whole(Vec::new(), Arc::default()));
    *request.uri_mut() = grants.admit(url).1?.uri;
    egress.send(request, patience).await
}

/// The same beside what the test goes on with.
pub(super) fn begin(
    client: &Arc<(Arc<Grants>, Egress)>,
    url: &str,
) -> tokio::task::JoinHandle<Result<Answered, SendFailure>> {
    let (client, url) = (client.clone(), url.to_owned());
    tokio::spawn(async move { call(&client, &url, PATIENCE).await })
}

#[tokio::test]
async fn an_answer_that_is_read_late_costs_nobody_the_connection() {
    for is_shared in [false, true] {
        let (slow, way) = if is_shared {
            let (slow, tls) = Downstream::tls().await;
            (slow, Way { tls: Some(tls), ..Way::default() })
        } else {
            (Downstream::plain().await, Way::default())
        };
        let (other, third) = (Downstream::plain().await, Downstream::plain().await);
        let client = narrow_on(way, &[&slow.url, &other.url, &third.url]);
        let late = call(&client, &slow.url, PATIENCE).await.unwrap();
        let next = begin(&client, &slow.held());
        slow.came().await;
        assert_eq!(slow.connections(), 1, "the answer has come, so that the next request goes over the same one");
        let _hangs = begin(&client, &other.held());
        other.came().await;
        drop(late);
        let crowded = call(&client, &third.url, IMPATIENCE).await.map(|_| ());
        assert!(matches!(crowded, Err(SendFailure::Crowded(_))), "{is_shared}: both are used: {crowded:?}");
        slow.let_go.add_permits(1);
        assert_eq!(next.await.unwrap().map(|answered| answered.response.status().as_u16()), Ok(200), "{is_shared}");
        // Now nobody uses it.
        assert!(call(&client, &third.url, PATIENCE).await.is_ok(), "{is_shared}");
        assert_eq!((slow.connections(), third.connections()), (1, 1));
    }
}

#[tokio::test]
async fn a_connection_that_many_can_share_is_closed_for_a_call_elsewhere_too() {
    let (shared, tls) = Downstream::tls().await;
    let (other, third) = (Downstream::plain().await, Downstream::plain().await);
    let client = narrow_on(Way { tls: Some(tls), ..Way::default() }, &[&shared.url, &other.url, &third.url]);
    for _ in 0..3 {
        assert!(call(&client, &shared.url, PATIENCE).await.is_ok());
    }
    assert_eq!(shared.connections(), 1, "kept as long as it may be");
    let hangs = begin(&client, &other.held());
    other.came().await;
    assert!(call(&client, &third.url, PATIENCE).await.is_ok());
    other.let_go.add_permits(1);
    assert!(hangs.await.unwrap().is_ok(), "what is used is left");
    assert!(call(&client, &shared.url, PATIENCE).await.is_ok());
    assert_eq!(shared.connections(), 2, "made anew, as it was closed for another");
}

#[tokio::test]
async fn a_kept_connection_is_closed_for_a_call_elsewhere_and_used_where_it_leads() {
    let mut downstreams = Vec::new();
    for _ in 0..4 {
        downstreams.push(Raw::start("127.0.0.1", KEPT).await);
    }
    let urls: Vec<_> = downstreams.iter().map(|raw| format!("http://127.0.0.1:{}/", raw.port)).collect();
    let way = narrow(&urls.iter().map(String::as_str).collect::<Vec<_>>());
    for url in &urls {
        for _ in 0..3 {
            assert_eq!(get(&way, url).await, Ok(200));
        }
    }
    for raw in &downstreams {
        assert_eq!((raw.connections.load(Ordering::SeqCst), raw.heads().len()), (1, 3), "kept as long as it may be");
    }
    assert_eq!(get(&way, &urls[0]).await, Ok(200));
    assert_eq!(downstreams[0].connections.load(Ordering::SeqCst), 2, "made anew, as it was closed for another");
}

#[tokio::test]
async fn a_call_without_a_connection_says_so_and_another_plugins_has_one() {
    const HANGS: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n";
    let raw = Raw::start("127.0.0.1", HANGS).await;
    let url = format!("http://127.0.0.1:{}/", raw.port);
    let (grants, egress) = narrow(&[&url]);
    let send = |egress: &Egress| {
        let target = grants.admit(&url).1.unwrap();
        let mut request = Request::new(SendBody::whole(Vec::new(), Arc::default()));
        *request.uri_mut() = target.uri;
        let egress = Egress::new(&egress.plugin, egress.outside.clone(), Way::default());
        async move { egress.send(request, std::time::Duration::from_millis(200)).await }
    };
    let (_one, _two) = (send(&egress).await.unwrap(), send(&egress).await.unwrap());
    let Err(SendFailure::Crowded(why)) = send(&egress).await else { panic!("two are its share") };
    assert!(why.contains("the plugin has 2 of the 3 connections"), "{why}");
    let other = Egress::new("other", egress.outside.clone(), Way::default());
    assert!(send(&other).await.is_ok());
}

#[tokio::test]
async fn a_call_that_came_when_its_connection_was_closed_for_another_says_that_nothing_was_sent() {
    let usage = Usage::default();
    usage.ready();
    usage.answered();
    let failed = |usage| send::failed(SendFailure::Unanswered("no".to_owned()), Some(usage));
    assert!(usage.enter() && matches!(failed(&usage), SendFailure::Unanswered(_)));
    let ended = Usage::ended();
    assert!(matches!(failed(&ended), SendFailure::Crowded(_)));
    let denied = SendFailure::Invalid(String::new());
    assert_eq!(send::failed(denied.clone(), Some(&ended)), denied, "what is certain stays");
}

/// A proxy that takes connections and says nothing.
async fn silent_proxy() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut taken = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            taken.push(stream);
        }
    });
    url
}

#[tokio::test]
async fn only_a_call_that_waits_for_a_connection_itself_says_that_there_is_none() {
    const URL: &str = "http://93.184.216.34/";
    let file = format!("origins = ['{URL}']\nproxy = '{}'", silent_proxy().await);
    let (_, slow) = egress(&network(&[]), &file, &[&[]]);
    let client = narrow_on(slow.way, &[URL]);
    let (one, two, in_line) =
        (call(&client, URL, IMPATIENCE), call(&client, URL, IMPATIENCE), call(&client, URL, IMPATIENCE / 2));
    // The last one stands in line until the others are over.
    let (one, two, in_line, _) = tokio::join!(one, two, in_line, call(&client, URL, IMPATIENCE * 2));
    for slow in [one, two] {
        let failure = slow.map(|_| ()).unwrap_err();
        assert!(matches!(&failure, SendFailure::Unreachable(Unreachable::TimedOut, _)), "{failure:?}");
    }
    let failure = in_line.map(|_| ()).unwrap_err();
    assert!(matches!(&failure, SendFailure::Crowded(why) if why.contains("2 of the 3")), "{failure:?}");
}

#[tokio::test]
async fn an_address_that_does_not_answer_holds_a_call_up_for_a_moment_only() {
    let answers = Raw::start("127.0.0.1", KEPT).await;
    // Its line is full, and nobody takes anybody out of it: who comes later is not answered.
    let silent = tokio::net::TcpSocket::new_v4().unwrap();
    silent.bind(format!("127.0.0.2:{}", answers.port).parse().unwrap()).unwrap();
    let silent = silent.listen(0).unwrap();
    let _first = TcpStream::connect(silent.local_addr().unwrap()).await.unwrap();
    let url = format!("http://two.example:{}/", answers.port);
    let file = format!("origins = ['{url}']");
    let client = egress(&network(&["127.0.0.0/8"]), &file, &[&["127.0.0.2", "127.0.0.1"]]);
    let answer = call(&client, &url, CONNECT_TIMEOUT / 2).await;
    assert_eq!(answer.map(|answer| answer.response.status().as_u16()), Ok(200));
    assert_eq!(answers.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn a_connection_outlives_the_threads_that_asked_for_it() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let serving = runtime();
    let (downstream, client) = serving.block_on(async {
        let (downstream, tls) = Downstream::tls().await;
        let client = narrow_on(Way { tls: Some(tls), ..Way::default() }, &[&downstream.url]);
        (downstream, client)
    });
    let asking = runtime();
    for _ in 0..2 {
        assert!(asking.block_on(call(&client, &downstream.url, PATIENCE)).is_ok());
    }
    asking.shutdown_timeout(PATIENCE);
    for _ in 0..2 {
        let answer = serving.block_on(call(&client, &downstream.url, PATIENCE));
        assert_eq!(answer.map(|answer| answer.response.status().as_u16()), Ok(200));
    }
    assert_eq!(downstream.connections(), 1);
}
