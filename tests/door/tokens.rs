//! Tokens: made, listed, revoked, and asked for on every route.

use std::os::unix::fs::PermissionsExt as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::{Answer, Http2, Place, plugin, rest};
use crate::common::{PATIENCE, Value, json, until};

/// Each route of the description, with what fills its path.
fn path_of(route: &str) -> String {
    let id = "01990000-0000-7000-8000-000000000000";
    route.replace("{id}", id).replace("{n}", "1").replace("{name}", "http").replace("{key}", "http")
}

#[tokio::test]
async fn every_route_asks_for_its_scope() {
    let place = Place::new("");
    plugin(&place, "http");
    let scopes = ["read", "operate", "enqueue", "enqueue:http", "admin"];
    let tokens = scopes.map(|scope| place.token(&[scope]));
    let server = place.serve(&[]).await;
    let described: Value = serde_json::from_str(&server.ask("GET", "/openapi.json", None, None).await.body).unwrap();
    let mut asked = 0;
    for (route, operations) in described["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let (method, path) = (method.to_uppercase(), path_of(route));
            let without = server.ask(&method, &path, None, None).await;
            let Some(need) = operation["security"][0]["token"][0].as_str() else {
                assert_eq!(without.status, 200, "{path} is open");
                continue;
            };
            assert_eq!((without.status, without.problem().as_str()), (401, "token-missing"), "{method} {path}");
            assert!(without.head.contains("www-authenticate: bearer realm"), "{without:?}");
            let wrong = server.ask(&method, &path, Some("wl_0_0"), None).await;
            assert_eq!((wrong.status, wrong.problem().as_str()), (401, "token-invalid"));
            assert!(wrong.head.contains("error=\"invalid_token\""), "{wrong:?}");
            for (scope, token) in scopes.iter().zip(&tokens) {
                // The strongest would remove the plugin, and is asked of last.
                if method == "DELETE" && *scope == "admin" {
                    continue;
                }
                let may = *scope == "admin"
                    || *scope == need
                    || (*scope == "operate" && need == "read")
                    || (*scope == "enqueue:http" && need == "enqueue");
                let answer = server.ask(&method, &path, Some(token), None).await;
                if may {
                    assert!(!matches!(answer.status, 401 | 403), "{method} {path} with {scope}: {answer:?}");
                } else {
                    assert_eq!(
                        (answer.status, answer.problem().as_str()),
                        (403, "scope-missing"),
                        "{method} {path} {scope}"
                    );
                    assert!(answer.body.contains(need), "{answer:?} does not name {need}");
                }
                asked += 1;
            }
        }
    }
    assert!(asked > 90, "{asked}");
    for path in ["/nothing", "/v1", "/v1/jobs/"] {
        assert_eq!(server.ask("GET", path, None, None).await.problem(), "token-missing");
        assert_eq!(server.ask("GET", path, Some(&tokens[0]), None).await.problem(), "route-unknown");
    }
}

#[tokio::test]
async fn who_may_not_enqueue_for_a_plugin_learns_nothing_of_it() {
    let place = Place::new("");
    ["http", "other"].iter().for_each(|name| plugin(&place, name));
    let token = place.token(&["enqueue:http"]);
    let server = place.serve(&[]).await;
    let job = |name: &str| json!({"plugin": name, "payload": {"url": "http://127.0.0.1:9/"}}).to_string();
    assert_eq!(server.ask("POST", "/v1/jobs", Some(&token), Some(&job("http"))).await.status, 202);
    let mut told = Vec::new();
    for name in ["other", "nobody"] {
        let answer = server.ask("POST", "/v1/jobs", Some(&token), Some(&job(name))).await;
        assert_eq!((answer.status, answer.problem().as_str()), (403, "scope-missing"));
        let batch = format!("{{\"jobs\":[{},{}]}}", job("http"), job(name));
        let answer = server.ask("POST", "/v1/jobs/batch", Some(&token), Some(&batch)).await;
        assert_eq!((answer.status, answer.problem().as_str()), (403, "scope-missing"));
        told.push(answer.body.replace(name, ""));
    }
    assert_eq!(told[0], told[1]);
    let read = place.token(&["read"]);
    until("the token is taken up", || async {
        let answer = server.ask("GET", "/v1/jobs", Some(&read), None).await;
        (answer.status == 200).then(|| {
            let jobs: Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1, "nothing of the batches was kept");
        })
    })
    .await;
}

#[tokio::test]
async fn tokens_come_and_go_while_the_server_runs() {
    let place = Place::new("");
    let server = place.serve(&[]).await;
    let status = async |token: Option<&str>| server.ask("GET", "/v1/jobs", token, None).await.status;
    assert_eq!(status(None).await, 200, "without a file loopback is open");
    let token = place.token(&["read"]);
    assert!(token.starts_with("wl_") && token.len() == 80, "{token}");
    until("the token is asked for", || async { (status(None).await == 401).then_some(()) }).await;
    assert_eq!(status(Some(&token)).await, 200);

    let (code, stdout, _) = place.run(&["token", "list", "--json"]);
    let listed: Value = serde_json::from_str(&stdout).unwrap();
    let id = listed["tokens"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        (code, &listed["tokens"][0]["scopes"], &listed["tokens"][0]["expired"]),
        (0, &json!(["read"]), &json!(false))
    );
    assert_eq!(place.run(&["token", "revoke", &id]).0, 0);
    until("the token is void", || async { (status(Some(&token)).await == 401).then_some(()) }).await;
    assert_eq!(status(None).await, 401, "the last one is gone, and everything is refused");
    let (code, _, stderr) = place.run(&["token", "revoke", &id]);
    assert!(code == 1 && stderr.contains(&id) && stderr.trim().lines().count() == 1, "{stderr}");

    let file = place.path("data/tokens.toml");
    let fresh = place.token(&["read"]);
    until("the new one is taken up", || async { (status(Some(&fresh)).await == 200).then_some(()) }).await;
    std::fs::write(&file, "version = 1\nnonsense").unwrap();
    until("damage admits nobody", || async {
        let answer = server.ask("GET", "/v1/jobs", Some(&fresh), None).await;
        (answer.status == 503).then(|| assert_eq!(answer.problem(), "tokens-unreadable"))
    })
    .await;
    std::fs::remove_file(&file).unwrap();
    until("nor does a file that is gone", || async {
        let _ = status(None).await;
        (server.logged("is gone") > 0).then_some(())
    })
    .await;
    assert_eq!(status(None).await, 503);
    assert_eq!(server.ask("GET", "/healthz", None, None).await.status, 200);
}

#[tokio::test]
async fn who_is_revoked_while_the_body_is_on_its_way_changes_nothing() {
    const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let place = Place::new("");
    plugin(&place, "http");
    let (reader, token) = (place.token(&["read"]), place.token(&["admin"]));
    let server = place.serve(&[]).await;
    let job = json!({"plugin": "http", "payload": {"url": "http://127.0.0.1:9/"}, "delay": "1h"}).to_string();
    let batch = format!("{{\"jobs\":[{job}]}}");
    let component = std::fs::read(place.path("plugins/http.wasm")).unwrap();
    let mut begun = Vec::new();
    for (method, path, body) in [
        ("POST", "/v1/jobs", job.as_bytes()),
        ("POST", "/v1/jobs/batch", batch.as_bytes()),
        ("PUT", "/v1/plugins/other", &component),
    ] {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
             expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = server.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        // It is let in as soon as the server asks for the body.
        let mut told = [0; GO_ON.len()];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut told)).await.expect("an answer").unwrap();
        assert_eq!(told, GO_ON);
        let (first, others) = body.split_at(1);
        stream.write_all(first).await.unwrap();
        begun.push((stream, path, others));
    }
    assert_eq!(place.run(&["token", "revoke", &token[3..15]]).0, 0);
    until("the token is void", || async {
        (server.ask("GET", "/v1/jobs", Some(&token), None).await.status == 401).then_some(())
    })
    .await;
    for (mut stream, path, others) in begun {
        stream.write_all(others).await.unwrap();
        let answer = Answer::of(&rest(&mut stream).await);
        assert_eq!((answer.status, answer.problem().as_str()), (401, "token-invalid"), "{path}");
        assert!(answer.head.contains("error=\"invalid_token\""), "{answer:?}");
    }
    let jobs = server.ask("GET", "/v1/jobs", Some(&reader), None).await;
    let jobs: Value = serde_json::from_str(&jobs.body).unwrap();
    assert_eq!(jobs["jobs"], json!([]));
    assert_eq!(server.ask("GET", "/v1/plugins/other", Some(&reader), None).await.problem(), "plugin-unknown");
    assert!(!place.path("plugins/other.wasm").exists());
}

#[tokio::test]
async fn what_the_commands_say_and_keep() {
    let place = Place::new("");
    let (code, stdout, stderr) =
        place.run(&["token", "new", "ci", "--scope", "enqueue:http,read", "--expires", "90d", "--data", "kept"]);
    assert_eq!((code, stdout.lines().count()), (0, 1));
    let token = stdout.trim();
    assert!(stderr.contains("ci") && stderr.contains("enqueue:http read") && !stderr.contains(token), "{stderr}");
    let file = place.path("kept/tokens.toml");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(!kept.contains(&token[16..]) && kept.contains("sha256"), "{kept}");
    std::fs::write(place.path("own.toml"), "[store]\nurl = \"sqlite:kept/windlass.db\"").unwrap();
    for args in [&["--data", "kept"], &["--config", "own.toml"]] {
        let (_, stdout, _) = place.run(&[&["token", "list"][..], args].concat());
        assert!(stdout.contains("ci") && stdout.contains("valid"), "{stdout}");
    }
    for (args, told) in [
        (&["token", "new", "x"][..], "--scope"),
        (&["token", "new", "x", "--scope", "write"], "write"),
        (&["token", "new", "x", "--scope", "enqueue:NO"], "NO"),
        (&["token", "new", "", "--scope", "read"], "name"),
        (&["token", "new", "x", "--scope", "read", "--expires", "soon"], "soon"),
        (&["token", "new", "x", "--scope", "read", "--expires", "0s"], "--expires"),
        (&["token", "list", "--config", "missing.toml"], "missing.toml"),
    ] {
        let (code, stdout, stderr) = place.run(args);
        assert!(code == 2 && stdout.is_empty() && stderr.contains(told), "{args:?}: {stderr}");
    }
}

#[tokio::test]
async fn the_client_brings_a_token_and_nobody_writes_it_down() {
    let place = Place::new("");
    plugin(&place, "http");
    let token = place.token(&["admin"]);
    let server = place.serve(&[("WINDLASS_LOG", "trace")]).await;
    let base = format!("http://{}", server.address);
    let run = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = place.command(&[args, &["--server", &base]].concat());
        command.envs(env.iter().copied());
        super::support::said(&command.output().unwrap())
    };
    let (code, _, stderr) = run(&["jobs", "list"], &[]);
    assert!(code == 1 && stderr.contains("WINDLASS_TOKEN") && stderr.contains("--token-file"), "{stderr}");
    std::fs::write(place.path("token"), format!("{token}\n")).unwrap();
    for (args, env) in [
        (&["jobs", "list"][..], &[("WINDLASS_TOKEN", token.as_str())][..]),
        (&["jobs", "list", "--token-file", "token"], &[("WINDLASS_TOKEN", "wl_wrong")]),
        (&["plugin", "list", "--token-file", "token"], &[]),
        (&["downstreams", "--token-file", "token"], &[]),
        (&["enqueue", "http", "--payload", "{\"url\":\"http://127.0.0.1:9/\"}", "--token-file", "token"], &[]),
    ] {
        let (code, _, stderr) = run(args, env);
        assert_eq!(code, 0, "{args:?}: {stderr}");
    }
    let mut client = Http2::connect(&server, None).await;
    let bearer = format!("Bearer {token}");
    let answer = client.get("/v1/jobs", &[("authorization", &bearer)]).await.unwrap();
    assert_eq!(answer.status(), 200, "HTTP/2 without TLS asks for it as well");
    assert_eq!(client.get("/v1/jobs", &[]).await.unwrap().status(), 401);
    let wrong = run(&["jobs", "list"], &[("WINDLASS_TOKEN", "wl_000000000000_secretsecret")]);
    assert_eq!(wrong.0, 1);
    assert!(server.logged("a request was answered") > 5, "the log is full");
    assert!(!server.log().contains(&token[16..]) && !server.log().contains("secretsecret"), "a token was logged");
}
