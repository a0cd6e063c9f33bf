//! Secrets that a guest wrote bit by bit, over several lines of its log.

use std::ops::Range;

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
    let mut spans: Vec<_> =
        mask.kept_spans(joined.as_bytes()).into_iter().map(|span| (span.range, span.label)).collect();
    // What was dropped may have been the rest of it.
    let open_bytes = if is_cut { mask.open_bytes(joined.trim_end_matches('…').as_bytes()) } else { 0 };
    let end = joined.trim_end_matches('…').len();
    if open_bytes >= PART_BYTES_MIN && spans.last().is_none_or(|(range, _)| range.end <= end - open_bytes) {
        spans.push((end - open_bytes..end, "…"));
    }
    cover(lines, &spans);
}

/// Covers what of each line lies in those stretches of all lines together, which come in order: in one walk over both.
fn cover(lines: &mut [&mut String], spans: &[(Range<usize>, &str)]) {
    let mut ahead = spans;
    let mut start = 0;
    for line in lines {
        let end = start + line.len();
        let (mut shown, mut from) = (String::new(), start);
        while let [(range, label), rest @ ..] = ahead
            && range.start < end
        {
            shown.push_str(&line[from - start..range.start.max(start) - start]);
            shown.push_str(if range.start >= start { label } else { "" });
            from = range.end.min(end);
            if range.end > end {
                // It goes on in the next line.
                break;
            }
            ahead = rest;
        }
        if from > start {
            shown.push_str(&line[from - start..]);
            **line = shown;
        }
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same, by looking at each stretch for each line.
    fn covered(lines: &[String], spans: &[(Range<usize>, &str)]) -> Vec<String> {
        let mut start = 0;
        let cover_one = |line: &String| {
            let own = start..start + line.len();
            start = own.end;
            let mut shown = String::new();
            let mut from = own.start;
            for (range, label) in spans.iter().filter(|(range, _)| range.start < own.end && range.end > own.start) {
                shown.push_str(&line[from - own.start..range.start.max(own.start) - own.start]);
                shown.push_str(if range.start >= own.start { label } else { "" });
                from = range.end.min(own.end);
            }
            shown + &line[from - own.start..]
        };
        lines.iter().map(cover_one).collect()
    }

    proptest! {
        #[test]
        fn each_line_is_covered_as_if_it_were_looked_at_alone(
            lines in prop::collection::vec("[a-z]{0,6}", 0..20), cuts in prop::collection::btree_set(0..80_usize, 0..20),
        ) {
            let whole = lines.iter().map(String::len).sum();
            let cuts: Vec<_> = cuts.into_iter().filter(|cut| *cut <= whole).collect();
            let spans: Vec<_> = cuts.chunks_exact(2).map(|pair| (pair[0]..pair[1], "[key]")).collect();
            let mut told = lines.clone();
            cover(&mut told.iter_mut().collect::<Vec<_>>(), &spans);
            prop_assert_eq!(told, covered(&lines, &spans));
        }
    }

    #[test]
    fn many_lines_with_many_secrets_take_one_walk() {
        let mut lines = vec!["ab".to_owned(); 400_000];
        let spans: Vec<_> = (0..200_000).map(|n| (4 * n + 1..4 * n + 3, "*")).collect();
        cover(&mut lines.iter_mut().collect::<Vec<_>>(), &spans);
        assert!(lines.chunks(2).all(|pair| pair == ["a*", "b"]));
    }
}
