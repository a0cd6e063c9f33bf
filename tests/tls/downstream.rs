//! A downstream that speaks TLS, and the authorities that vouch for it, or do not.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Who signs certificates.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

/// What a certificate says.
#[derive(Clone)]
pub struct Leaf {
    pub name: &'static str,
    /// The year in which it ends.
    pub year: i32,
}

/// A certificate and its key, PEM.
pub struct Identity {
    pub chain: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self { params, key: KeyPair::generate().unwrap() }
    }

    pub fn pem(&self) -> String {
        self.params.self_signed(&self.key).unwrap().pem()
    }

    pub fn leaf(&self, leaf: &Leaf) -> Identity {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        Identity { chain: leaf.params().signed_by(&key, &issuer).unwrap().pem(), key: key.serialize_pem() }
    }
}

impl Leaf {
    /// One that holds.
    pub fn good() -> Self {
        Self { name: "localhost", year: 4000 }
    }

    pub fn self_signed(&self) -> Identity {
        let key = KeyPair::generate().unwrap();
        Identity { chain: self.params().self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::new(vec![self.name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(self.year, 1, 1);
        params
    }
}

/// A downstream at `https://localhost`.
pub struct TlsDownstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl TlsDownstream {
    /// One that shows `identity`, wants a certificate of `clients` where there is one, and speaks these protocols.
    pub async fn start(identity: &Identity, clients: Option<&Authority>, protocols: &[&str]) -> Self {
        Self::accepting(config(identity, clients, protocols), |stream, nth, seen| async move {
            let requests = AtomicUsize::new(0);
            let service = service_fn(move |request: Request<Incoming>| {
                // The first connection is lost on the way after its first request, and nobody is told.
                let is_lost = request.uri().path() == "/lost" && nth == 0;
                let is_lost = is_lost && requests.fetch_add(1, Ordering::SeqCst) > 0;
                let seen = seen.clone();
                async move { if is_lost { std::future::pending().await } else { answer(request, seen).await } }
            });
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        })
        .await
    }

    /// One that answers each request over HTTP/2 with these bytes, whose stream has that number.
    pub async fn start_raw(identity: &Identity, answer: fn(u8) -> Vec<u8>) -> Self {
        Self::accepting(config(identity, None, &["h2"]), move |mut stream, _, _| async move {
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await.unwrap();
            // No settings of our own, and theirs are fine.
            stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0]).await.unwrap();
            let mut head = [0; 9];
            while stream.read_exact(&mut head).await.is_ok() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                stream.read_exact(&mut vec![0; length as usize]).await.unwrap();
                if head[3] == 1 {
                    stream.write_all(&answer(head[8])).await.unwrap();
                }
            }
        })
        .await
    }

    /// One that has each connection served like that: by its number, and with what was seen.
    async fn accepting<Served: Future<Output = ()> + Send + 'static>(
        config: ServerConfig,
        serve: impl Fn(TlsStream<TcpStream>, usize, Arc<Mutex<Vec<String>>>) -> Served + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let downstream = Self { address, seen: Arc::default(), connections: Arc::default() };
        let (seen, connections) = (downstream.seen.clone(), downstream.connections.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, serve) = (acceptor.clone(), serve.clone());
                let (seen, connections) = (seen.clone(), connections.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    serve(stream, connections.fetch_add(1, Ordering::SeqCst), seen).await;
                });
            }
        });
        downstream
    }

    pub fn authority(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    pub fn origin(&self) -> String {
        format!("https://{}", self.authority())
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    /// `VERSION METHOD AUTHORITY PATH` of every request.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn config(identity: &Identity, clients: Option<&Authority>, protocols: &[&str]) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(identity.chain.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<String>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let host = head.headers.get("host").and_then(|host| host.to_str().ok());
    let authority = head.uri.authority().map(ToString::to_string).or_else(|| host.map(str::to_owned));
    let line = format!("{:?} {} {} {}", head.version, head.method, authority.unwrap_or_default(), head.uri.path());
    let _ = body.collect().await;
    seen.lock().unwrap().push(line);
    if head.uri.path() == "/large" {
        let length = ("content-length", 50_000_000);
        return Ok(Response::builder().header(length.0, length.1).body(Full::default()).unwrap());
    }
    Ok(Response::new(Full::new(Bytes::from_static(b"safe"))))
}
