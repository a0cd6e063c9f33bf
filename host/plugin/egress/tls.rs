//! What all plugins' clients share of the outside: the trusted roots and the operator's allowed ranges.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use ipnet::IpNet;
use rustls::{ClientConfig, RootCertStore};

use tower_service::Service;

use crate::config::Network;

use super::connect::Connector;

/// How long a connection may take in all. A call that is over may leave one behind that still comes about.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The outside as this host knows it.
#[derive(Debug)]
pub(in crate::plugin) struct Outside {
    allow_cidrs: Arc<[IpNet]>,
    roots: OnceLock<Arc<RootCertStore>>,
}

impl Outside {
    /// The outside with these settings. The roots are read at the first call.
    pub(in crate::plugin) fn new(network: &Network) -> Self {
        Self { allow_cidrs: network.allow_cidrs.as_slice().into(), roots: OnceLock::new() }
    }

    /// The special ranges that names may resolve to.
    pub(super) fn allow_cidrs(&self) -> Arc<[IpNet]> {
        self.allow_cidrs.clone()
    }

    /// A connector that adds TLS to `connector` where the URL asks for it. Certificates are always verified.
    pub(super) fn connector(&self, connector: Connector) -> Connections {
        let roots = self.roots.get_or_init(|| Arc::new(trusted_roots())).clone();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has ciphers for the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
        Connections(builder.enable_http1().enable_http2().wrap_connector(connector))
    }
}

/// Opens connections, with TLS where the URL asks for it, and gives up on those that do not come about.
#[derive(Clone)]
pub(super) struct Connections(HttpsConnector<Connector>);

impl Service<Uri> for Connections {
    type Response = <HttpsConnector<Connector> as Service<Uri>>::Response;
    type Error = <HttpsConnector<Connector> as Service<Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connection = tokio::time::timeout(TIMEOUT, self.0.call(uri));
        Box::pin(async move { connection.await? })
    }
}

/// The system's roots, so that an operator's own authority counts, and the bundled ones, so that a bare container works.
fn trusted_roots() -> RootCertStore {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let native = rustls_native_certs::load_native_certs();
    let (added, ignored) = roots.add_parsable_certificates(native.certs);
    tracing::debug!(added, ignored, "trusted roots of the system");
    roots
}
