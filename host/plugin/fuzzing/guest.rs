//! What a guest writes and says of itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime_wasi::p2::OutputStream as _;

use super::is_clean;
use crate::clock::SystemClock;
use crate::config::{AttemptLimits, Limits};
use crate::job::units::ByteSize;
use crate::job::{LogLevel, LogLine};
use crate::plugin::attempt::Attempt;
use crate::plugin::egress::Grants;
use crate::plugin::ledger::LINE_BYTES_MAX;
use crate::plugin::metadata;
use crate::plugin::output::Output;

/// Ends one write and begins the next; never a part of text.
const NEXT_WRITE: u8 = 0xff;
/// What a kept line costs beside its text.
const LINE_COST_BYTES: usize = 16;
/// The longest line of a description.
const DESCRIBED_BYTES_MAX: usize = 4 << 10;

/// A limit in sixteens of bytes, then writes to standard error, parted by 0xff; the same bytes as a description.
///
/// # Panics
/// Where more is kept than the limit, a kept line is not clean, or the lines depend on how the bytes were handed over.
pub fn guest(input: &[u8]) {
    let Some((limit, said)) = input.split_first() else { return };
    let output_bytes_max = usize::from(*limit) * 16;
    let writes: Vec<&[u8]> = said.split(|byte| *byte == NEXT_WRITE).collect();
    let (kept, told) = written(&writes, output_bytes_max);
    let whole = writes.concat();
    let cost: usize = kept.iter().map(|line| line.message.len() + LINE_COST_BYTES).sum();
    assert!(cost <= output_bytes_max, "{cost} bytes are kept of at most {output_bytes_max}");
    kept.iter().for_each(|line| is_clean(&line.message, LINE_BYTES_MAX));
    if let Some(told) = &told {
        is_clean(told, usize::MAX);
    }
    if whole.split(|byte| *byte == b'\n').all(|line| line.len() < LINE_BYTES_MAX / 2) {
        let (at_once, told_at_once) = written(&[&whole], output_bytes_max);
        let messages = |lines: &[LogLine]| lines.iter().map(|line| line.message.clone()).collect::<Vec<_>>();
        assert_eq!(messages(&kept), messages(&at_once), "the lines depend on the writes");
        assert_eq!(told, told_at_once, "the last words depend on the writes");
    }
    described(&whole);
}

/// The lines that are kept, and the last words.
fn written(writes: &[&[u8]], output_bytes_max: usize) -> (Vec<LogLine>, Option<String>) {
    let limits = AttemptLimits {
        output: ByteSize(output_bytes_max as u64),
        ..Limits::default().attempt(&crate::config::LimitOverride::default())
    };
    let clock = Arc::new(SystemClock::start());
    let attempt = Attempt::start(limits, Duration::from_secs(1), Arc::<Grants>::default(), None, clock);
    let mut output = Output::new(attempt.clone(), LogLevel::Stderr);
    for bytes in writes {
        output.write(Bytes::copy_from_slice(bytes)).expect("what is written is taken");
    }
    drop(output);
    let told = attempt.ledger().last_words(&attempt.grants.secrets);
    (attempt.evidence(None).log, told)
}

/// What the guest says of itself is clean where it is shown, and its schema refuses in one line.
fn described(answer: &[u8]) {
    let Ok(answer) = std::str::from_utf8(answer) else { return };
    let said = match metadata::read(answer, Limits::default().describe) {
        Ok(said) => said,
        Err(why) => return assert!(!why.contains('\n'), "{why:?}"),
    };
    let (description, schema) = (said.description.expect("it says something"), said.schema);
    let words = [&description.title, &description.description, &description.version].into_iter().flatten();
    let names = [&description.origins, &description.config, &description.secrets].into_iter().flatten();
    words.chain(names).for_each(|line| is_clean(line, DESCRIBED_BYTES_MAX));
    let Some(schema) = schema else { return };
    for payload in ["null", "{}", "[1]", "\"text\"", answer] {
        if let Err(why) = schema.check("application/json", payload.as_bytes(), &mut metadata::CheckSteps::for_jobs(1)) {
            is_clean(&why, 1 << 10);
        }
    }
}
