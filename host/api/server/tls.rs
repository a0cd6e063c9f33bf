//! TLS of the host's own: a certificate and its key, read again when their files change. Load, try, swap: what is wrong is
//! logged once and changes nothing, and connections that run go on.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::super::error::{Problem, ProblemKind};
use super::super::print::Print;
use super::transport::Transport;
use super::turned_away;
use crate::config;
use crate::lock::lock;
use crate::plugin::pem_fault;

/// The largest file of certificates or of a key.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The first byte of every handshake.
const HANDSHAKE_BYTE: u8 = 22;

/// Why a certificate or its key cannot be used: one line for people.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {file} {why}")]
pub struct TlsError {
    /// The setting.
    key: &'static str,
    /// The file.
    file: String,
    /// What is wrong with it and what to do.
    why: String,
    /// Whether the system refused, which may pass although the file stays as it is.
    is_passing: bool,
}

/// The certificate of a running host.
pub struct Certificates {
    settings: config::ServerTls,
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    seen: Mutex<Seen>,
}

/// What was read last.
#[derive(Default)]
struct Seen {
    /// By what both files are known.
    prints: [Option<Print>; 2],
    /// What was wrong with them, once it is told.
    told: Option<String>,
    /// Whether that may pass.
    is_passing: bool,
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads both files.
    ///
    /// # Errors
    /// Where one cannot be read, the key is open to others, or the two do not belong together.
    pub fn load(settings: &config::ServerTls) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let seen = Mutex::new(Seen { prints: prints(settings), ..Seen::default() });
        let current = Arc::new(Current(ArcSwap::from(read(settings, &provider)?)));
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("ring has suites for both versions")
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { settings: settings.clone(), acceptor: TlsAcceptor::from(Arc::new(config)), current, seen })
    }

    /// Shakes hands with a client, in bounded time; nothing where that fails. Who speaks plain HTTP is told so.
    pub(super) async fn accept(&self, stream: TcpStream, answer_timeout: Duration) -> Option<TlsStream<Transport>> {
        self.look();
        let accept = async {
            let mut first = [0; 1];
            match stream.peek(&mut first).await {
                Ok(1) if first[0] == HANDSHAKE_BYTE => {
                    self.acceptor.accept(Transport::new(stream, answer_timeout)).await.ok()
                }
                Ok(1) if first[0].is_ascii_uppercase() => {
                    let detail = "this port speaks TLS; ask for https:// instead of http://";
                    turned_away::tell(stream, Problem::new(ProblemKind::TlsNeeded, detail)).await;
                    None
                }
                _ => None,
            }
        };
        tokio::time::timeout(self.settings.handshake_timeout.0, accept).await.ok().flatten()
    }

    /// Takes up files that changed.
    fn look(&self) {
        let prints = prints(&self.settings);
        let mut seen = lock(&self.seen);
        if seen.prints == prints && !seen.is_passing {
            return;
        }
        seen.prints = prints;
        seen.is_passing = false;
        let cert = self.settings.cert.display();
        match read(&self.settings, self.acceptor.config().crypto_provider()) {
            Ok(key) => {
                self.current.0.store(key);
                seen.told = None;
                tracing::info!(file = %cert, "the certificate was read again");
            }
            Err(error) => {
                let told = Some(error.to_string());
                if seen.told != told {
                    tracing::warn!(%error, "the new certificate is not taken up; the old one goes on");
                }
                (seen.told, seen.is_passing) = (told, error.is_passing);
            }
        }
    }
}

fn prints(settings: &config::ServerTls) -> [Option<Print>; 2] {
    [&settings.cert, &settings.key].map(|file| Print::of(std::fs::metadata(file)))
}

fn read(settings: &config::ServerTls, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let about =
        |key, file: &Path, (why, is_passing)| TlsError { key, file: file.display().to_string(), why, is_passing };
    let unread_cert = |why| about("server.tls.cert", &settings.cert, why);
    let unread_key = |why| about("server.tls.key", &settings.key, why);
    let (cert, key) = (|why: String| unread_cert((why, false)), |why: String| unread_key((why, false)));
    let text = read_file(&settings.cert, false).map_err(unread_cert)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| cert(format!("is not PEM: {}", pem_fault(&error))))?;
    if chain.is_empty() {
        return Err(cert("holds no certificate; it must be PEM, the host's own certificate first".to_owned()));
    }
    let text = read_file(&settings.key, true).map_err(unread_key)?;
    let private = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|error| key(format!("holds no private key in PEM that is not encrypted: {}", pem_fault(&error))))?;
    let certified = CertifiedKey::from_der(chain, private, provider).map_err(|error| {
        let cert = settings.cert.display();
        key(format!("cannot be used with the certificate in {cert}: {error}; the two must belong together"))
    })?;
    Ok(Arc::new(certified))
}

/// Reads a plain file, but no pipe, and no secret that others may touch; else says why not, and whether that may pass.
fn read_file(path: &Path, is_secret: bool) -> Result<Vec<u8>, (String, bool)> {
    use std::io::Read as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).expect("flags of open are an int");
    let unreadable = |error: std::io::Error| (format!("cannot be read: {error}"), true);
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(("is no plain file".to_owned(), false));
    }
    let mode = meta.mode() & 0o7777;
    if is_secret && mode & 0o027 != 0 {
        let why = format!("has the mode {mode:04o}, so that others may touch it; run chmod 600 on it");
        return Err((why, false));
    }
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(unreadable)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::plugin::pem_tests::{assert_untold, spoilt};

    #[test]
    fn no_part_of_a_file_is_told_where_it_is_not_right() {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let told = |chain: &str, secret: &str| {
            let put = |name: &str, text: &str| {
                let path = folder.path().join(name);
                std::fs::write(&path, text).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
                path
            };
            let (cert, key) = (put("cert.pem", chain), put("key.pem", secret));
            let handshake_timeout = crate::job::units::TimeSpan(Duration::from_secs(1));
            Certificates::load(&config::ServerTls { cert, key, handshake_timeout }).map_err(|error| error.to_string())
        };
        told(&cert, &key).unwrap();
        for text in spoilt(&key) {
            for (why, setting) in [(told(&cert, &text), "server.tls.key"), (told(&text, &key), "server.tls.cert")] {
                let why = why.unwrap_err();
                assert!(why.starts_with(setting), "{why}");
                assert_untold(&why, &key);
            }
        }
        for text in spoilt(&cert) {
            assert_untold(&told(&text, &key).unwrap_err(), &cert);
        }
    }
}
