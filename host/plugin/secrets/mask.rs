//! Finding secrets in bytes: one automaton over all their spellings, made when they are read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use super::super::text;
use super::{broken, forms, json};

/// The longest name in a mask.
const NAME_BYTES_MAX: usize = 64;

/// A shorter part of a secret tells nothing of it.
pub(super) const PART_BYTES_MIN: usize = 4;

/// Finds the secrets of one plugin.
pub(in crate::plugin) struct Mask {
    automaton: AhoCorasick,
    /// The spellings, in order.
    patterns: Vec<Zeroizing<String>>,
    /// Of each spelling what stands in its place.
    labels: Vec<String>,
    longest_bytes: usize,
    /// The bytes with which a spelling begins.
    is_first: Box<[bool; 256]>,
}

/// A stretch that is covered by secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span<'a> {
    pub(super) range: Range<usize>,
    /// What stands in its place: the name of the longest one.
    pub(super) label: &'a str,
    longest_bytes: usize,
}

impl Mask {
    /// A mask of these, by name; none where there is nothing to look for.
    pub(super) fn of(secrets: impl Iterator<Item = (String, Zeroizing<String>)>) -> Option<Self> {
        let mut by_pattern = BTreeMap::<String, String>::new();
        for (name, value) in secrets {
            let label = format!("[{}]", text::line(&name, NAME_BYTES_MAX));
            for form in forms::of(&value) {
                by_pattern.entry(form).or_insert_with(|| label.clone());
            }
        }
        let by_pattern = by_pattern.into_iter().map(|(pattern, label)| (Zeroizing::new(pattern), label));
        let (patterns, labels): (Vec<_>, Vec<_>) = by_pattern.unzip();
        // Of the kinds the one whose size is bounded by what is looked for, whatever its letters are.
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(patterns.iter().map(|pattern| pattern.as_bytes()))
            .expect("secrets have fewer bytes than an automaton can count");
        let mut is_first = Box::new([false; 256]);
        patterns.iter().for_each(|pattern| is_first[usize::from(pattern.as_bytes()[0])] = true);
        let longest_bytes = patterns.iter().map(|pattern| pattern.len()).max()?;
        Some(Self { automaton, patterns, labels, longest_bytes, is_first })
    }

    /// The covered stretches, in order, none overlapping another.
    pub(super) fn spans(&self, bytes: &[u8]) -> Vec<Span<'_>> {
        joined(self.automaton.find_overlapping_iter(bytes).map(|found| {
            let label = &self.labels[found.pattern().as_usize()];
            Span { range: found.range(), label, longest_bytes: found.len() }
        }))
    }

    /// The same, with what is broken into lines: for what is kept, where more may be covered than what is a secret for
    /// certain.
    pub(super) fn kept_spans(&self, bytes: &[u8]) -> Vec<Span<'_>> {
        let mut spans = self.spans(bytes);
        let within = |joined: &[u8]| self.spans(joined).into_iter().map(|span| (span.range.clone(), span)).collect();
        let over_breaks = broken::search(bytes, self.reach_bytes(), within);
        if over_breaks.is_empty() {
            return spans;
        }
        spans.extend(over_breaks.into_iter().map(|(range, span)| Span { range, ..span }));
        spans.sort_unstable_by_key(|span| span.range.end);
        joined(spans)
    }

    /// The text with the label in place of each covered stretch.
    pub(in crate::plugin) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let masked = self.bytes(text.as_bytes()).map(|bytes| {
            // Every spelling is text, so that stretches begin and end between characters.
            String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
        });
        masked.map_or(Cow::Borrowed(text), Cow::Owned)
    }

    /// The same for bytes; none where there was nothing to cover.
    pub(super) fn bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let spans = self.kept_spans(bytes);
        if spans.is_empty() { None } else { Some(replaced(bytes, spans)) }
    }

    /// The same for what is meant to be JSON, and stays that where it was.
    pub(super) fn json(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let spans = self.kept_spans(bytes);
        if spans.is_empty() {
            return None;
        }
        let is_json = serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
        let masked = if is_json { json::masked(bytes, &spans) } else { None };
        Some(masked.unwrap_or_else(|| replaced(bytes, spans)))
    }

    /// Covers them in place, so that every length that was told of the bytes stays true.
    pub(in crate::plugin) fn blot(&self, bytes: &mut [u8]) {
        let spans: Vec<_> = self.spans(bytes).into_iter().map(|span| (span.range, span.label)).collect();
        spans.into_iter().for_each(|(range, label)| fill(&mut bytes[range], label));
    }

    /// The same in the beginning of something longer, which loses its end: one byte less than the longest spelling has,
    /// whatever stands there. So no part of a secret is left, and how much is missing tells nothing of it.
    pub(in crate::plugin) fn blot_beginning(&self, bytes: &mut Vec<u8>) {
        self.blot(bytes);
        bytes.truncate(bytes.len().saturating_sub(self.reach_bytes()));
    }

    /// Whether there is any.
    pub(in crate::plugin) fn finds(&self, bytes: &[u8]) -> bool {
        self.automaton.find(bytes).is_some()
    }

    /// One byte less than the longest spelling has: what is followed by so many is no beginning of one that is not all there.
    pub(super) fn reach_bytes(&self) -> usize {
        self.longest_bytes - 1
    }

    /// How much of the end may be the beginning of a spelling.
    pub(super) fn open_bytes(&self, bytes: &[u8]) -> usize {
        let most = bytes.len().min(self.longest_bytes - 1);
        (1..=most).rev().find(|length| self.begins_with(&bytes[bytes.len() - length..])).unwrap_or(0)
    }

    /// The text, the beginning of something longer, with nothing at its end that may be a part of a secret.
    pub(super) fn beginning(&self, text: &str) -> String {
        let masked = self.text(text);
        format!("{}…", &masked[..masked.floor_char_boundary(masked.len() - self.telling_end(masked.as_bytes()))])
    }

    /// The text, a piece of something longer, with nothing at its edges that may be a part of a secret.
    pub(super) fn fragment(&self, text: &str) -> String {
        let masked = self.text(text);
        let most = masked.len().min(self.longest_bytes - 1);
        let ends = |length: &usize| {
            let start = &masked.as_bytes()[..*length];
            self.patterns.iter().any(|pattern| pattern.len() > *length && pattern.as_bytes().ends_with(start))
        };
        let closed = (PART_BYTES_MIN..=most).rev().find(ends).unwrap_or(0);
        let open = self.telling_end(masked.as_bytes());
        let (start, end) = (closed, masked.len() - open);
        let cut = |is_cut: bool| if is_cut { "…" } else { "" };
        format!("{}{}{}", cut(closed > 0), masked.get(start..end).unwrap_or_default(), cut(open > 0))
    }

    /// How much of the end may be the beginning of a spelling, where it would tell something of it.
    pub(super) fn telling_end(&self, masked: &[u8]) -> usize {
        Some(self.open_bytes(masked)).filter(|bytes| *bytes >= PART_BYTES_MIN).unwrap_or(0)
    }

    /// Whether a spelling goes on after these bytes.
    fn begins_with(&self, start: &[u8]) -> bool {
        if !self.is_first[usize::from(start[0])] {
            return false;
        }
        let from = self.patterns.partition_point(|pattern| pattern.as_bytes() <= start);
        self.patterns.get(from).is_some_and(|pattern| pattern.as_bytes().starts_with(start))
    }
}

impl<'a> Span<'a> {
    fn take_in(&mut self, other: &Span<'a>) {
        self.range = self.range.start.min(other.range.start)..self.range.end.max(other.range.end);
        if other.longest_bytes > self.longest_bytes {
            (self.longest_bytes, self.label) = (other.longest_bytes, other.label);
        }
    }
}

/// Stretches that come in the order of their ends, none overlapping another. Joined as they come, so that what repeats
/// itself takes no more room than what it covers.
fn joined<'a>(spans: impl IntoIterator<Item = Span<'a>>) -> Vec<Span<'a>> {
    let mut joined: Vec<Span<'a>> = Vec::new();
    for mut span in spans {
        while let Some(before) = joined.pop_if(|before| span.range.start < before.range.end) {
            span.take_in(&before);
        }
        joined.push(span);
    }
    joined
}

/// The bytes with the label in place of each stretch.
fn replaced(bytes: &[u8], spans: Vec<Span<'_>>) -> Vec<u8> {
    let (mut kept, mut from) = (Vec::with_capacity(bytes.len()), 0);
    for span in spans {
        kept.extend_from_slice(&bytes[from..span.range.start]);
        kept.extend_from_slice(span.label.as_bytes());
        from = span.range.end;
    }
    kept.extend_from_slice(&bytes[from..]);
    kept
}

/// The label as far as there is room for all of it, and stars.
pub(super) fn fill(covered: &mut [u8], label: &str) {
    covered.fill(b'*');
    if let Some(room) = covered.get_mut(..label.len()) {
        room.copy_from_slice(label.as_bytes());
    }
}

/// Says nothing of what it looks for.
impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mask").field("patterns", &self.patterns.len()).finish_non_exhaustive()
    }
}
