//! Whom calls trust, and what they show of themselves. Certificates are always verified: nothing turns that off.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{DefaultServerNameResolver, HttpsConnector};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Handle;
use tokio::time::error::Elapsed;
use tokio_util::task::AbortOnDropHandle;
use tower_service::Service;
use zeroize::Zeroizing;

use crate::config::Tls;

use super::super::load_error::Unusable;
use super::super::pem::pem_fault;
use super::super::secrets::private_file;
use super::brief;
use super::call::Call;
use super::connect::{ConnectError, Connector, Dial};
use super::failure::Unreachable;
use super::wire::Wire;

/// How long a connection may take in all. A call that is over may leave one behind that still comes about.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest file of certificates, and the largest key.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a plugin's file says of TLS, with the files that it names.
#[derive(Default, PartialEq)]
pub(super) struct Material {
    ca: Option<(String, Vec<u8>)>,
    is_ca_alone: bool,
    client: Option<Shown>,
}

/// What the client shows of itself: two files and what is in them.
#[derive(PartialEq)]
struct Shown {
    cert: String,
    chain: Vec<u8>,
    key: String,
    secret: Zeroizing<Vec<u8>>,
}

impl Material {
    /// Reads the files.
    pub(super) fn read(tls: &Tls) -> Result<Self, Unusable> {
        let ca = tls.ca.as_ref().map(|path| public_file(path).map(|bytes| (shown(path), bytes)));
        let ca = ca.transpose().map_err(|why| why.at("tls.ca"))?;
        let client = match (&tls.cert, &tls.key) {
            (Some(cert), Some(key)) => {
                let chain = public_file(cert).map_err(|why| why.at("tls.cert"))?;
                let secret = private_file(key, FILE_BYTES_MAX).map_err(|why| why.at("tls.key"))?;
                Some(Shown { cert: shown(cert), chain, key: shown(key), secret })
            }
            _ => None,
        };
        Ok(Self { ca, is_ca_alone: tls.only_ca, client })
    }

    /// Whether it says nothing of its own.
    pub(super) fn is_usual(&self) -> bool {
        self.ca.is_none() && self.client.is_none()
    }

    /// The client's side of TLS, where `usual` is trusted by default.
    pub(super) fn config(&self, usual: &Arc<RootCertStore>) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has ciphers for the default versions")
            .with_root_certificates(self.roots(usual)?);
        let Some(Shown { cert, chain, key, secret }) = &self.client else { return Ok(builder.with_no_client_auth()) };
        let chain = certificates(chain).map_err(|why| format!("tls.cert: {cert} {why}"))?;
        let secret = PrivateKeyDer::from_pem_slice(secret);
        let secret =
            secret.map_err(|error| format!("tls.key: {key} holds no private key in PEM: {}", pem_fault(&error)))?;
        builder.with_client_auth_cert(chain, secret).map_err(|error| format!("tls.key: {key} and {cert}: {error}"))
    }

    fn roots(&self, usual: &Arc<RootCertStore>) -> Result<Arc<RootCertStore>, String> {
        let Some((path, bytes)) = &self.ca else { return Ok(usual.clone()) };
        let mut roots = if self.is_ca_alone { RootCertStore::empty() } else { RootCertStore::clone(usual) };
        for certificate in certificates(bytes).map_err(|why| format!("tls.ca: {path} {why}"))? {
            roots.add(certificate).map_err(|error| format!("tls.ca: {path}: {error}"))?;
        }
        Ok(Arc::new(roots))
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn public_file(path: &Path) -> Result<Vec<u8>, Unusable> {
    let unreadable =
        |error: std::io::Error| Unusable::of_system(&error, |error| format!("cannot read {}: {error}", path.display()));
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(format!("{} is not a file of at most {FILE_BYTES_MAX} bytes", path.display()).into());
    }
    std::fs::read(path).map_err(unreadable)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("holds no certificate in PEM".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("is not right: {}", pem_fault(&error))),
    }
}

/// Opens connections, with TLS where the URL asks for it, and gives up on those that do not come about. It is cloned for
/// each request, whether that needs a new connection or not.
#[derive(Clone)]
pub(super) struct Connections(Arc<Making>);

struct Making {
    connector: Connector,
    tls: Arc<ClientConfig>,
    names: Arc<DefaultServerNameResolver>,
    /// Where connections are made and kept going, whoever asks for one.
    serving: Handle,
}

impl Connections {
    /// Those that `connector` makes, on that runtime.
    pub(super) fn new(mut tls: ClientConfig, connector: Connector, serving: Handle) -> Self {
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self(Arc::new(Making { connector, tls: Arc::new(tls), names: Arc::default(), serving }))
    }

    /// Waiting for a socket is bounded by whoever waits, and not by the time that a connection may take: nothing is slow.
    async fn connect(self, uri: Uri, call: Call) -> Result<Wire, BoxError> {
        let Making { connector, tls, names, .. } = &*self.0;
        let slow =
            |_: Elapsed| ConnectError::Unreachable(Unreachable::TimedOut, format!("no connection within {TIMEOUT:?}"));
        let route = tokio::time::timeout(TIMEOUT, connector.route(&uri)).await.map_err(slow)??;
        let socket = connector.socket(&call).await;
        let usage = socket.usage.clone();
        usage.leads_to(brief::origin(&uri));
        let dial = Dial::new(connector.clone(), route, socket);
        let mut made = HttpsConnector::new(dial, tls.clone(), false, names.clone());
        Ok(Wire::new(tokio::time::timeout(TIMEOUT, made.call(uri)).await.map_err(slow)??, usage))
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for Connections {
    type Response = Wire;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = AbortOnDropHandle::new(self.0.serving.spawn(self.clone().connect(uri, Call::that_asks())));
        Box::pin(async move {
            let lost = |error| ConnectError::Unreachable(Unreachable::Refused, format!("cannot connect: {error}"));
            connecting.await.map_err(lost)?
        })
    }
}

/// The system's roots, so that an operator's own authority counts, and the bundled ones, so that a bare container works.
pub(super) fn trusted_roots() -> RootCertStore {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let native = rustls_native_certs::load_native_certs();
    let (added, ignored) = roots.add_parsable_certificates(native.certs);
    tracing::debug!(added, ignored, "trusted roots of the system");
    roots
}

#[cfg(test)]
mod tests {
    use super::super::super::pem_tests::{assert_untold, spoilt};
    use super::*;

    #[test]
    fn no_part_of_a_file_is_told_where_it_is_not_right() {
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let told = |ca: Option<&str>, chain: &str, secret: &str| {
            let shown = Shown {
                cert: "cert.pem".to_owned(),
                chain: chain.into(),
                key: "key.pem".to_owned(),
                secret: Zeroizing::new(secret.into()),
            };
            let ca = ca.map(|text| ("ca.pem".to_owned(), text.into()));
            let material = Material { ca, is_ca_alone: false, client: Some(shown) };
            material.config(&Arc::new(RootCertStore::empty()))
        };
        told(Some(&cert), &cert, &key).unwrap();
        for text in spoilt(&key) {
            // A key stands by mistake where certificates belong, too.
            for (why, file) in [
                (told(None, &cert, &text), "tls.key: key.pem"),
                (told(None, &text, &key), "tls.cert: cert.pem"),
                (told(Some(&text), &cert, &key), "tls.ca: ca.pem"),
            ] {
                let why = why.unwrap_err();
                assert!(why.starts_with(file), "{why}");
                assert_untold(&why, &key);
            }
        }
        for text in spoilt(&cert) {
            assert_untold(&told(None, &text, &key).unwrap_err(), &cert);
            assert_untold(&told(Some(&text), &cert, &key).unwrap_err(), &cert);
        }
    }
}
