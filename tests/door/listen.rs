//! Who may listen where.

use super::support::Place;

#[test]
fn an_address_that_others_reach_needs_tokens_and_tls() {
    let place = Place::new("");
    let refused = |args: &[&str]| {
        let (code, stdout, stderr) = place.run(args);
        assert_eq!((code, stdout.as_str(), stderr.trim().lines().count()), (2, "", 1), "{stderr}");
        stderr
    };
    let serve = ["serve", "--listen", "0.0.0.0:0"];
    let told = refused(&serve);
    assert!(told.contains("server.listen is 0.0.0.0:0") && told.contains("data/tokens.toml"), "{told}");
    assert!(told.contains("windlass token new"), "{told}");

    place.token(&["read"]);
    let told = refused(&serve);
    assert!(told.contains("server.listen") && told.contains("server.tls") && told.contains("windlass.toml"), "{told}");
    assert!(told.contains("server.behind_proxy = true"), "{told}");

    // The other folder has no tokens.
    std::fs::write(place.path("other.toml"), "[server]\nbehind_proxy = true\nlisten = \"[::]:0\"").unwrap();
    let told = refused(&["serve", "--config", "other.toml", "--data", "elsewhere"]);
    assert!(told.contains("elsewhere/tokens.toml"), "{told}");
    let told = refused(&["demo", "--listen", "0.0.0.0:0"]);
    assert!(told.contains("windlass-demo/data/tokens.toml"), "{told}");
}

#[test]
fn tokens_that_cannot_be_used_are_no_reason_to_serve_without() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new("");
    place.token(&["read"]);
    let file = place.path("data/tokens.toml");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    for args in [&["serve"][..], &["token", "list"]] {
        let (code, _, stderr) = place.run(args);
        assert!(code != 0 && stderr.contains("data/tokens.toml has the mode 0644"), "{args:?}: {stderr}");
    }
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let sound = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &sound[..sound.len() / 2]).unwrap();
    let (code, stdout, stderr) = place.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!((code, stdout.as_str(), stderr.trim().lines().count()), (2, "", 1), "{stderr}");
    assert!(stderr.contains("data/tokens.toml is damaged"), "{stderr}");
}

#[tokio::test]
async fn loopback_asks_for_nothing() {
    let place = Place::new("");
    let server = place.serve(&[]).await;
    assert_eq!(server.ask("GET", "/v1/jobs", None, None).await.status, 200);
    assert_eq!(server.ask("GET", "/v1/plugins", Some("whatever"), None).await.status, 200);
    assert!(!place.path("data/tokens.toml").exists());
}

#[tokio::test]
async fn names_are_checked_behind_a_proxy_too() {
    let place = Place::new("[server]\nhosts = [\"windlass.example\"]\nbehind_proxy = true");
    let server = place.serve(&[]).await;
    let get = |target: &str, headers: &str| format!("GET {target} HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
    for (request, status, kind) in [
        (get("/v1/jobs", "host: windlass.example\r\n"), 200, ""),
        (get("/v1/jobs", "host: localhost:7\r\n"), 200, ""),
        (get("http://windlass.example/v1/jobs", "host: windlass.example\r\n"), 200, ""),
        (get("/v1/jobs", "host: evil.example\r\n"), 403, "host-refused"),
        (get("http://evil.example/v1/jobs", "host: evil.example\r\n"), 403, "host-refused"),
        (get("http://evil.example/v1/jobs", "host: windlass.example\r\n"), 400, "header-invalid"),
        (get("/v1/jobs", ""), 400, "header-invalid"),
        (get("/v1/jobs", "host: localhost\r\nhost: localhost\r\n"), 400, "header-invalid"),
        (get("/v1/jobs", "host: user@localhost\r\n"), 400, "header-invalid"),
        (get("/v1/jobs", "host: localhost:99999\r\n"), 400, "header-invalid"),
        (get("http://user:secret@localhost/v1/jobs", "host: localhost\r\n"), 400, "header-invalid"),
        ("GET /v1/jobs HTTP/1.0\r\n\r\n".to_owned(), 403, "host-refused"),
        ("POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\norigin: https://evil.example\r\nconnection: close\r\n\r\n".to_owned(), 403, "origin-refused"),
        ("POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\norigin: https://windlass.example\r\nconnection: close\r\n\r\n".to_owned(), 400, "body-malformed"),
    ] {
        let answer = super::support::Answer::of(&server.raw(&request).await);
        assert_eq!(answer.status, status, "{request:?}: {answer:?}");
        assert!(!answer.head.contains("access-control"), "{answer:?}");
        if status != 200 {
            assert_eq!(answer.problem(), kind, "{request:?}");
        }
    }
}
