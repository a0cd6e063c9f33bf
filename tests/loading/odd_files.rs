//! A folder with anything in it: refused with a reason on show, waited for by nobody, harmful to nothing that serves.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::common::{Host, Setup, Value, guests, json, until};
use crate::support::{pipe, plugin_when, put, ready, refused};
use reqwest::Method;

/// Makes something that is no component.
type Making = fn(&Path);

async fn serves(host: &Host) {
    let job = host.ended(&host.enqueue(json!({"plugin": "echo", "payload": 1})).await).await;
    assert_eq!(job["state"], "completed", "{job:#}");
}

#[tokio::test]
async fn whatever_lies_in_the_folder_is_refused_with_a_reason() {
    let host = Setup::default().guest("echo", "").start().await;
    let plugins = host.plugins();
    let outside = host.dir().join("outside.wasm");
    fs::write(&outside, guests::component("echo")).unwrap();
    pipe(&plugins.join("pipe.wasm"));
    fs::create_dir(plugins.join("folder.wasm")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(plugins.join("socket.wasm")).unwrap();
    symlink("/dev/zero", plugins.join("zero.wasm")).unwrap();
    symlink("/proc/self/mem", plugins.join("proc.wasm")).unwrap();
    symlink("../outside.wasm", plugins.join("away.wasm")).unwrap();
    symlink("nowhere", plugins.join("nowhere.wasm")).unwrap();
    symlink("ring.wasm", plugins.join("ring.wasm")).unwrap();
    fs::hard_link(&outside, plugins.join("hard.wasm")).unwrap();
    File::create(plugins.join("huge.wasm")).unwrap().set_len(1 << 40).unwrap();
    fs::write(plugins.join("half.wasm"), &guests::component("echo")[..5_000]).unwrap();
    fs::write(plugins.join("empty.wasm"), b"").unwrap();
    fs::write(plugins.join("native.wasm"), b"\x7fELF and so on").unwrap();
    put(&host, "badfile.wasm", &guests::component("echo"));
    pipe(&plugins.join("badfile.toml"));
    for (name, told) in [
        ("pipe", "named pipe"),
        ("folder", "a folder"),
        ("socket", "a socket"),
        ("zero", "out of the plugins folder"),
        ("proc", "out of the plugins folder"),
        ("away", "out of the plugins folder"),
        ("nowhere", "leads nowhere"),
        ("ring", "leads nowhere"),
        ("hard", "hard links"),
        ("huge", "larger than 64MiB"),
        ("half", "cut short"),
        ("empty", "empty"),
        ("native", "precompiled code"),
        ("badfile", "named pipe"),
    ] {
        let plugin = refused(&host, name, told).await;
        assert_eq!(plugin["state"], "broken", "{plugin:#}");
    }
    serves(&host).await;
    let list = String::from_utf8(host.command(&["plugin", "list"]).output().unwrap().stdout).unwrap();
    assert!(list.contains("hard links") && list.contains("named pipe"), "{list}");
}

#[tokio::test]
async fn a_file_that_may_not_be_read_says_so() {
    let host = Setup::default().guest("echo", "").start().await;
    if rustix::process::geteuid().is_root() {
        // Nothing is unreadable to it.
        return;
    }
    put(&host, "shut.wasm", &guests::component("echo"));
    let shut = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    fs::set_permissions(host.plugins().join("shut.wasm"), shut).unwrap();
    refused(&host, "shut", "cannot be read").await;
    serves(&host).await;
}

#[tokio::test]
async fn files_with_odd_names_are_on_show_and_cannot_forge_a_line() {
    let host = Setup::default().guest("echo", "").start().await;
    let long = format!("{}.wasm", "l".repeat(100));
    for name in
        [&b"Upper.wasm"[..], b"code.cwasm", b"bad\xff.wasm", b"\x1b[31m\nforged.wasm", b"a b.toml", long.as_bytes()]
    {
        fs::write(host.plugins().join(OsStr::from_bytes(name)), guests::component("echo")).unwrap();
    }
    let list = until("all are on show", || async {
        let list = host.get("/v1/plugins").await;
        (list["ignored"].as_array().unwrap().len() == 6).then_some(list)
    })
    .await;
    let reason = |file: &str| {
        let files = list["ignored"].as_array().unwrap();
        let found = files.iter().find(|ignored| ignored["file"] == file);
        found.unwrap_or_else(|| panic!("{file} is not in {list:#}"))["reason"].as_str().unwrap().to_owned()
    };
    assert!(reason("Upper.wasm").contains("a-z") && reason("code.cwasm").contains("precompiled"));
    assert!(reason("forged.wasm").contains("a-z") && reason("bad\u{fffd}.wasm").contains("a-z"));
    assert_eq!(list["plugins"].as_array().unwrap().len(), 1);
    let shown = String::from_utf8(host.command(&["plugin", "list"]).output().unwrap().stdout).unwrap();
    assert!(shown.contains("ignored: code.cwasm: precompiled code is never loaded"), "{shown}");
    assert!(!shown.contains('\u{1b}') && !host.log().contains('\u{1b}') && !host.log().contains("\\u001b"));
    assert_eq!(host.log().matches("Upper.wasm").count(), 1, "the log is told once");
}

#[tokio::test]
async fn nothing_that_takes_the_place_of_a_component_takes_the_place_of_its_revision() {
    let host = Setup::default().guest("echo", "").start().await;
    let good = ready(&host, "echo").await["revision"].clone();
    let file = host.plugins().join("echo.wasm");
    let replace: [(&str, Making); 4] = [
        ("named pipe", |file| pipe(file)),
        ("a folder", |file| fs::create_dir(file).unwrap()),
        ("out of the plugins folder", |file| symlink("/dev/zero", file).unwrap()),
        ("larger than", |file| File::create(file).unwrap().set_len(1 << 40).unwrap()),
    ];
    for (told, replace) in replace {
        let beside = host.plugins().join(".beside");
        replace(&beside);
        // In one step, as a folder cannot be put over a file.
        rustix::fs::renameat_with(rustix::fs::CWD, &beside, rustix::fs::CWD, &file, rustix::fs::RenameFlags::EXCHANGE)
            .unwrap();
        let plugin = refused(&host, "echo", told).await;
        assert_eq!((&plugin["state"], &plugin["revision"]), (&json!("ready"), &good), "{plugin:#}");
        serves(&host).await;
        rustix::fs::renameat_with(rustix::fs::CWD, &beside, rustix::fs::CWD, &file, rustix::fs::RenameFlags::EXCHANGE)
            .unwrap();
        ready(&host, "echo").await;
        if beside.is_dir() && !beside.is_symlink() { fs::remove_dir(&beside) } else { fs::remove_file(&beside) }
            .unwrap();
    }
}

#[tokio::test]
async fn a_file_that_keeps_changing_is_told_and_taken_up_when_it_has_ended() {
    let host = Setup::default().guest("echo", "").start().await;
    let path = host.plugins().join("restless.wasm");
    let writer = async {
        let mut file = File::create(&path).unwrap();
        loop {
            file.write_all(b"more").unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        plugin = refused(&host, "restless", "restless.wasm is still being written") => {
            assert_eq!(plugin["state"], "broken", "{plugin:#}");
        }
        () = writer => {}
    }
    put(&host, "restless.wasm", &guests::component("echo"));
    ready(&host, "restless").await;
}

#[tokio::test]
async fn thousands_of_files_hold_nobody_up() {
    let host = Setup::default().guest("echo", "").start().await;
    for n in 0..1_500 {
        fs::write(host.plugins().join(format!("junk-{n}.wasm")), format!("junk {n}")).unwrap();
        fs::write(host.plugins().join(format!("Junk-{n}.wasm")), b"junk").unwrap();
    }
    put(&host, "late.wasm", &guests::variant(&guests::component("echo"), "late"));
    serves(&host).await;
    ready(&host, "late").await;
    let list = until("all are told", || async {
        let list = host.get("/v1/plugins").await;
        let is_broken = |plugin: &&Value| plugin["state"] == "broken";
        (list["plugins"].as_array().unwrap().iter().filter(is_broken).count() == 1_500).then_some(list)
    })
    .await;
    assert_eq!((list["ignored"].as_array().unwrap().len(), &list["more_ignored"]), (100, &json!(1_400)));
    for n in 0..1_500 {
        fs::remove_file(host.plugins().join(format!("junk-{n}.wasm"))).unwrap();
    }
    until("all are forgotten", || async {
        (host.get("/v1/plugins").await["plugins"].as_array().unwrap().len() == 2).then_some(())
    })
    .await;
    plugin_when(&host, "echo", "it serves all the while", |plugin| plugin["state"] == "ready").await;
    assert_eq!(host.ask(Method::GET, "/readyz", None).await.status(), 200);
}
