//! TLS of a plugin's calls: who is trusted, what is shown, and that nothing is sent where it does not hold.

mod common;
#[path = "tls/downstream.rs"]
mod downstream;

use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Host, Setup, Value, json, until};
use downstream::{Authority, Leaf, TlsDownstream};

/// A host whose plugin trusts what is in `ca.pem` beside its configuration, and says `more` of TLS.
async fn host(downstream: &TlsDownstream, ca: &str, more: &str) -> Host {
    let file = file(downstream, more);
    Setup::default().file("ca.pem", ca).guest("misbehave", &file).start().await
}

/// A downstream that speaks this alone, and a host that trusts it.
async fn speaking(protocol: &str) -> (TlsDownstream, Host) {
    let authority = Authority::new("ours");
    let downstream = TlsDownstream::start(&authority.leaf(&Leaf::good()), None, &[protocol]).await;
    let host = host(&downstream, &authority.pem(), "ca = 'ca.pem'").await;
    (downstream, host)
}

fn file(downstream: &TlsDownstream, more: &str) -> String {
    format!("origins = ['{}']\n[retry]\nmax_attempts = 1\n[tls]\n{more}", downstream.origin())
}

async fn fetch(host: &Host, verb: &str, downstream: &TlsDownstream) -> Value {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let payload = json!({"do": verb, "url": downstream.url("/secret"), "method": "POST", "body": "b"});
    // Each a downstream of its own: no call is held back for what became of another.
    let key = format!("d{}", CALLS.fetch_add(1, Ordering::Relaxed));
    let id = host.enqueue(json!({"plugin": "misbehave", "downstream": key, "payload": payload})).await;
    host.ended(&id).await["result"].clone()
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_the_file_says_so_over_both_versions_of_http() {
    let authority = Authority::new("ours");
    for protocols in [&["h2", "http/1.1"][..], &["http/1.1"], &[]] {
        let downstream = TlsDownstream::start(&authority.leaf(&Leaf::good()), None, protocols).await;
        for more in ["ca = 'ca.pem'", "ca = 'ca.pem'\nonly_ca = true"] {
            let host = host(&downstream, &authority.pem(), more).await;
            for verb in ["fetch", "wasi-fetch"] {
                let answer = fetch(&host, verb, &downstream).await;
                assert_eq!(answer["ok"]["body"], "safe", "{verb}: {answer}");
            }
        }
        let version = if protocols.contains(&"h2") { "HTTP/2.0" } else { "HTTP/1.1" };
        let expected = format!("{version} POST {} /secret", downstream.authority());
        assert!(downstream.seen().iter().all(|seen| *seen == expected), "{:?}", downstream.seen());
        assert_eq!((downstream.seen().len(), downstream.connections()), (4, 2));
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_is_refused_and_nothing_is_sent() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let good = Leaf::good();
    for (leaf, more, told) in [
        (ours.leaf(&good), "", "UnknownIssuer"),
        (theirs.leaf(&good), "ca = 'ca.pem'", "UnknownIssuer"),
        (theirs.leaf(&good), "ca = 'ca.pem'\nonly_ca = true", "UnknownIssuer"),
        (good.self_signed(), "ca = 'ca.pem'", "certificate"),
        (ours.leaf(&Leaf { year: 2021, ..good.clone() }), "ca = 'ca.pem'", "expired"),
        (ours.leaf(&Leaf { name: "other.example", ..good.clone() }), "ca = 'ca.pem'", "not valid for name"),
    ] {
        let downstream = TlsDownstream::start(&leaf, None, &["h2", "http/1.1"]).await;
        let host = host(&downstream, &ours.pem(), more).await;
        let answer = fetch(&host, "fetch", &downstream).await;
        assert_eq!(answer["error"]["kind"], "unreachable", "{answer}");
        let why = answer["error"]["message"].as_str().unwrap();
        assert!(why.contains("no TLS connection") && why.contains(told), "{told}: {why}");
        let answer = fetch(&host, "wasi-fetch", &downstream).await;
        assert!(answer["error"]["message"].as_str().unwrap().contains("TlsCertificateError"), "{answer}");
        assert!(downstream.seen().is_empty(), "{told}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_taken_up_when_it_changes() {
    let authority = Authority::new("ours");
    let server = authority.leaf(&Leaf::good());
    let downstream = TlsDownstream::start(&server, Some(&authority), &["h2", "http/1.1"]).await;
    let host = host(&downstream, &authority.pem(), "ca = 'ca.pem'").await;
    let refused = fetch(&host, "fetch", &downstream).await;
    assert!(refused["error"].is_object(), "without a certificate: {refused}");
    assert!(downstream.seen().is_empty());

    let stranger = Authority::new("theirs").leaf(&Leaf::good());
    host.private("client.key", &stranger.key);
    std::fs::write(host.dir().join("client.pem"), &stranger.chain).unwrap();
    let shown = file(&downstream, "ca = 'ca.pem'\ncert = 'client.pem'\nkey = 'client.key'\n[limits]\ndeadline = '11s'");
    std::fs::write(host.plugins().join("misbehave.toml"), &shown).unwrap();
    until("the certificate is taken up", || async {
        host.get("/v1/plugins/misbehave").await.to_string().contains("11s").then_some(())
    })
    .await;
    let refused = fetch(&host, "fetch", &downstream).await;
    assert!(refused["error"].is_object() && downstream.seen().is_empty(), "with a stranger's: {refused}");

    // The file of the plugin is not touched any more from here on.
    let client = authority.leaf(&Leaf::good());
    std::fs::write(host.dir().join("client.pem"), &client.chain).unwrap();
    host.private("client.key", &client.key);
    until("the right one is taken up", || async {
        let answer = fetch(&host, "fetch", &downstream).await;
        (answer["ok"]["body"] == "safe").then_some(())
    })
    .await;
    assert!(!downstream.seen().is_empty());
}

#[tokio::test]
async fn a_length_that_the_guest_states_is_that_of_the_body_over_both_versions_of_http() {
    for protocol in ["h2", "http/1.1"] {
        let (downstream, host) = speaking(protocol).await;
        for (length, body, is_sent) in [
            ("4", "four", true),
            ("4", "four more", false),
            ("9", "four", false),
            ("0", "", true),
            ("+4", "four", false),
        ] {
            let headers = json!({"Content-Length": length});
            let url = downstream.url("/");
            let call = json!({"do": "wasi-fetch", "url": url, "method": "POST", "body": body, "headers": headers});
            let id =
                host.enqueue(json!({"plugin": "misbehave", "downstream": format!("{length}{body}"), "payload": call}));
            let answer = host.ended(&id.await).await["result"].clone();
            assert_eq!(answer["ok"]["body"] == "safe", is_sent, "{protocol} {length} {body:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_silent_takes_no_further_request() {
    for protocol in ["h2", "http/1.1"] {
        let (downstream, host) = speaking(protocol).await;
        let mut told = Vec::new();
        for n in 0..3 {
            let call = json!({"do": "fetch", "url": downstream.url("/lost"), "timeout_ms": 1_000});
            let id = host.enqueue(json!({"plugin": "misbehave", "downstream": n.to_string(), "payload": call})).await;
            told.push(host.ended(&id).await["result"]["ok"]["body"].clone());
        }
        assert_eq!(
            (told, downstream.connections()),
            (vec![json!("safe"), json!(null), json!("safe")], 2),
            "{protocol}"
        );
    }
}

#[tokio::test]
async fn the_length_that_an_answer_without_a_body_states_is_no_matter() {
    for protocol in ["h2", "http/1.1"] {
        let (downstream, host) = speaking(protocol).await;
        for verb in ["fetch", "wasi-fetch"] {
            let call = json!({"do": verb, "url": downstream.url("/large"), "method": "HEAD"});
            let id = host.enqueue(json!({"plugin": "misbehave", "payload": call})).await;
            let job = host.ended(&id).await;
            assert_eq!(job["result"]["ok"]["status"], 200, "{protocol} {verb}: {job:#}");
        }
    }
}

/// What an answer over HTTP/2 is that states ten bytes, sends four, and is reset as if nothing had happened.
#[tokio::test]
async fn an_answer_that_breaks_off_without_an_error_is_not_taken_for_a_whole_one() {
    let authority = Authority::new("ours");
    let downstream = TlsDownstream::start_raw(&authority.leaf(&Leaf::good()), |stream| {
        let frame = |kind: u8, flags: u8, payload: &[u8]| {
            let mut frame = vec![0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0, 0, 0, stream];
            frame.extend(payload);
            frame
        };
        // `:status: 200`, and `content-length` by its number in the table (RFC 7541, appendix A).
        let head = frame(1, 4, &[0x88, 0x0f, 0x0d, 2, b'1', b'0']);
        [head, frame(0, 0, b"half"), frame(3, 0, &[0; 4])].concat()
    })
    .await;
    let host = host(&downstream, &authority.pem(), "ca = 'ca.pem'").await;
    for verb in ["fetch", "wasi-fetch"] {
        let answer = fetch(&host, verb, &downstream).await;
        assert_eq!(answer["ok"], json!(null), "{verb}: {answer}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_files_is_told() {
    let authority = Authority::new("ours");
    let (leaf, other) = (authority.leaf(&Leaf::good()), authority.leaf(&Leaf::good()));
    let host = Setup::default().guest("misbehave", "").start().await;
    let put = |name: &str, text: &str| std::fs::write(host.dir().join(name), text).unwrap();
    put("none.pem", "nothing");
    put("cert.pem", &leaf.chain);
    put("open.key", &leaf.key);
    host.private("other.key", &other.key);
    host.private("none.key", "nothing");
    let folded = leaf.key.replace('\n', " ");
    host.private("folded.key", &folded);
    for (tls, told) in [
        ("ca = 'missing.pem'", "tls.ca: cannot read missing.pem"),
        ("ca = 'none.pem'", "tls.ca: none.pem holds no certificate"),
        ("cert = 'cert.pem'\nkey = 'open.key'", "chmod 600"),
        ("cert = 'cert.pem'\nkey = 'none.key'", "tls.key: none.key holds no private key"),
        ("cert = 'cert.pem'\nkey = 'folded.key'", "tls.key: folded.key holds no private key in PEM: a section"),
        ("cert = 'cert.pem'\nkey = 'other.key'", "tls.key: other.key and cert.pem"),
        ("cert = 'none.pem'\nkey = 'other.key'", "tls.cert: none.pem holds no certificate"),
        ("insecure = true", "insecure"),
    ] {
        std::fs::write(host.plugins().join("misbehave.toml"), format!("[tls]\n{tls}\n")).unwrap();
        until(&format!("it is told: {told}"), || async {
            let error = host.get("/v1/plugins/misbehave").await["load_error"].to_string();
            error.contains(told).then_some(())
        })
        .await;
    }
    let log = host.log();
    assert!(log.contains("folded.key") && !log.contains(&folded[40..60]), "{log}");
    let numbers = format!("{:?}", &folded.as_bytes()[40..60]);
    assert!(!log.contains(numbers.trim_matches(['[', ']'])), "{log}");
}
