//! TLS of the host's own: certificates of an authority that is made up here.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::support::{Answer, Place, Server, rest};
use crate::common::until;

/// An authority, its certificate in `ca.pem` of the place.
fn authority(place: &Place) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(place.path("ca.pem"), authority.pem()).unwrap();
    authority
}

/// A certificate for that name and its key, in PEM.
fn certificate(authority: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned(), "127.0.0.1".to_owned()]).unwrap();
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

fn write(place: &Place, (cert, key): &(String, String)) {
    for (name, text, mode) in [("cert.pem", cert, 0o644), ("key.pem", key, 0o600)] {
        // Beside and renamed, as those do who renew certificates.
        let beside = place.path("beside");
        std::fs::write(&beside, text).unwrap();
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::rename(&beside, place.path(name)).unwrap();
    }
}

const SETTINGS: &str = "[server]\nheader_timeout = \"1s\"\n\
                        tls = { cert = \"cert.pem\", key = \"key.pem\", handshake_timeout = \"1s\" }\n";

fn connector(
    authority: &CertifiedIssuer<'static, KeyPair>,
    alpn: &[&str],
    version: &'static rustls::SupportedProtocolVersion,
) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

async fn shake(server: &Server, connector: &TlsConnector, name: &'static str) -> std::io::Result<TlsStream<TcpStream>> {
    connector.connect(ServerName::try_from(name).unwrap(), server.connect().await).await
}

async fn get(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"}") {
        text.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn tls_is_spoken_and_plain_http_is_told() {
    let place = Place::new(SETTINGS);
    let authority = authority(&place);
    write(&place, &certificate(&authority, "localhost"));
    let server = place.serve(&[]).await;
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        for (alpn, agreed) in [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)] {
            let mut stream = shake(&server, &connector(&authority, alpn, version), "localhost").await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), agreed.map(str::as_bytes));
            if agreed != Some("h2") {
                assert!(get(&mut stream).await.starts_with("HTTP/1.1 200"));
            }
        }
    }
    let answer = Answer::of(&server.raw("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await);
    assert_eq!((answer.status, answer.problem().as_str()), (400, "tls-needed"));
    for silent in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01", b"\0\0\0\0"] {
        let mut stream = server.connect().await;
        stream.write_all(silent).await.unwrap();
        assert_eq!(rest(&mut stream).await.find("HTTP"), None, "a slow handshake ends");
    }

    let base = format!("https://localhost:{}", server.address.rsplit_once(':').unwrap().1);
    let run = |args: &[&str]| place.run(&[args, &["--server", &base]].concat());
    let (code, _, stderr) = run(&["jobs", "list", "--ca", "ca.pem"]);
    assert_eq!(code, 0, "{stderr}");
    let (code, _, stderr) = run(&["jobs", "list"]);
    assert!(code == 1 && stderr.contains("--ca") && stderr.trim().lines().count() == 1, "{stderr}");
    let (code, _, stderr) = run(&["jobs", "list", "--ca", "key.pem"]);
    assert!(code == 2 && stderr.contains("key.pem"), "{stderr}");
}

#[tokio::test]
async fn a_new_certificate_is_taken_up_and_a_bad_one_changes_nothing() {
    let place = Place::new(SETTINGS);
    let authority = authority(&place);
    let (first, second) = (certificate(&authority, "first.example"), certificate(&authority, "second.example"));
    write(&place, &first);
    let server = place.serve(&[]).await;
    // A session that is resumed shows no certificate: each client is a new one.
    let fresh = || connector(&authority, &[], &rustls::version::TLS13);
    let mut running = shake(&server, &fresh(), "first.example").await.unwrap();
    assert!(get(&mut running).await.starts_with("HTTP/1.1 200"));

    write(&place, &second);
    until("the new certificate is taken up", || async { shake(&server, &fresh(), "second.example").await.ok() }).await;
    assert!(shake(&server, &fresh(), "first.example").await.is_err());

    // One of another key, one that is none, a key for all to read.
    for bad in [(first.0.clone(), second.1.clone()), ("nonsense".to_owned(), second.1.clone())] {
        let told = server.logged("the old one goes on");
        write(&place, &bad);
        let shaken = async || shake(&server, &fresh(), "second.example").await.expect("the old one goes on");
        shaken().await;
        until("that is told", || async { (server.logged("the old one goes on") > told).then_some(()) }).await;
        for _ in 0..5 {
            shaken().await;
        }
        assert_eq!(server.logged("the old one goes on"), told + 1, "it is told once");
    }
    write(&place, &first);
    std::fs::set_permissions(place.path("key.pem"), std::fs::Permissions::from_mode(0o644)).unwrap();
    shake(&server, &fresh(), "second.example").await.expect("the old one goes on");
    std::fs::set_permissions(place.path("key.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
    until("a repair is taken up", || async { shake(&server, &fresh(), "first.example").await.ok() }).await;
    until("that was told", || async { (server.logged("server.tls.key") > 0).then_some(()) }).await;
    drop(running);
}

#[test]
fn a_certificate_that_cannot_be_used_is_told_at_the_start() {
    let place = Place::new(SETTINGS);
    let authority = authority(&place);
    let (sound, other) = (certificate(&authority, "localhost"), certificate(&authority, "localhost"));
    let refused = || {
        let (code, stdout, stderr) = place.run(&["serve", "--listen", "127.0.0.1:0"]);
        assert_eq!((code, stdout.as_str(), stderr.trim().lines().count()), (2, "", 1), "{stderr}");
        stderr
    };
    assert!(refused().contains("server.tls.cert: cert.pem cannot be read"));
    write(&place, &("nothing".to_owned(), sound.1.clone()));
    assert!(refused().contains("server.tls.cert: cert.pem holds no certificate"));
    write(&place, &(sound.0.clone(), "nothing".to_owned()));
    assert!(refused().contains("server.tls.key: key.pem holds no private key"));
    write(&place, &(sound.0.clone(), other.1.clone()));
    let told = refused();
    assert!(
        told.contains("server.tls.key: key.pem") && told.contains("cert.pem") && told.contains("belong together"),
        "{told}"
    );
    write(&place, &sound);
    for mode in [0o644, 0o604, 0o660] {
        std::fs::set_permissions(place.path("key.pem"), std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(refused().contains("chmod 600"), "{mode:o}");
    }
    std::fs::write(place.path("windlass.toml"), "[server]\ntls = { cert = \"cert.pem\" }").unwrap();
    assert!(refused().contains("windlass.toml, line 2"));
}

#[tokio::test]
async fn a_handshake_that_stands_still_does_not_delay_a_stop() {
    let place = Place::new(&SETTINGS.replace("handshake_timeout = \"1s\"", "handshake_timeout = \"5m\""));
    let authority = authority(&place);
    write(&place, &certificate(&authority, "localhost"));
    let mut server = place.serve(&[]).await;
    let mut stalled = server.connect().await;
    stalled.write_all(&[22]).await.unwrap();
    // The listener takes one after the other: once this one is answered, the other is in.
    let mut stream = shake(&server, &connector(&authority, &[], &rustls::version::TLS13), "localhost").await.unwrap();
    get(&mut stream).await;
    server.stop().await;
    assert_eq!(server.logged("were cut off"), 0, "the goodbye waited for the handshake");
}
