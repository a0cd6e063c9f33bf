//! The network that a plugin reaches, by both its ways: what goes over the wire, what does not, and what is told.

mod common;

use std::sync::{Arc, Mutex};

use common::{Downstream, Host, Reply, Setup, Value, guests, json, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A downstream that keeps every byte of every connection, and answers each head.
struct Raw {
    address: std::net::SocketAddr,
    connections: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Raw {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let raw = Self { address: listener.local_addr().unwrap(), connections: Arc::default() };
        let connections = raw.connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let place = {
                    let mut connections = connections.lock().unwrap();
                    connections.push(Vec::new());
                    connections.len() - 1
                };
                tokio::spawn(keep(stream, connections.clone(), place));
            }
        });
        raw
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn seen(&self) -> Vec<String> {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        self.connections.lock().unwrap().iter().map(text).collect()
    }
}

async fn keep(mut stream: TcpStream, connections: Arc<Mutex<Vec<Vec<u8>>>>, place: usize) {
    let mut answered = 0;
    while let Ok(byte) = stream.read_u8().await {
        let seen = {
            let mut connections = connections.lock().unwrap();
            connections[place].push(byte);
            String::from_utf8_lossy(&connections[place]).into_owned()
        };
        let heads = seen.matches("\r\n\r\n").count();
        if heads > answered {
            answered = heads;
            let is_tunnel = heads == 1 && seen.starts_with("CONNECT ");
            let answer =
                if is_tunnel { "HTTP/1.1 200 OK\r\n\r\n" } else { "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }
}

async fn result(host: &Host, call: Value) -> Value {
    host.ended(&host.misbehave(call).await).await["result"].clone()
}

#[tokio::test]
async fn what_could_smuggle_a_request_is_refused_and_nothing_is_sent() {
    let raw = Raw::start().await;
    let host = Setup::default().guest("misbehave", &format!("origins = ['{}']", raw.url(""))).start().await;
    let header = |name: &str, value: &str| json!({"url": raw.url("/"), "method": "POST", "headers": {name: value}});
    let mut calls = Vec::new();
    for name in [
        "Host",
        "HOST",
        "Connection",
        "Transfer-Encoding",
        "TE",
        "Trailer",
        "Upgrade",
        "Keep-Alive",
        "Proxy-Authorization",
        "Proxy-Connection",
        "Proxy-Anything",
        "Expect",
        "HTTP2-Settings",
        ":authority",
        ":path",
        "",
        "a b",
        "a:",
        "a\r\nb",
        "a\0",
        "ä",
        "(a)",
    ] {
        calls.push(header(name, "x"));
    }
    for value in ["a\r\nHost: evil", "a\nb", "a\rb", "a\0b", "a\u{1}b", "a\u{7f}b", "grün", "\u{ff21}"] {
        calls.push(header("x-odd", value));
    }
    for method in
        ["", "GE T", "GET /evil HTTP/1.1\r\nx:", "CONNECT", "connect", "TRACE", "trace", "GÄT", &"M".repeat(99)]
    {
        calls.push(json!({"url": raw.url("/"), "method": method}));
    }
    for path in ["/a b", "/a\r\nHost: evil", "/a\tb", "/a#fragment", "/\\evil", "/\u{a0}"] {
        calls.push(json!({"url": raw.url(path)}));
    }
    for method in ["GET", "HEAD"] {
        calls.push(json!({"url": raw.url("/"), "method": method, "body": "smuggled"}));
    }
    let many: serde_json::Map<_, _> = (0..200).map(|n| (format!("x-{n}"), json!("y"))).collect();
    calls.push(json!({"url": raw.url("/"), "headers": many}));
    calls.push(header("x-large", &"y".repeat(70_000)));
    calls.push(json!({"url": raw.url(&format!("/{}", "p".repeat(20_000)))}));
    for url in
        ["http://user:pass@127.0.0.1:1/", "ftp://127.0.0.1/", "http://127.0.0.1:0/", "http://0.0.0.0/", "http://"]
    {
        calls.push(json!({ "url": url }));
    }
    for call in calls {
        let mut fetch = call.clone();
        fetch["do"] = json!("fetch");
        let answer = result(&host, fetch).await;
        assert_eq!(answer["error"]["kind"], "invalid", "{call}: {answer}");
        assert!(answer["error"]["message"].as_str().is_some_and(|why| why.len() > 10), "{call}: {answer}");
        if call["url"].as_str().unwrap().contains('#') {
            // The standard interface has no place for a fragment: it goes nowhere.
            continue;
        }
        let mut fetch = call.clone();
        fetch["do"] = json!("wasi-fetch");
        let answer = result(&host, fetch).await;
        assert_eq!(answer["error"]["kind"], "wasi", "{call}: {answer}");
    }
    // The length of a body is what the body is.
    let answer = result(&host, json!({"do": "fetch", "url": raw.url("/"), "headers": {"Content-Length": "9"}})).await;
    assert_eq!(answer["error"]["kind"], "invalid", "{answer}");
    let longer = json!({"do": "wasi-fetch", "url": raw.url("/"), "headers": {"Content-Length": "9"}});
    assert_eq!(result(&host, longer).await["error"]["kind"], "wasi");
    assert!(raw.seen().is_empty(), "{:?}", raw.seen());
}

#[tokio::test]
async fn what_goes_over_the_wire_is_exactly_the_request() {
    let raw = Raw::start().await;
    let host = Setup::default().guest("misbehave", &format!("origins = ['{}']", raw.url(""))).start().await;
    let port = raw.address.port();
    let odd = format!("http://0x7f.1:{port}/a%20b?c=d");
    let request = format!("GET /a%20b?c=d HTTP/1.1\r\nx-one: 1\r\nhost: 127.0.0.1:{port}\r\n\r\n");
    for verb in ["fetch", "wasi-fetch"] {
        let answer = result(&host, json!({"do": verb, "url": odd, "headers": {"X-One": "1"}})).await;
        assert_eq!(answer["ok"]["body"], "ok", "{verb}: {answer}");
    }
    let post = json!({"do": "fetch", "url": raw.url("/p"), "method": "POST", "body": "GET /evil HTTP/1.1\r\n"});
    assert_eq!(result(&host, post).await["ok"]["status"], 200);
    let body = "GET /evil HTTP/1.1\r\n";
    let sent = format!("POST /p HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let nothing = json!({"do": "fetch", "url": raw.url("/n"), "method": "PUT"});
    assert_eq!(result(&host, nothing).await["ok"]["status"], 200);
    let empty = format!("PUT /n HTTP/1.1\r\ncontent-length: 0\r\nhost: 127.0.0.1:{port}\r\n\r\n");
    assert_eq!(raw.seen(), [format!("{request}{request}{sent}{empty}")]);
}

#[tokio::test]
async fn a_denial_names_the_line_to_add() {
    let raw = Raw::start().await;
    let host = Setup::default().guest("misbehave", &format!("origins = ['{}']", raw.url(""))).start().await;
    let (granted, port) = (raw.url(""), raw.address.port());
    for (url, told) in [
        (format!("https://127.0.0.1:{port}/"), "the scheme differs"),
        ("http://127.0.0.1:9/".to_owned(), "the port differs"),
        (format!("http://localhost:{port}/"), "misbehave.toml"),
    ] {
        for verb in ["fetch-or-retry", "wasi-fetch"] {
            let payload = json!({"steps": [{"do": verb, "url": url}, {"do": "retry", "message": "denied"}]});
            let id = host.misbehave(payload).await;
            let job = host.waiting(&id, "grant-missing").await;
            let why = job["waiting"]["detail"].as_str().unwrap_or_default().to_owned();
            let origin = url.trim_end_matches('/');
            assert!(why.contains(told), "{why}");
            assert!(why.contains(&format!("origins = [\"{granted}\", \"{origin}\"]")), "{why}");
        }
    }
    assert!(raw.seen().is_empty());
}

#[tokio::test]
async fn a_name_with_a_special_address_needs_its_range() {
    // Names below `localhost` that this machine knows: the system's own resolver, with no name server.
    let host = Setup::default().guest("misbehave", "origins = ['http://windlass.localhost:9']").start().await;
    let id = host.misbehave(json!({"do": "fetch-or-retry", "url": "http://windlass.localhost:9/"})).await;
    let job = until("the call has failed", || async {
        let job = host.job(&id).await;
        (!job["attempts"][0]["finished_at"].is_null()).then_some(job)
    })
    .await;
    // Where the machine knows no such name, it is unreachable; never is it called.
    let error = job["attempts"][0]["error"].as_str().unwrap();
    let is_denied = error.contains("allow_cidrs = [\"") && error.contains("windlass.toml");
    assert!(is_denied || error.contains("cannot be resolved"), "{error}");
}

#[tokio::test]
async fn proxies_of_the_environment_are_nobodys_business() {
    let (raw, proxy) = (Raw::start().await, Raw::start().await);
    let mut setup = Setup::default().guest("misbehave", &format!("origins = ['{}']", raw.url("")));
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        setup = setup.env(name, &proxy.url(""));
    }
    let host = setup.env("NO_PROXY", "").start().await;
    for verb in ["fetch", "wasi-fetch"] {
        assert_eq!(result(&host, json!({"do": verb, "url": raw.url("/")})).await["ok"]["status"], 200);
    }
    assert!(proxy.seen().is_empty() && raw.seen().len() == 1);
}

#[tokio::test]
async fn calls_go_through_the_proxy_that_is_configured_and_around_it_where_a_plugin_says_so() {
    let (downstream, proxy) = (Downstream::always(200).await, Raw::start().await);
    let origins = format!("origins = ['{}']", downstream.origin());
    let host = Setup::default()
        .config(&format!("[network]\nproxy = '{}'\nproxy_credentials = {{ env = 'PROXY_LOGIN' }}", proxy.url("")))
        .env("PROXY_LOGIN", "user:s3cret-of-the-proxy")
        .guest("misbehave", &origins)
        .plugin("direct", guests::component("misbehave"), &format!("{origins}\nproxy = 'none'"))
        .start()
        .await;
    let direct = json!({"plugin": "direct", "payload": {"do": "fetch", "url": downstream.url("/direct")}});
    assert_eq!(host.ended(&host.enqueue(direct).await).await["result"]["ok"]["status"], 200);
    // This proxy says 200 to whatever it hears, so that the request is its own to answer.
    let through = result(&host, json!({"do": "fetch", "url": downstream.url("/through")})).await;
    assert_eq!(through["ok"]["body"], "ok", "{through}");
    let seen = proxy.seen().concat();
    let tunnel = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\nProxy-Authorization: Basic ", downstream.address);
    assert!(seen.starts_with(&tunnel) && seen.contains("GET /through HTTP/1.1\r\n"), "{seen}");
    assert_eq!(downstream.seen().len(), 1);
    assert!(!host.log().contains("s3cret-of-the-proxy"));
}

#[tokio::test]
async fn connections_are_shared_with_no_other_plugin_and_end_with_the_grants_they_were_made_under() {
    let raw = Raw::start().await;
    let origins = format!("origins = ['{}']", raw.url(""));
    let host = Setup::default()
        .guest("misbehave", &origins)
        .plugin("other", guests::component("misbehave"), &origins)
        .start()
        .await;
    let fetch = json!({"do": "fetch", "url": raw.url("/")});
    let call = async |plugin: &str| {
        let job = json!({"plugin": plugin, "payload": fetch});
        host.ended(&host.enqueue(job).await).await["result"]["ok"]["status"].clone()
    };
    for plugin in ["misbehave", "misbehave", "other", "other"] {
        assert_eq!(call(plugin).await, 200);
    }
    assert_eq!(raw.seen().len(), 2, "one connection a plugin");
    for (number, (more, connections)) in
        [("concurrency = 9", 2), ("config = { a = '1' }", 2), ("tls = { only_ca = false, ca = 'ca.pem' }", 3), ("", 4)]
            .into_iter()
            .enumerate()
    {
        std::fs::write(host.dir().join("ca.pem"), rcgen_ca()).unwrap();
        let file = format!("{origins}\n{more}\n[limits]\ndeadline = '{}s'\n", 10 + number);
        std::fs::write(host.plugins().join("misbehave.toml"), file).unwrap();
        until("the file is taken up", || async {
            let plugin = host.get("/v1/plugins/misbehave").await.to_string();
            plugin.contains(&format!("{}s", 10 + number)).then_some(())
        })
        .await;
        assert_eq!(call("misbehave").await, 200);
        assert_eq!(raw.seen().len(), connections, "after {more:?}");
    }
}

fn rcgen_ca() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().pem()
}

#[tokio::test]
async fn a_redirect_is_told_and_not_followed() {
    let elsewhere = Downstream::always(200).await;
    let target = elsewhere.url("/");
    let downstream = Downstream::start(move |_, _| {
        let target = target.clone();
        async move { Reply::status(307).header("location", &target) }
    })
    .await;
    let file = format!("origins = ['{}', '{}']", downstream.origin(), elsewhere.origin());
    let host = Setup::default().guest("misbehave", &file).start().await;
    for verb in ["fetch", "wasi-fetch"] {
        assert_eq!(result(&host, json!({"do": verb, "url": downstream.url("/")})).await["ok"]["status"], 307);
    }
    assert!(elsewhere.seen().is_empty());
}
