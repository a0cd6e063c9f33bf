//! Compiled code on disk: what was tampered with is compiled anew, and never run.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::common::{Host, Setup, guests, json};
use crate::support::ready;

const WARNING: &str = "compiled code is not to be trusted";

/// What is done to the cache of a host that has stopped, which holds these two components.
type Tampering = fn(&Host, &[u8], &[u8]);

fn compiled(host: &Host) -> PathBuf {
    host.dir().join("data/compiled")
}

/// The entry of a component: its code, and its seal.
fn entry(host: &Host, component: &[u8]) -> (PathBuf, PathBuf) {
    let digest = windlass::plugin::component_digest(component);
    let files = fs::read_dir(compiled(host)).unwrap().map(|entry| entry.unwrap().path());
    let mut ours: Vec<_> = files.filter(|path| path.to_string_lossy().contains(&digest)).collect();
    ours.sort();
    let [code, seal] = ours.try_into().expect("an entry is of two files");
    assert!(seal.to_string_lossy().ends_with(".cwasm.seal"));
    (code, seal)
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn swap(one: &Path, other: &Path) {
    let beside = one.with_extension("beside");
    fs::rename(one, &beside).unwrap();
    fs::rename(other, one).unwrap();
    fs::rename(&beside, other).unwrap();
}

#[tokio::test]
async fn whatever_is_done_to_the_cache_each_plugin_runs_its_own_code() {
    let mut host = Setup::default().guest("echo", "").guest("misbehave", "").start().await;
    let (echo, misbehave) = (guests::component("echo"), guests::component("misbehave"));
    let tamperings: [(&str, Tampering, usize); 9] = [
        ("nothing", |_, _, _| {}, 0),
        ("a flipped byte", |host, echo, _| flip(&entry(host, echo).0), 1),
        ("no seal", |host, echo, _| fs::remove_file(entry(host, echo).1).unwrap(), 1),
        ("another seal", |host, echo, _| fs::write(entry(host, echo).1, "00".repeat(32) + "\n{}\n").unwrap(), 1),
        (
            "an endless seal",
            |host, echo, _| {
                let seal = entry(host, echo).1;
                fs::remove_file(&seal).unwrap();
                std::os::unix::fs::symlink("/dev/zero", seal).unwrap();
            },
            1,
        ),
        ("swapped code", |host, echo, other| swap(&entry(host, echo).0, &entry(host, other).0), 2),
        (
            "swapped entries",
            |host, echo, other| {
                let (one, other) = (entry(host, echo), entry(host, other));
                swap(&one.0, &other.0);
                swap(&one.1, &other.1);
            },
            2,
        ),
        ("another key", |host, _, _| fs::write(host.dir().join("data/compiled.key"), [7; 32]).unwrap(), 2),
        (
            "a key that others can read",
            |host, _, _| {
                let key = host.dir().join("data/compiled.key");
                fs::set_permissions(key, fs::Permissions::from_mode(0o644)).unwrap();
            },
            2,
        ),
    ];
    for (what, tamper, warnings) in tamperings {
        for name in ["echo", "misbehave"] {
            ready(&host, name).await;
        }
        host.kill();
        tamper(&host, &echo, &misbehave);
        host.start().await;
        for name in ["echo", "misbehave"] {
            ready(&host, name).await;
            let payload = json!({"do": "echo", "n": name});
            let job = host.ended(&host.enqueue(json!({"plugin": name, "payload": payload})).await).await;
            assert_eq!((&job["state"], &job["result"]["n"]), (&json!("completed"), &json!(name)), "{what}: {job:#}");
        }
        let log = host.log();
        assert_eq!(log.matches(WARNING).count(), warnings, "{what}: {log}");
        // Nothing was compiled but what was tampered with.
        assert_eq!(log.matches("a component is being compiled").count(), warnings, "{what}: {log}");
    }
    let mode = |path: &str| fs::metadata(host.dir().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("data/compiled"), mode("data/compiled.key")), (0o700, 0o600));
}

#[tokio::test]
async fn a_cache_that_others_can_write_is_refused() {
    let mut host = Setup::default().guest("echo", "").start().await;
    ready(&host, "echo").await;
    host.kill();
    fs::set_permissions(compiled(&host), fs::Permissions::from_mode(0o770)).unwrap();
    let output = host.command(&["serve", "--listen", "127.0.0.1:0"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && told.contains("can be written by others (mode 770)"), "{told}");
    // Who can only look is shut out without more ado.
    fs::set_permissions(compiled(&host), fs::Permissions::from_mode(0o755)).unwrap();
    host.start().await;
    ready(&host, "echo").await;
    assert_eq!(fs::metadata(compiled(&host)).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_link_in_place_of_the_cache_is_refused() {
    let host = Setup::default().start().await;
    let data = host.dir().join("elsewhere");
    fs::create_dir(&data).unwrap();
    std::os::unix::fs::symlink("/tmp", data.join("compiled")).unwrap();
    let output = host.command(&["serve", "--listen", "127.0.0.1:0", "--data", "elsewhere"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && told.contains("a link: remove it"), "{told}");
}
