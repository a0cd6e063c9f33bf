//! What the writer leaves behind where it breaks off.

use std::sync::Arc;

use super::Shared;
use crate::store::StoreError;

/// Says that the store takes nothing more, where its writer breaks off: else attempts would go on, and nothing of them would
/// be recorded.
pub(super) struct LastWords(pub(super) Arc<Shared>);

impl Drop for LastWords {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison(&StoreError::Failed("its writer broke off; this is a fault of Windlass".to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::open;
    use super::*;
    use crate::store::Store as _;

    #[test]
    fn a_writer_that_breaks_off_is_told_of() {
        let folder = tempfile::TempDir::new().unwrap();
        let store = open(&folder).unwrap();
        let shared = store.shared.clone();
        let writer = move || {
            let _last_words = LastWords(shared);
            panic!("a fault");
        };
        std::thread::spawn(writer).join().unwrap_err();
        assert!(matches!(store.health(), Err(StoreError::Failed(_))));
    }
}
