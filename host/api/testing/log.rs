//! What is logged, for tests to look at.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::subscriber::DefaultGuard;

/// What this thread logs, until it is dropped.
pub(in super::super) struct Log {
    kept: Arc<Mutex<Vec<u8>>>,
    _logged: DefaultGuard,
}

impl Log {
    /// From here on.
    pub(in super::super) fn kept() -> Self {
        let kept = Arc::<Mutex<Vec<u8>>>::default();
        let writer = Writer(kept.clone());
        let lines = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
        Self { kept, _logged: tracing::subscriber::set_default(lines) }
    }

    /// The lines so far.
    pub(in super::super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept.lock().unwrap()).into_owned()
    }
}

#[derive(Clone)]
struct Writer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
