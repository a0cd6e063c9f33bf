//! Secrets that a guest wrote bit by bit, over several lines of its log.

use crate::job::{LogLevel, LogLine};

use super::Mask;
use super::mask::PART_BYTES_MIN;

/// Masks what is a secret when the lines of one level are read as one text.
pub(super) fn mask(mask: &Mask, log: &mut [LogLine], is_cut: bool) {
    let levels = [LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error, LogLevel::Stdout, LogLevel::Stderr];
    for level in levels {
        let mut lines: Vec<_> =
            log.iter_mut().filter(|line| line.level == level).map(|line| &mut line.message).collect();
        // A single one too: as it was cleaned, a secret may have come together.
        if !lines.is_empty() {
            mask_joined(mask, &mut lines, is_cut);
        }
    }
}

fn mask_joined(mask: &Mask, lines: &mut [&mut String], is_cut: bool) {
    let joined: String = lines.iter().map(|line| line.as_str()).collect();
    let mut spans: Vec<_> = mask.spans(joined.as_bytes()).into_iter().map(|span| (span.range, span.label)).collect();
    // What was dropped may have been the rest of it.
    let open_bytes = if is_cut { mask.open_bytes(joined.trim_end_matches('…').as_bytes()) } else { 0 };
    let end = joined.trim_end_matches('…').len();
    if open_bytes >= PART_BYTES_MIN && spans.last().is_none_or(|(range, _)| range.end <= end - open_bytes) {
        spans.push((end - open_bytes..end, "…"));
    }
    let mut start = 0;
    for line in lines {
        let end = start + line.len();
        let inside = spans.iter().filter(|(range, _)| range.start < end && range.end > start);
        // From the back, so that what is in front keeps its place.
        let own = line.clone();
        let mut rest = own.as_str();
        let mut kept = Vec::new();
        for (range, label) in inside.rev() {
            let (from, to) = (range.start.max(start) - start, range.end.min(end) - start);
            kept.push(rest[to..].to_owned());
            kept.push(if range.start >= start { (*label).to_owned() } else { String::new() });
            rest = &rest[..from];
        }
        if !kept.is_empty() {
            kept.push(rest.to_owned());
            **line = kept.into_iter().rev().collect();
        }
        start = end;
    }
}
