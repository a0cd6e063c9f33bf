//! Bytes on their way out that keep something until they are gone.

use bytes::Bytes;

struct Kept<T> {
    bytes: Bytes,
    _with: T,
}

impl<T> AsRef<[u8]> for Kept<T> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The same bytes; `with` is dropped when nobody holds them any more.
pub(super) fn keeping<T: Send + 'static>(bytes: Bytes, with: T) -> Bytes {
    Bytes::from_owner(Kept { bytes, _with: with })
}
