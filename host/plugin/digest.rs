//! The sha256 by which components and compiled code are known.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use ring::digest::{Context, SHA256, digest};

use crate::job::text::hex;

/// How much of a file is read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// That of these bytes, in hex: the name of a revision, where they are a component.
#[must_use]
pub fn of(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// That of a file from its beginning, wherever its cursor stands, and how many bytes it was made of. Each part of it is
/// shown to `seen`. What grows while it is read is read to a little beyond `most`.
pub(super) fn of_file(file: &File, most: u64, mut seen: impl FnMut(&[u8])) -> io::Result<(String, u64)> {
    let (mut digest, mut length) = (Context::new(&SHA256), 0);
    let mut chunk = vec![0; CHUNK_BYTES];
    while length <= most {
        let read = file.read_at(&mut chunk, length)?;
        if read == 0 {
            break;
        }
        digest.update(&chunk[..read]);
        seen(&chunk[..read]);
        length += read as u64;
    }
    Ok((hex(digest.finish().as_ref()), length))
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, SeekFrom, Write as _};

    use super::*;

    #[test]
    fn it_is_the_digest_that_sha256sum_prints() {
        assert_eq!(of(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_file_has_the_digest_of_its_bytes() {
        let bytes: Vec<u8> = (0..CHUNK_BYTES * 2 + 17).map(|n| n as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file.seek(SeekFrom::Start(5)).unwrap();
        let mut seen = Vec::new();
        let known = of_file(&file, u64::MAX, |part| seen.extend_from_slice(part)).unwrap();
        assert_eq!(known, (of(&bytes), bytes.len() as u64));
        assert_eq!(seen, bytes);
        let (_, length) = of_file(&file, 10, |_| {}).unwrap();
        assert_eq!(length, CHUNK_BYTES as u64, "no further than that");
    }
}
