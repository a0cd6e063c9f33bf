//! Pins and signatures: by file, over HTTP, and by the commands that make and check them.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{Host, Setup, Value, guests, json, until};
use crate::support::{put, ready, refused};
use reqwest::StatusCode;
use windlass::plugin::{Signature, SigningKey, component_digest as digest};

fn key() -> SigningKey {
    SigningKey::generate().unwrap().0
}

fn signed(key: &SigningKey, name: &str, component: &[u8]) -> Vec<u8> {
    format!("{}\n", key.sign(name, &digest(component))).into_bytes()
}

async fn put_over_http(host: &Host, name: &str, component: &[u8], signature: Option<Signature>) -> (StatusCode, Value) {
    let mut request = host.client.put(format!("{}/v1/plugins/{name}", host.base)).body(component.to_vec());
    if let Some(signature) = signature {
        request = request.header("Windlass-Signature", signature.to_string());
    }
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn serves(host: &Host, name: &str, revision: &str) {
    let job = host.ended(&host.enqueue(json!({"plugin": name, "payload": 1})).await).await;
    assert_eq!((&job["state"], &job["attempts"][0]["revision"]), (&json!("completed"), &json!(revision)), "{job:#}");
}

#[tokio::test]
async fn a_pinned_plugin_takes_up_one_component_alone() {
    let (one, two) = (guests::component("echo"), guests::variant(&guests::component("echo"), "two"));
    let host = Setup::default().plugin("echo", one.clone(), &format!("sha256 = \"{}\"", digest(&one))).start().await;
    ready(&host, "echo").await;
    put(&host, "echo.wasm", &two);
    let plugin = refused(&host, "echo", &digest(&two)).await;
    assert!(plugin["load_error"]["help"].as_str().unwrap().contains("echo.toml"), "{plugin:#}");
    serves(&host, "echo", &digest(&one)).await;
    let (status, problem) = put_over_http(&host, "echo", &two, None).await;
    assert_eq!(status, 422, "{problem}");
    // The pin is changed: what was refused comes in without being touched.
    put(&host, "echo.toml", format!("sha256 = \"{}\"", digest(&two)).as_bytes());
    assert_eq!(ready(&host, "echo").await["revision"], digest(&two));
    // A pin that fits nothing leaves what serves, and says so.
    put(&host, "echo.toml", format!("sha256 = \"{}\"", "0".repeat(64)).as_bytes());
    refused(&host, "echo", "takes 0000").await;
    serves(&host, "echo", &digest(&two)).await;
}

#[tokio::test]
async fn a_signature_is_asked_for_and_each_lack_is_told() {
    let (ours, other) = (key(), key());
    let (one, two) = (guests::component("echo"), guests::variant(&guests::component("echo"), "two"));
    let host = Setup::default().start().await;
    put(&host, "echo.toml", format!("signed_by = [\"{}\"]", ours.public()).as_bytes());
    put(&host, "echo.wasm", &one);
    assert_eq!(refused(&host, "echo", "echo.wasm.sig is not there").await["state"], "broken");
    put(&host, "echo.wasm.sig", &signed(&ours, "echo", &one));
    assert_eq!(ready(&host, "echo").await["revision"], digest(&one));
    for (signature, told) in [
        (signed(&other, "echo", &two), "none of the keys"),
        (signed(&ours, "other", &two), "none of the keys"),
        (signed(&ours, "echo", &one), "none of the keys"),
        (b"nonsense".to_vec(), "cannot be read"),
        (Vec::new(), "cannot be read"),
        (vec![b'A'; 10_000], "larger than 4KiB"),
        (b"\xff".to_vec(), "cannot be read"),
    ] {
        put(&host, "echo.wasm.sig", &signature);
        put(&host, "echo.wasm", &two);
        let plugin = refused(&host, "echo", told).await;
        assert!(plugin["load_error"]["help"].as_str().unwrap().contains("windlass plugin sign"), "{plugin:#}");
        serves(&host, "echo", &digest(&one)).await;
        put(&host, "echo.wasm", &one);
        put(&host, "echo.wasm.sig", &signed(&ours, "echo", &one));
        ready(&host, "echo").await;
    }
    // Removing it is a change too, and takes nothing from what serves.
    fs::remove_file(host.plugins().join("echo.wasm.sig")).unwrap();
    refused(&host, "echo", "echo.wasm.sig is not there").await;
    serves(&host, "echo", &digest(&one)).await;
    crate::support::pipe(&host.plugins().join("echo.wasm.sig"));
    refused(&host, "echo", "named pipe").await;
    fs::remove_file(host.plugins().join("echo.wasm.sig")).unwrap();
    put(&host, "echo.wasm.sig", &signed(&ours, "echo", &two));
    put(&host, "echo.wasm", &two);
    assert_eq!(ready(&host, "echo").await["revision"], digest(&two));
}

#[tokio::test]
async fn the_host_asks_a_signature_of_every_plugin_and_no_plugins_file_asks_for_less() {
    let (host_key, own) = (key(), key());
    let component = guests::component("echo");
    let settings = format!("[plugins]\nsigned_by = [\"{}\"]", host_key.public());
    let mut host = Setup::default().config(&settings).guest("echo", "").start().await;
    refused(&host, "echo", "echo.wasm.sig is not there").await;
    // A plugin's own list does not let in whom the host's does not.
    put(&host, "echo.toml", format!("signed_by = [\"{}\"]", own.public()).as_bytes());
    put(&host, "echo.wasm.sig", &signed(&own, "echo", &component));
    refused(&host, "echo", "none of the keys in its file").await;
    put(&host, "echo.toml", b"");
    refused(&host, "echo", "none of the keys that may sign").await;
    put(&host, "echo.wasm.sig", &signed(&host_key, "echo", &component));
    ready(&host, "echo").await;
    // After a restart, with the code in the cache, all of it is asked again.
    host.kill();
    fs::write(host.plugins().join("echo.wasm.sig"), signed(&own, "echo", &component)).unwrap();
    host.start().await;
    refused(&host, "echo", "none of the keys that may sign").await;
}

#[tokio::test]
async fn over_http_a_signature_comes_with_its_component_and_goes_with_it() {
    let (ours, other) = (key(), key());
    let (one, two) = (guests::component("echo"), guests::variant(&guests::component("echo"), "two"));
    let settings = format!("[plugins]\nsigned_by = [\"{}\"]", ours.public());
    let mut host = Setup::default().config(&settings).start().await;
    let signature = |key: &SigningKey, component: &[u8]| Some(key.sign("echo", &digest(component)));
    for (signature, told) in
        [(None, "no signature"), (signature(&other, &one), "none of the keys"), (signature(&ours, &two), "none of")]
    {
        let (status, problem) = put_over_http(&host, "echo", &one, signature).await;
        assert!(status == 422 && problem.to_string().contains(told), "{problem}");
        assert!(!host.plugins().join("echo.wasm").exists());
    }
    for component in [&one, &two] {
        let (status, plugin) = put_over_http(&host, "echo", component, signature(&ours, component)).await;
        assert!(status.is_success(), "{plugin}");
        assert_eq!(plugin["revision"], digest(component));
        let beside = fs::read_to_string(host.plugins().join("echo.wasm.sig")).unwrap();
        assert_eq!(beside, String::from_utf8(signed(&ours, "echo", component)).unwrap());
    }
    let header = host.client.put(format!("{}/v1/plugins/echo", host.base)).header("Windlass-Signature", "xyz");
    assert_eq!(header.body(one).send().await.unwrap().status(), 422);
    host.kill();
    host.start().await;
    ready(&host, "echo").await;
    serves(&host, "echo", &digest(&two)).await;
    assert_eq!(host.ask(reqwest::Method::DELETE, "/v1/plugins/echo", None).await.status(), 204);
    assert!(!host.plugins().join("echo.wasm").exists() && !host.plugins().join("echo.wasm.sig").exists());
}

#[tokio::test]
async fn a_component_without_a_signature_leaves_none_of_an_older_one_beside_it() {
    let ours = key();
    let (one, two) = (guests::component("echo"), guests::variant(&guests::component("echo"), "two"));
    let host = Setup::default().start().await;
    let (status, _) = put_over_http(&host, "echo", &one, Some(ours.sign("echo", &digest(&one)))).await;
    assert_eq!(status, 201);
    assert!(host.plugins().join("echo.wasm.sig").exists(), "it is kept though nobody asks for it");
    let (status, _) = put_over_http(&host, "echo", &two, None).await;
    assert_eq!(status, 200);
    assert!(!host.plugins().join("echo.wasm.sig").exists());
}

#[tokio::test]
async fn a_pin_that_was_just_put_there_holds_for_what_comes_over_http() {
    let host = Setup::default().start().await;
    // No look has found it yet, perhaps.
    fs::write(host.plugins().join("echo.toml"), format!("sha256 = \"{}\"", "0".repeat(64))).unwrap();
    let (status, problem) = put_over_http(&host, "echo", &guests::component("echo"), None).await;
    assert!(status == 422 && problem.to_string().contains("sha256"), "{problem}");
    fs::write(host.plugins().join("other.toml"), "sha256 = \"nonsense\"").unwrap();
    let (status, problem) = put_over_http(&host, "other", &guests::component("echo"), None).await;
    assert!(status == 422 && problem.to_string().contains("other.toml"), "{problem}");
}

#[tokio::test]
async fn a_pin_with_a_mistake_in_its_file_lets_nobody_in() {
    let (one, two) = (guests::component("echo"), guests::variant(&guests::component("echo"), "two"));
    let host = Setup::default().plugin("echo", one.clone(), "").start().await;
    ready(&host, "echo").await;
    fs::write(host.plugins().join("echo.toml"), format!("sha265 = \"{}\"", digest(&one))).unwrap();
    let (status, problem) = put_over_http(&host, "echo", &two, None).await;
    assert!(status == 422 && problem.to_string().contains("sha265"), "{problem}");
    put(&host, "echo.wasm", &two);
    let plugin = refused(&host, "echo", "sha265").await;
    assert_eq!((plugin["state"].as_str(), plugin["revision"].as_str()), (Some("ready"), Some(&*digest(&one))));

    // What waits is taken up as soon as the file is right.
    fs::write(host.plugins().join("echo.toml"), format!("sha256 = \"{}\"", digest(&two))).unwrap();
    until("the pinned one serves", || async {
        (host.get("/v1/plugins/echo").await["revision"] == digest(&two)).then_some(())
    })
    .await;
}

fn run(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_windlass")).args(args).current_dir(dir).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[tokio::test]
async fn keys_are_made_components_signed_and_signatures_checked_by_command() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (code, public, stderr) = run(dir, &["plugin", "keygen", "ours.key"]);
    assert_eq!((code, public.lines().count()), (0, 1), "{stderr}");
    let public = public.trim();
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(dir.join("ours.key")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let (code, _, stderr) = run(dir, &["plugin", "keygen", "ours.key"]);
    assert!(code == 1 && stderr.contains("never written over"), "{stderr}");
    fs::write(dir.join("echo.wasm"), guests::component("echo")).unwrap();
    let (code, _, stderr) = run(dir, &["plugin", "sign", "--key", "ours.key", "echo.wasm"]);
    assert_eq!(code, 0, "{stderr}");
    let (code, stdout, _) = run(dir, &["plugin", "verify", "--signed-by", public, "echo.wasm"]);
    assert!(code == 0 && stdout.contains(public), "{stdout}");
    for args in [
        &["plugin", "verify", "--signed-by", &key().public().to_string(), "echo.wasm"][..],
        &["plugin", "verify", "--signed-by", public, "--name", "other", "echo.wasm"],
    ] {
        let (code, stdout, stderr) = run(dir, args);
        assert!(code == 1 && stdout.is_empty() && stderr.lines().count() == 1, "{stderr}");
    }
    let document = |key: &str| {
        let (code, stdout, stderr) = run(dir, &["plugin", "verify", "--json", "--signed-by", key, "echo.wasm"]);
        assert_eq!(stderr, "");
        (code, serde_json::from_str::<serde_json::Value>(&stdout).unwrap())
    };
    let (code, signed) = document(public);
    assert!(code == 0 && signed["signed"] == true && signed["name"] == "echo", "{signed}");
    assert!(signed["signed_by"] == public && signed["revision"].as_str().unwrap().len() == 64, "{signed}");
    let (code, unsigned) = document(&key().public().to_string());
    assert!(code == 1 && unsigned["signed"] == false && unsigned["signed_by"].is_null(), "{unsigned}");
    // The name is the file's unless it is said, and is never guessed.
    fs::copy(dir.join("echo.wasm"), dir.join("Echo 2.wasm")).unwrap();
    assert_eq!(run(dir, &["plugin", "sign", "--key", "ours.key", "Echo 2.wasm"]).0, 2);
    let (code, stdout, _) =
        run(dir, &["plugin", "sign", "--key", "ours.key", "--name", "shop", "-o", "-", "Echo 2.wasm"]);
    assert!(code == 0 && stdout.trim().parse::<Signature>().is_ok(), "{stdout}");
    assert_eq!(run(dir, &["plugin", "sign", "--key", "echo.wasm.sig", "echo.wasm"]).0, 1);
    assert_eq!(run(dir, &["plugin", "verify", "--signed-by", "xyz", "echo.wasm"]).0, 2);

    // `put` sends what lies beside the component.
    let host = Setup::default().config(&format!("[plugins]\nsigned_by = [\"{public}\"]")).start().await;
    let echo = dir.join("echo.wasm");
    let put = |name: &str, more: &[&str]| {
        let put = [&["plugin", "put", name, echo.to_str().unwrap()], more].concat();
        host.command(&put).output().unwrap().status.code().unwrap()
    };
    assert_eq!(put("echo", &[]), 0);
    assert_eq!(put("shop", &[]), 1, "it is signed under another name");
    fs::write(dir.join("shop.sig"), stdout).unwrap();
    assert_eq!(put("shop", &["--signature", dir.join("shop.sig").to_str().unwrap()]), 0);
    until("it serves", || async { (host.get("/v1/plugins/shop").await["state"] == "ready").then_some(()) }).await;
}

/// What openssl made once: a key, its public half, and a signature by the commands in `docs/signing.md`.
#[test]
fn what_openssl_made_is_right_here() {
    let fixtures = crate::common::guests::root().join("tests/fixtures");
    let read = |name: &str| fs::read_to_string(fixtures.join("signing").join(name)).unwrap();
    let component = fs::read(fixtures.join("plugin-0.1.0/plugin.wasm")).unwrap();
    let public = read("key.pub").trim().parse().unwrap();
    let [signature] = Signature::read_all(&read("order.sig")).unwrap().try_into().unwrap();
    assert_eq!(signature.signer(&[public], "order", &digest(&component)), Some(&public));
    // An Ed25519 signature is the same whoever makes it.
    let key = SigningKey::from_pem(read("key.pem").as_bytes()).unwrap();
    assert_eq!((key.public(), key.sign("order", &digest(&component))), (public, signature));
}

/// The commands of `docs/signing.md`, run as they stand there; where openssl is not installed the fixture above is all.
#[test]
fn openssl_and_windlass_sign_for_each_other() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("openssl is not installed: its commands are not tried");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("erp.wasm"), b"any bytes").unwrap();
    let page = fs::read_to_string(crate::common::guests::root().join("docs/signing.md")).unwrap();
    let commands = page.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let status = Command::new("sh").args(["-euc", commands]).current_dir(dir).status().unwrap();
    assert!(status.success(), "{commands}");
    let public = fs::read_to_string(dir.join("erp.pub")).unwrap();
    let (code, _, stderr) = run(dir, &["plugin", "verify", "--signed-by", public.trim(), "erp.wasm"]);
    assert_eq!(code, 0, "{stderr}");
    // And the other way round: a key of ours, which openssl reads.
    let (_, ours, _) = run(dir, &["plugin", "keygen", "ours.key"]);
    let shown = Command::new("openssl").args(["pkey", "-in", "ours.key", "-pubout"]).current_dir(dir).output().unwrap();
    assert!(String::from_utf8(shown.stdout).unwrap().contains(ours.trim()));
}

#[tokio::test]
async fn nobody_comes_in_over_http_while_the_file_that_may_keep_them_out_is_being_written() {
    let (one, two) = (guests::component("echo"), guests::variant(&guests::component("echo"), "two"));
    let pin = format!("sha256 = \"{}\"\n", digest(&one));
    let host = Setup::default().plugin("echo", one.clone(), &pin).start().await;
    ready(&host, "echo").await;
    // It is written in place, and the pin has not yet come.
    let path = host.plugins().join("echo.toml");
    let file = fs::File::create(&path).unwrap();
    let ends = Arc::new(AtomicBool::new(false));
    let ended = ends.clone();
    let writer = std::thread::spawn(move || {
        for n in 0_u64.. {
            file.write_all_at(format!("# {n:020}\n").as_bytes(), 0).unwrap();
            if ended.load(Ordering::Relaxed) {
                break;
            }
        }
    });
    let (status, problem) = put_over_http(&host, "echo", &two, None).await;
    ends.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("echo.toml"), "{problem}");
    fs::write(&path, &pin).unwrap();
    let (status, problem) = put_over_http(&host, "echo", &two, None).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    serves(&host, "echo", &digest(&one)).await;
}
