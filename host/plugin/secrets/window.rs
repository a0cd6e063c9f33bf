//! Covering secrets in a body that comes bit by bit: its end waits for what follows, whatever it is. Were only that held
//! back which may be the beginning of a secret, the guest would see which beginnings are right, and find it letter by
//! letter.

use std::sync::Arc;

use super::Mask;
use super::mask::fill;

/// A body on its way to a guest. Every byte comes out once, in order, covered where it is part of a secret.
#[derive(Debug)]
pub(in crate::plugin) struct Window {
    mask: Arc<Mask>,
    held: Vec<u8>,
    /// How many of those that are held are covered already: the rest of a secret whose beginning has left.
    covered_bytes: usize,
}

impl Window {
    /// A window on a body of which nothing has come yet.
    pub(in crate::plugin) fn new(mask: Arc<Mask>) -> Self {
        Self { mask, held: Vec::new(), covered_bytes: 0 }
    }

    /// Takes what came, and gives what can leave.
    pub(in crate::plugin) fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        self.release(self.held.len().saturating_sub(self.mask.reach_bytes()))
    }

    /// What it covers.
    pub(in crate::plugin) fn mask(&self) -> &Arc<Mask> {
        &self.mask
    }

    /// Gives the rest.
    pub(in crate::plugin) fn end(&mut self) -> Vec<u8> {
        self.release(self.held.len())
    }

    fn release(&mut self, leaving: usize) -> Vec<u8> {
        let mut left = self.held[..leaving].to_vec();
        let mut covered_to = self.covered_bytes;
        left[..covered_to.min(leaving)].fill(b'*');
        for span in self.mask.spans(&self.held) {
            let (start, end) = (span.range.start, span.range.end.min(leaving));
            if start < end {
                // The label was told where the secret begins.
                let label = if start < covered_to { "" } else { span.label };
                fill(&mut left[start..end], label);
            }
            // One that begins behind is found again with what follows.
            if start < leaving {
                covered_to = covered_to.max(span.range.end);
            }
        }
        self.covered_bytes = covered_to.saturating_sub(leaving);
        self.held.drain(..leaving);
        left
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn mask(secrets: &[&str]) -> Arc<Mask> {
        let named = secrets.iter().map(|secret| ("k".to_owned(), Zeroizing::new((*secret).to_owned())));
        Arc::new(Mask::of(named).unwrap())
    }

    fn through(mask: &Arc<Mask>, chunks: &[&[u8]]) -> Vec<u8> {
        let mut window = Window::new(mask.clone());
        let mut out: Vec<u8> = chunks.iter().flat_map(|chunk| window.feed(chunk)).collect();
        out.extend(window.end());
        out
    }

    #[test]
    fn a_secret_is_covered_wherever_it_is_split() {
        let mask = mask(&["s3cret-key", "key-and-more"]);
        for (body, seen) in [
            ("a s3cret-key b", "a [k]******* b"),
            ("s3cret-key-and-more!", "[k]****************!"),
            ("s3cret-kex s3cret-", "s3cret-kex s3cret-"),
            ("s3cret-s3cret-key", "s3cret-[k]*******"),
        ] {
            for first in 0..=body.len() {
                for second in first..=body.len() {
                    let chunks = [&body[..first], &body[first..second], &body[second..]].map(str::as_bytes);
                    let out = through(&mask, &chunks);
                    assert!(!out.windows(3).any(|part| part == b"key") || !seen.contains("[k]"), "{chunks:?}");
                    assert_eq!(out.len(), body.len());
                    let shown = String::from_utf8(out).unwrap();
                    assert_eq!(shown.replace("[k]", "***"), seen.replace("[k]", "***"), "{chunks:?}");
                }
            }
        }
    }

    #[test]
    fn how_much_is_held_back_tells_nothing_of_the_secret() {
        let mask = mask(&["s3cret-key"]);
        let reach = mask.reach_bytes();
        for guess in ["s3cret-kex", "s3cret-ke", "s3", "x", "733363726574", "czNjcmV0L"] {
            let before = "-".repeat(50);
            let mut window = Window::new(mask.clone());
            let whole = format!("{before}{guess}");
            assert_eq!(window.feed(whole.as_bytes()).len(), whole.len() - reach, "{guess}");
            assert_eq!(window.feed(b"\n").len(), 1, "{guess}");
            assert_eq!(window.end().len(), reach, "{guess}");
        }
        let mut window = Window::new(mask);
        assert_eq!(window.feed(&vec![b's'; reach]), b"");
        assert_eq!((window.feed(b""), window.feed(b"3c")), (Vec::new(), b"ss".to_vec()));
    }

    #[test]
    fn what_covers_itself_does_not_pile_up() {
        let mut window = Window::new(mask(&["aaaaaaaa"]));
        for _ in 0..1_000 {
            assert!(window.feed(b"aaaaaaaaaaaaaaaa").iter().all(|byte| b"[k]*".contains(byte)));
            assert!(window.held.len() <= window.mask.reach_bytes());
        }
    }

    proptest::proptest! {
        #[test]
        fn what_comes_in_pieces_is_covered_as_the_whole_is(
            secrets in proptest::collection::vec("[ab]{4,9}", 1..4),
            pieces in proptest::collection::vec("[ab]{0,7}", 0..12),
        ) {
            let mask = mask(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
            let stars = |bytes: &[u8]| -> String {
                bytes.iter().map(|byte| if b"ab".contains(byte) { char::from(*byte) } else { '*' }).collect()
            };
            let mut whole = pieces.concat().into_bytes();
            mask.blot(&mut whole);
            let out = through(&mask, &pieces.iter().map(|piece| piece.as_bytes()).collect::<Vec<_>>());
            proptest::prop_assert_eq!(stars(&out), stars(&whole));
        }
    }
}
