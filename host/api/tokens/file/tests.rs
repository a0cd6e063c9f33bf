//! The file of tokens, in folders of its own.

use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::super::{Minted, book};
use super::*;

fn minted(n: u8) -> Minted {
    Minted::from_random(&[n; 38])
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn tokens_are_added_and_removed_and_the_file_stays() {
    let folder = TempDir::new().unwrap();
    let file = TokenFile::in_folder(&folder.path().join("new/data"));
    assert_eq!(file.read().unwrap(), None);
    let first = book::token(&minted(1), &["enqueue:erp", "read"], Some(UnixMs(5_000)));
    let second = book::token(&minted(2), &["admin"], None);
    file.add(first.clone()).unwrap();
    file.add(second.clone()).unwrap();
    assert_eq!(file.read().unwrap(), Some(vec![first.clone(), second.clone()]));
    assert_eq!(mode(file.path()), 0o600);
    let text = std::fs::read_to_string(file.path()).unwrap();
    assert!(!text.contains(&minted(1).text[16..]), "a digest only: {text}");
    assert_eq!(file.remove(&first.id).unwrap(), first);
    assert!(matches!(file.remove(&first.id), Err(TokenFileError::Unknown { .. })));
    file.remove(&second.id).unwrap();
    assert_eq!(file.read().unwrap(), Some(vec![]), "none is left, and the file says so");
}

#[test]
fn a_file_that_others_may_read_is_refused() {
    let folder = TempDir::new().unwrap();
    let file = TokenFile::in_folder(folder.path());
    file.add(book::token(&minted(1), &["read"], None)).unwrap();
    for mode in [0o644, 0o640, 0o604, 0o660, 0o700] {
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let error = file.read().unwrap_err().to_string();
        assert!(error.contains("tokens.toml") && error.contains("chmod 600"), "{error}");
        assert!(file.add(book::token(&minted(2), &["read"], None)).is_err(), "nor is it written");
    }
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(file.read().unwrap().map(|tokens| tokens.len()), Some(1));
}

#[test]
fn a_damaged_file_is_refused_in_one_line_without_its_content() {
    let folder = TempDir::new().unwrap();
    let file = TokenFile::in_folder(folder.path());
    let entry = |id: &str, digest: &str| {
        format!(
            "[[token]]\nid = \"{id}\"\nname = \"x\"\nscopes = [\"read\"]\ncreated = \"2026-01-01T00:00:00Z\"\nsha256 = \"{digest}\"\n"
        )
    };
    let (id, digest) = ("0123456789ab", "ab".repeat(32));
    let sound = entry(id, &digest);
    for text in [
        String::new(),
        "version = 2\n".to_owned(),
        "version = 1\nextra = 1\n".to_owned(),
        format!("version = 1\n{sound}{sound}"),
        format!("version = 1\n{}", entry("short", &digest)),
        format!("version = 1\n{}", entry(id, &digest[1..])),
        format!("version = 1\n{}", sound.replace("read", "reed")),
        format!("version = 1\n{}", &sound[..sound.len() - 3]),
    ] {
        std::fs::write(file.path(), &text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
        let error = file.read().unwrap_err().to_string();
        assert!(error.contains("is damaged") && !error.contains('\n') && !error.contains("abab"), "{text:?}: {error}");
    }
    std::fs::write(file.path(), format!("version = 1\n{sound}")).unwrap();
    assert_eq!(file.read().unwrap().unwrap()[0].id, id);
}

#[test]
fn a_link_is_not_followed() {
    let folder = TempDir::new().unwrap();
    let elsewhere = TokenFile { path: folder.path().join("elsewhere.toml") };
    elsewhere.write(vec![]).unwrap();
    let file = TokenFile::in_folder(folder.path());
    std::os::unix::fs::symlink(elsewhere.path(), file.path()).unwrap();
    assert!(matches!(file.read(), Err(TokenFileError::Io { .. })));
}

#[test]
fn commands_at_once_lose_nothing() {
    let folder = TempDir::new().unwrap();
    let file = TokenFile::in_folder(folder.path());
    std::thread::scope(|scope| {
        for n in 0..8 {
            let file = &file;
            scope.spawn(move || file.add(book::token(&minted(n), &["read"], None)).unwrap());
        }
    });
    assert_eq!(file.read().unwrap().map(|tokens| tokens.len()), Some(8));
}

/// User and group.
fn owner(path: &Path) -> (u32, u32) {
    let meta = std::fs::metadata(path).unwrap();
    (meta.uid(), meta.gid())
}

#[test]
fn what_root_writes_is_left_to_whom_it_belonged() {
    let folder = TempDir::new().unwrap();
    let file = TokenFile::in_folder(folder.path());
    let lock = file.path().with_extension("toml.lock");
    let own = owner(folder.path());
    // Only root makes files for others. Whoever runs this, the file is theirs who own the folder.
    let is_root = rustix::process::geteuid().is_root();
    let host = if is_root { (54_321, 54_322) } else { own };
    std::os::unix::fs::chown(folder.path(), Some(host.0), Some(host.1)).unwrap();
    file.add(book::token(&minted(1), &["read"], None)).unwrap();
    assert_eq!((owner(file.path()), owner(&lock)), (host, host));
    let other = if is_root { (54_323, 54_324) } else { own };
    std::os::unix::fs::chown(file.path(), Some(other.0), Some(other.1)).unwrap();
    file.add(book::token(&minted(2), &["read"], None)).unwrap();
    assert_eq!((owner(file.path()), mode(file.path())), (other, 0o600));
    file.remove(&minted(1).id).unwrap();
    assert_eq!((owner(file.path()), file.read().unwrap().map(|tokens| tokens.len())), (other, Some(1)));
}

#[test]
fn who_cannot_leave_a_file_to_its_user_is_told_whose_it_is() {
    let file = TokenFile::in_folder(Path::new("data"));
    let why = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    let told = file.refused("write", std::io::Error::other(NotGiven { uid: 54_321, why: why() })).to_string();
    assert!(told.contains("data/tokens.toml") && told.contains("run the command as the user 54321"), "{told}");
    assert!(matches!(file.refused("write", why()), TokenFileError::Io { .. }));
}

#[test]
fn a_lock_that_somebody_made_of_another_file_is_not_given_away() {
    let (folder, elsewhere) = (TempDir::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let file = TokenFile::in_folder(folder.path());
    let before = owner(elsewhere.path());
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(folder.path(), Some(54_321), Some(54_322)).unwrap();
    }
    std::os::unix::fs::symlink(elsewhere.path(), file.path().with_extension("toml.lock")).unwrap();
    _ = file.add(book::token(&minted(1), &["read"], None));
    assert_eq!(owner(elsewhere.path()), before);
}

#[test]
fn nothing_is_written_that_could_not_be_read_again() {
    let folder = TempDir::new().unwrap();
    let file = TokenFile::in_folder(folder.path());
    file.add(book::token(&minted(1), &["read"], None)).unwrap();
    let long = Token { name: "x".repeat(16 << 20), ..book::token(&minted(2), &["read"], None) };
    let error = file.add(long).unwrap_err();
    assert!(matches!(error, TokenFileError::TooLarge { .. }) && error.to_string().contains("16 MiB"), "{error}");
    assert_eq!(file.read().unwrap().map(|tokens| tokens.len()), Some(1));
}
