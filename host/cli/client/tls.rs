//! Whom the command line's client trusts: the system's authorities, the bundled ones, and one of the operator's own.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::plugin::pem_fault;

/// A way to servers with and without TLS, with that authority among the trusted.
pub(super) fn connector(ca: Option<&Path>) -> anyhow::Result<HttpsConnector<HttpConnector>> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = ca {
        add(&mut roots, file).with_context(|| format!("cannot trust the authority in {}", file.display()))?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("cannot set up TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().enable_http2().build())
}

fn add(roots: &mut RootCertStore, file: &Path) -> anyhow::Result<()> {
    let text = std::fs::read(file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|error| anyhow::anyhow!("it is not PEM: {}", pem_fault(&error)))?;
    if certificates.is_empty() {
        bail!("it holds no certificate in PEM");
    }
    for certificate in certificates {
        roots.add(certificate)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::pem_tests::{assert_untold, spoilt};

    #[test]
    fn no_part_of_a_file_is_told_where_it_is_not_right() {
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let file = folder.path().join("ca.pem");
        for text in spoilt(&key) {
            std::fs::write(&file, &text).unwrap();
            let why = format!("{:#}", connector(Some(&file)).unwrap_err());
            assert!(why.contains("ca.pem"), "{why}");
            assert_untold(&why, &key);
        }
        let why = format!("{:#}", connector(Some(&folder.path().join("none.pem"))).unwrap_err());
        assert!(why.contains("No such file"), "{why}");
    }
}
