//! What is found in a plugins folder, what is read, and what is neither.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use super::*;

fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    (dir, root)
}

fn stamp_of(root: &Path, name: &str) -> Stamp {
    stamp(root, &root.join(format!("{name}.wasm")), Kind::Component).unwrap().unwrap()
}

fn read_named(root: &Path, name: &str) -> Result<Vec<u8>, ReadError> {
    read(root, name, Kind::Component, &stamp_of(root, name))
}

fn pipe(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
}

#[test]
fn only_names_of_plugins_are_found() {
    let (_dir, root) = folder();
    for name in ["a.wasm", "a.toml", "a.wasm.sig", "b-2.toml", "c.wasm.sig", ".c.wasm", "e", "f.txt", "g.sig"] {
        fs::write(root.join(name), b"x").unwrap();
    }
    let scan = scan(&root).unwrap();
    assert_eq!(scan.found.keys().collect::<Vec<_>>(), ["a", "b-2", "c"]);
    assert!(scan.ignored.is_empty());
    let a = &scan.found["a"];
    assert!(a.component.is_some() && a.grants.is_some() && a.signature.is_some());
    assert!(scan.found["c"].is_nobody() && !scan.found["b-2"].is_nobody());
}

#[test]
fn what_is_ignored_is_told_with_the_reason_and_with_a_clean_name() {
    let (_dir, root) = folder();
    let long = format!("{}.wasm", "l".repeat(64));
    let names: [&[u8]; 8] = [
        b"B.wasm",
        b"-g.wasm",
        b"d.cwasm",
        b"up.WASM",
        b"a\x1b[31m\nb.wasm",
        b"bad\xff.wasm",
        b"x y.toml",
        long.as_bytes(),
    ];
    for name in names {
        fs::write(root.join(std::ffi::OsStr::from_bytes(name)), b"x").unwrap();
    }
    let scan = scan(&root).unwrap();
    assert!(scan.found.is_empty());
    assert_eq!(
        scan.ignored.keys().collect::<Vec<_>>(),
        ["-g.wasm", "B.wasm", "a b.wasm", "bad\u{fffd}.wasm", "d.cwasm", &long, "up.WASM", "x y.toml"]
    );
    assert!(scan.ignored["d.cwasm"].contains("precompiled") && scan.ignored["B.wasm"].contains("a-z"));
    for n in 0..IGNORED_MAX {
        fs::write(root.join(format!("_{n}.wasm")), b"x").unwrap();
    }
    let scan = super::scan(&root).unwrap();
    assert_eq!((scan.ignored.len(), scan.more_ignored), (IGNORED_MAX, 8));
}

#[test]
fn what_is_no_plain_file_of_its_own_is_refused() {
    let (outside, _) = folder();
    fs::write(outside.path().join("secret"), b"x").unwrap();
    let (_dir, root) = folder();
    pipe(&root.join("pipe.wasm"));
    fs::create_dir(root.join("folder.wasm")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket.wasm")).unwrap();
    symlink("/dev/zero", root.join("device.wasm")).unwrap();
    symlink(outside.path().join("secret"), root.join("away.wasm")).unwrap();
    symlink(root.join("nowhere"), root.join("broken.wasm")).unwrap();
    symlink("loop.wasm", root.join("loop.wasm")).unwrap();
    fs::hard_link(outside.path().join("secret"), root.join("hard.wasm")).unwrap();
    for (name, told) in [
        ("pipe", "named pipe"),
        ("folder", "folder"),
        ("socket", "socket"),
        ("device", "out of the plugins folder"),
        ("away", "out of the plugins folder"),
        ("broken", "leads nowhere"),
        ("loop", "leads nowhere"),
        ("hard", "hard links"),
    ] {
        let error = read_named(&root, name).unwrap_err();
        assert!(error.to_string().contains(told), "{name}: {error}");
    }
}

#[test]
fn what_the_system_does_not_say_is_not_nothing() {
    let (_dir, root) = folder();
    let stamp = |file_name: &str| stamp(&root, &root.join(file_name), Kind::Component);
    assert_eq!(stamp("a.wasm").unwrap(), None);
    // No system call takes that name, so that none says whether the file is there.
    assert!(stamp("a\0.wasm").is_err());
}

#[test]
fn links_within_the_folder_are_followed() {
    let (_dir, root) = folder();
    fs::create_dir(root.join("versions")).unwrap();
    fs::write(root.join("versions/1"), b"one").unwrap();
    symlink("versions/1", root.join("a.wasm")).unwrap();
    assert_eq!(read_named(&root, "a").unwrap(), b"one");
}

#[test]
fn a_file_that_changed_since_it_was_seen_is_not_read() {
    let (_dir, root) = folder();
    let path = root.join("a.wasm");
    fs::write(&path, b"half").unwrap();
    let seen = Seen { dir: root.clone(), name: "a".to_owned(), stamp: stamp_of(&root, "a") };
    assert_eq!(seen.digest().unwrap().digest, digest::of(b"half"));
    fs::write(&path, b"half and more").unwrap();
    assert!(matches!(seen.digest(), Err(ReadError::Unsettled)));
    assert!(seen.read().unwrap_err().summary.contains("still being written"));
    // A pipe in its place does not make us wait either, nor does a link lead us away.
    fs::remove_file(&path).unwrap();
    pipe(&path);
    assert!(matches!(seen.digest(), Err(ReadError::Unsettled)));
    fs::remove_file(&path).unwrap();
    symlink("/etc/passwd", &path).unwrap();
    assert!(matches!(seen.digest(), Err(ReadError::Refused(_))));
}

#[test]
fn a_file_that_is_too_large_is_refused_and_the_same_while_it_grows() {
    let (_dir, root) = folder();
    let file = File::create(root.join("a.wasm")).unwrap();
    file.set_len(COMPONENT_BYTES_MAX + 1).unwrap();
    let before = stamp_of(&root, "a");
    assert!(read_named(&root, "a").unwrap_err().to_string().contains("64MiB"));
    file.set_len(COMPONENT_BYTES_MAX * 3).unwrap();
    assert_eq!(stamp_of(&root, "a"), before);
    file.set_len(5).unwrap();
    assert_eq!(read_named(&root, "a").unwrap().len(), 5);
}

#[test]
fn what_is_put_is_there_and_nothing_else() {
    let (_dir, root) = folder();
    put(&root, "a.wasm", b"one").unwrap();
    put(&root, "a.wasm", b"two").unwrap();
    assert_eq!(read_named(&root, "a").unwrap(), b"two");
    assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
    assert!(remove(&root, "a.wasm").unwrap());
    assert!(!remove(&root, "a.wasm").unwrap());
}
