//! Requests through `wasi:http` by a guest that does not wait for what becomes of them.

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::clock::SystemClock;
use crate::config::{PluginFile, Reuse};
use crate::job::health::Sign;
use crate::job::{Evidence, Fault, Outcome};

use super::super::testing::{Bench, call, component, importing};
use super::*;

mod covered;
mod unread;

/// What such a guest imports.
const IMPORTS: &str = r#"
(import "wasi:http/types@0.2.12" (instance $wasi-types
  (export "fields" (type $fields (sub resource)))
  (export "outgoing-request" (type $outgoing (sub resource)))
  (export "request-options" (type $options (sub resource)))
  (export "future-incoming-response" (type $incoming (sub resource)))
  (type $sc (variant (case "HTTP") (case "HTTPS") (case "other" string)))
  (export "scheme" (type $scheme (eq $sc)))
  (type $dn (record (field "rcode" (option string)) (field "info-code" (option u16))))
  (export "DNS-error-payload" (type $dns (eq $dn)))
  (type $tl (record (field "alert-id" (option u8)) (field "alert-message" (option string))))
  (export "TLS-alert-received-payload" (type $tls (eq $tl)))
  (type $fi (record (field "field-name" (option string)) (field "field-size" (option u32))))
  (export "field-size-payload" (type $size (eq $fi)))
  (type $ec (variant
    (case "DNS-timeout") (case "DNS-error" $dns) (case "destination-not-found") (case "destination-unavailable")
    (case "destination-IP-prohibited") (case "destination-IP-unroutable") (case "connection-refused")
    (case "connection-terminated") (case "connection-timeout") (case "connection-read-timeout")
    (case "connection-write-timeout") (case "connection-limit-reached") (case "TLS-protocol-error")
    (case "TLS-certificate-error") (case "TLS-alert-received" $tls) (case "HTTP-request-denied")
    (case "HTTP-request-length-required") (case "HTTP-request-body-size" (option u64))
    (case "HTTP-request-method-invalid") (case "HTTP-request-URI-invalid") (case "HTTP-request-URI-too-long")
    (case "HTTP-request-header-section-size" (option u32)) (case "HTTP-request-header-size" (option $size))
    (case "HTTP-request-trailer-section-size" (option u32)) (case "HTTP-request-trailer-size" $size)
    (case "HTTP-response-incomplete") (case "HTTP-response-header-section-size" (option u32))
    (case "HTTP-response-header-size" $size) (case "HTTP-response-body-size" (option u64))
    (case "HTTP-response-trailer-section-size" (option u32)) (case "HTTP-response-trailer-size" $size)
    (case "HTTP-response-transfer-coding" (option string)) (case "HTTP-response-content-coding" (option string))
    (case "HTTP-response-timeout") (case "HTTP-upgrade-failed") (case "HTTP-protocol-error") (case "loop-detected")
    (case "configuration-error") (case "internal-error" (option string))))
  (export "error-code" (type $error-code (eq $ec)))
  (export "[constructor]fields" (func (result (own $fields))))
  (export "[constructor]outgoing-request" (func (param "headers" (own $fields)) (result (own $outgoing))))
  (export "[method]outgoing-request.set-scheme"
    (func (param "self" (borrow $outgoing)) (param "scheme" (option $scheme)) (result (result))))
  (export "[method]outgoing-request.set-authority"
    (func (param "self" (borrow $outgoing)) (param "authority" (option string)) (result (result))))
  (export "[method]outgoing-request.set-path-with-query"
    (func (param "self" (borrow $outgoing)) (param "path-with-query" (option string)) (result (result))))))
(alias export $wasi-types "outgoing-request" (type $outgoing))
(alias export $wasi-types "request-options" (type $options))
(alias export $wasi-types "future-incoming-response" (type $incoming))
(alias export $wasi-types "error-code" (type $error-code))
(import "wasi:http/outgoing-handler@0.2.12" (instance $outgoing-handler
  (export "outgoing-request" (type $request (eq $outgoing)))
  (export "request-options" (type $given (eq $options)))
  (export "future-incoming-response" (type $future (eq $incoming)))
  (export "error-code" (type $code (eq $error-code)))
  (export "handle" (func (param "request" (own $request)) (param "options" (option (own $given)))
    (result (result (own $future) (error $code)))))))
(core func $new-fields (canon lower (func $wasi-types "[constructor]fields")))
(core func $new-request (canon lower (func $wasi-types "[constructor]outgoing-request")))
(core func $set-scheme (canon lower (func $wasi-types "[method]outgoing-request.set-scheme")
  (memory (core memory $libc "memory"))))
(core func $set-authority (canon lower (func $wasi-types "[method]outgoing-request.set-authority")
  (memory (core memory $libc "memory"))))
(core func $set-path (canon lower (func $wasi-types "[method]outgoing-request.set-path-with-query")
  (memory (core memory $libc "memory"))))
(core func $handle (canon lower (func $outgoing-handler "handle")
  (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
"#;

const EXPORTS: &str = r#"(export "new-fields" (func $new-fields)) (export "new-request" (func $new-request))
  (export "set-scheme" (func $set-scheme)) (export "set-authority" (func $set-authority))
  (export "set-path" (func $set-path)) (export "handle" (func $handle))"#;

const MODULE_ITEMS: &str = r#"
  (import "host" "new-fields" (func $new-fields (result i32)))
  (import "host" "new-request" (func $new-request (param i32) (result i32)))
  (import "host" "set-scheme" (func $set-scheme (param i32 i32 i32 i32 i32) (result i32)))
  (import "host" "set-authority" (func $set-authority (param i32 i32 i32 i32) (result i32)))
  (import "host" "set-path" (func $set-path (param i32 i32 i32 i32) (result i32)))
  (import "host" "handle" (func $handle (param i32 i32 i32 i32)))
  (global $jobs (mut i32) (i32.const 0))
  (data (i32.const 512) "/")"#;

/// Sends a request to the authority in its payload, and answers at once: with the number of jobs that it has had.
const SEND_AND_ANSWER: &str = r#"(local $request i32)
  (local.set $request (call $new-request (call $new-fields)))
  (if (call $set-scheme (local.get $request) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0))
    (then unreachable))
  (if (call $set-authority (local.get $request) (i32.const 1) (local.get 8) (local.get 9)) (then unreachable))
  (if (call $set-path (local.get $request) (i32.const 1) (i32.const 512) (i32.const 1)) (then unreachable))
  (call $handle (local.get $request) (i32.const 0) (i32.const 0) (i32.const 2048))
  (if (i32.load8_u (i32.const 2048)) (then unreachable))
  (global.set $jobs (i32.add (global.get $jobs) (i32.const 1)))
  (i32.store8 (i32.const 300) (global.get $jobs))
  (local.set 8 (i32.const 300))
  (local.set 9 (i32.const 1))"#;

#[tokio::test]
async fn a_request_that_was_only_handed_over_does_not_leave_after_its_attempt() {
    let downstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = downstream.local_addr().unwrap();
    let bench = Bench::new();
    let guest = importing(IMPORTS, EXPORTS, MODULE_ITEMS, SEND_AND_ANSWER, "");
    let revision = Arc::new(bench.load(guest).await.unwrap());
    let origins = vec![format!("http://{address}").parse().unwrap()];
    let file = PluginFile { origins, reuse: Some(Reuse::default()), ..PluginFile::default() };
    let plugin = bench.host.plugin("test", "plugins/test.toml", revision, file).unwrap();
    let mut recorded = 0;
    for _ in 0..2 {
        let (outcome, Evidence { exchanges, .. }) =
            plugin.run(call(address.to_string().as_bytes()), &CancellationToken::new()).await;
        let Outcome::Completed(completion) = outcome else { panic!("{outcome:?}") };
        assert_eq!(&completion.body[..], [1], "an instance went on whose request was out");
        recorded += exchanges.len();
    }
    // What was to leave would have by now.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let own = TcpStream::connect(address).await.unwrap().local_addr().unwrap();
    let mut arrived = 0;
    while downstream.accept().await.unwrap().1 != own {
        arrived += 1;
    }
    assert!(arrived <= recorded, "{arrived} requests arrived, {recorded} were recorded");
}

#[tokio::test]
async fn a_request_that_is_refused_is_judged_and_recorded_on_the_guests_account_and_counts() {
    let bench = Bench::new();
    let plugin = bench.plugin(component("", "", ""), &[]).await;
    let limits = crate::config::AttemptLimits { requests_total: 2, ..plugin.limits };
    let (wall, clock) = (Duration::from_secs(9), Arc::new(SystemClock::start()));
    let attempt = Attempt::start(limits, wall, plugin.grants.clone(), Some(plugin.egress.clone()), clock);
    let mut hooks = Hooks::new(attempt.clone());
    for path in ["/", "/again"] {
        let request = Request::get(format!("http://127.0.0.1:9{path}")).body(WasiBody::default()).unwrap();
        // Nobody looks at what is to send it.
        drop(hooks.send_request(request, None, Box::new(async { Ok(()) })));
    }
    let why: Vec<_> = attempt.evidence(None).exchanges.into_iter().map(|exchange| exchange.error.unwrap()).collect();
    assert!(why.len() == 2 && why.iter().all(|why| why.contains("not granted")), "{why:?}");
    assert!(one_more(&attempt).is_err(), "a request of those that it may make");
}

#[tokio::test]
async fn fields_that_are_made_anew_are_the_same_in_less_room() {
    let bench = Bench::new();
    let plugin = bench.plugin(component("", "", ""), &[]).await;
    let (wall, clock) = (Duration::from_secs(9), Arc::new(SystemClock::start()));
    let attempt = Attempt::start(plugin.limits, wall, plugin.grants.clone(), Some(plugin.egress.clone()), clock);
    let mut hooks = Hooks::new(attempt);
    let mut map = wasmtime_wasi_http::FieldMap::new_mutable(1 << 20);
    for n in 0..1_000 {
        map.append_raw(HeaderName::try_from(format!("x-{}", n % 500)).unwrap(), n.into()).unwrap();
    }
    assert_eq!(*narrow::anew(&map, 1 << 20).unwrap(), *map);
    assert!(narrow::anew(&map, 1_000).is_err());
    for n in 1..500 {
        map.remove_all(&mut hooks, format!("x-{n}")).unwrap();
    }
    let anew = narrow::anew(&map, 1 << 20).unwrap();
    assert!(map.capacity() >= 500 && anew.capacity() < 10, "{} {}", map.capacity(), anew.capacity());
    assert_eq!(*anew, *map);
}

/// What a job that was rejected says of the downstream that got this request.
async fn sign_of(bench: &Bench, request: Request<WasiBody>) -> (Sign, Evidence) {
    let origin = format!("http://{}", request.uri().authority().unwrap());
    let plugin = bench.plugin(component("", "", ""), &[&origin]).await;
    let (wall, clock) = (Duration::from_secs(9), Arc::new(SystemClock::start()));
    let attempt = Attempt::start(plugin.limits, wall, plugin.grants.clone(), Some(plugin.egress.clone()), clock);
    // Where an answer comes, none of it is read.
    let (asked, going) = Asked::judged(attempt.clone(), request);
    if let Ok(going) = going {
        drop(asked.answered(going, RequestOptions::default()).await);
    }
    let rejected = Outcome::Reject(Fault { message: "m".into(), code: None });
    let evidence = attempt.evidence(None);
    assert_eq!(evidence.exchanges.len(), 1);
    (Sign::of(&rejected, &evidence, Duration::ZERO), evidence)
}

#[tokio::test]
async fn a_request_that_breaks_off_for_its_length_says_nothing_of_the_downstream() {
    let downstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", downstream.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = downstream.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                // Whatever follows is read to its end.
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            });
        }
    });
    let bench = Bench::new();
    let body_of = |bytes: &'static [u8]| {
        StreamBody::new(stream::iter([Ok(Frame::data(Bytes::from_static(bytes)))])).boxed_unsync()
    };
    let post = |stated: &str, bytes| {
        Request::post(&url).header(http::header::CONTENT_LENGTH, stated).body(body_of(bytes)).unwrap()
    };
    for request in [
        post("9", b"four"),
        post("2", b"four"),
        post("two", b"four"),
        Request::get(&url).body(body_of(b"four")).unwrap(),
    ] {
        let (sign, evidence) = sign_of(&bench, request).await;
        assert_eq!(sign, Sign::Silent, "{:?}", evidence.exchanges[0]);
    }
}
