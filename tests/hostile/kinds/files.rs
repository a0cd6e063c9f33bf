//! What may lie in the folder and is nothing to load.

use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::Attack::File;
use super::Expect::{Ignored, Refused};
use super::Kind;

const FOLDER: &str = "only plain files of the folder are read";
/// Each is looked at only once it was at rest.
const SLOW: usize = 5;

fn pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a new pipe");
}

fn beside(path: &Path, name: &str) -> std::path::PathBuf {
    path.with_file_name(name)
}

pub fn kinds() -> Vec<Kind> {
    let kinds = vec![
        Kind::new("pipe", "a named pipe, which would be waited for", File(pipe), Refused("named pipe"), FOLDER),
        Kind::new(
            "folder",
            "a folder",
            File(|path| std::fs::create_dir(path).expect("a new folder")),
            Refused("folder"),
            FOLDER,
        ),
        Kind::new(
            "socket",
            "a socket",
            File(|path| drop(std::os::unix::net::UnixListener::bind(path).expect("a new socket"))),
            Refused("socket"),
            FOLDER,
        ),
        Kind::new(
            "device",
            "a link to a device without an end",
            File(|path| symlink("/dev/zero", path).expect("a new link")),
            Refused("out of the plugins folder"),
            FOLDER,
        ),
        Kind::new(
            "link-out",
            "a link to a file outside",
            File(|path| symlink("/etc/passwd", path).expect("a new link")),
            Refused("out of the plugins folder"),
            FOLDER,
        ),
        Kind::new(
            "link-loop",
            "a link to itself",
            File(|path| symlink(path, path).expect("a new link")),
            Refused("leads nowhere"),
            FOLDER,
        ),
        Kind::new(
            "too-large",
            "a file of a terabyte",
            File(|path| {
                std::fs::File::create(path).and_then(|file| file.set_len(1 << 40)).expect("a new file");
            }),
            Refused("larger"),
            "64 MiB",
        ),
        Kind::new(
            "native-code",
            "code that was compiled elsewhere",
            File(|path| std::fs::write(beside(path, "native-code.cwasm"), b"\x7fELF").expect("a new file")),
            Ignored,
            "only `NAME.wasm` is read",
        ),
        Kind::new(
            "odd-name",
            "a name with an escape sequence",
            File(|path| std::fs::write(beside(path, "x\x1b[31m\n.wasm"), b"\0asm").expect("a new file")),
            Ignored,
            "names are of `a-z`, `0-9` and `-`",
        ),
    ];
    kinds.into_iter().map(|kind| kind.at_most(SLOW)).collect()
}
