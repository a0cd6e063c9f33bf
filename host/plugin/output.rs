//! Standard output and standard error of a guest, kept line by line in the ledger.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::job::LogLevel;
use crate::lock::lock;

use super::attempt::Attempt;
use super::ledger::LINE_BYTES_MAX;

/// How many bytes a guest may hand over at once.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// One of the two streams. Its clones share the line that is being written.
#[derive(Clone)]
pub(super) struct Output {
    attempt: Arc<ArcSwap<Attempt>>,
    level: LogLevel,
    line: Arc<Mutex<Vec<u8>>>,
}

impl Output {
    /// The stream of that level.
    pub(super) fn new(attempt: Arc<Attempt>, level: LogLevel) -> Self {
        Self { attempt: Arc::new(ArcSwap::new(attempt)), level, line: Arc::default() }
    }

    /// Writes for another attempt from now on. The guest keeps its handle of the stream.
    pub(super) fn serve(&self, attempt: Arc<Attempt>) {
        self.attempt.store(attempt);
    }

    /// Ends a line that has begun.
    pub(super) fn end(&self) {
        let mut line = lock(&self.line);
        if !line.is_empty() {
            self.end_line(&mut line);
        }
    }

    fn accept(&self, bytes: &[u8]) {
        self.attempt.load().passed(bytes.len() as u64);
        let mut line = lock(&self.line);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                self.end_line(&mut line);
            } else if line.len() >= LINE_BYTES_MAX {
                // What may be the beginning of a secret waits for the rest of it.
                let whole_bytes = line.len() - self.attempt.load().grants.secrets.open_bytes(&line);
                let open = line.split_off(whole_bytes);
                if !line.is_empty() {
                    self.end_line(&mut line);
                }
                *line = open;
            }
        }
    }

    fn end_line(&self, line: &mut Vec<u8>) {
        let text = String::from_utf8_lossy(line);
        self.attempt.load().log(self.level, text.trim_end_matches(['\n', '\r']));
        line.clear();
    }
}

/// The last line may have no end.
impl Drop for Output {
    fn drop(&mut self) {
        let Some(line) = Arc::get_mut(&mut self.line) else { return };
        let mut line = std::mem::take(line.get_mut().unwrap_or_else(PoisonError::into_inner));
        if !line.is_empty() {
            self.end_line(&mut line);
        }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.accept(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.accept(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
