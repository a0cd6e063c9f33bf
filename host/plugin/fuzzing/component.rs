//! The bytes of a file that calls itself a plugin.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use tokio::runtime::Runtime as Tokio;

use super::is_clean;
use crate::clock::SystemClock;
use crate::config::{Limits, Network};
use crate::job::units::ByteSize;
use crate::plugin::HostSettings;
use crate::plugin::inspect;
use crate::plugin::revision::{Prepared, Runtime, Source};

/// Larger components are only looked at: a compilation must be a matter of milliseconds here.
const COMPILED_BYTES_MAX: usize = 24 << 10;
/// The longest refusal.
const SUMMARY_BYTES_MAX: usize = 1 << 10;

/// What the plugins of one process share.
struct Bed {
    tokio: Tokio,
    runtime: Arc<Runtime>,
    cache_dir: PathBuf,
}

static BED: LazyLock<Bed> = LazyLock::new(|| {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // As deep as that of the compiler's own process.
        .thread_stack_size(16 << 20)
        .build()
        .expect("a runtime starts");
    let cache_dir = std::env::temp_dir().join(format!("windlass-fuzzing-{}", std::process::id()));
    let limits = Limits { concurrency: 1, memory: ByteSize(4 << 20), ..Limits::default() };
    let settings = HostSettings::new(limits, Network::default(), cache_dir.join("cache"));
    let runtime = {
        let _entered = tokio.enter();
        Runtime::start(&settings, Arc::new(SystemClock::start())).expect("the sandbox starts")
    };
    Bed { tokio, runtime: Arc::new(runtime), cache_dir }
});

/// Looks at a component, and takes it the whole way of a dropped file where it is small: checked, compiled, linked,
/// started, asked what it is.
///
/// # Panics
/// Where a refusal is not one clean line, the compiler panics, or a component is a plugin that was not let in.
pub fn component(input: &[u8]) {
    let shape = match inspect::inspect(input) {
        Ok(shape) => shape,
        Err(refusal) => return is_clean(&refusal.summary, SUMMARY_BYTES_MAX),
    };
    assert!(
        shape.exports.iter().any(|export| export.starts_with("windlass:plugin/handler@")),
        "what exports {:?} was taken for a plugin",
        shape.exports
    );
    if input.len() > COMPILED_BYTES_MAX {
        return;
    }
    let bytes = Bytes::copy_from_slice(input);
    let source = Source::Held(bytes);
    let loaded = source
        .known()
        .and_then(|known| BED.tokio.block_on(async { Prepared::new(&BED.runtime, source, known).await?.load().await }));
    match loaded {
        Ok(revision) => assert_eq!(revision.size_bytes, input.len() as u64),
        Err(refusal) => {
            is_clean(&refusal.summary, SUMMARY_BYTES_MAX);
            let broke_off = ["panicked", "the host could not"].iter().any(|words| refusal.summary.contains(words));
            assert!(!broke_off, "{refusal:?}");
        }
    }
    // Each input is another component: kept code would only fill the disk.
    let _ = std::fs::remove_dir_all(&BED.cache_dir);
}
