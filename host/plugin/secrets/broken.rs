//! Secrets that are broken into lines, as base64 is in MIME: what is searched are the ends of lines, joined.

use std::ops::Range;

/// So much is joined before it is searched, at least.
const JOINED_BYTES: usize = 64 << 10;

/// Ends of lines without the breaks between them, and where they stood.
#[derive(Default)]
struct Joined {
    bytes: Vec<u8>,
    /// Where a piece begins here, and in the text.
    pieces: Vec<(usize, usize)>,
}

/// Searches what stands on both sides of breaks, where no more than `reach` bytes of one side matter. Answers the places of
/// what `search` finds there, in the text, with what it says of each.
pub(super) fn search<T>(
    text: &[u8],
    reach: usize,
    search: impl Fn(&[u8]) -> Vec<(Range<usize>, T)>,
) -> Vec<(Range<usize>, T)> {
    let (mut found, mut joined) = (Vec::new(), Joined::default());
    let mut at = 0;
    while at < text.len() {
        let line = at..end_of_line(text, at);
        at = line.end + break_bytes(&text[line.end..]);
        if line.len() > 2 * reach {
            joined.push(text, line.start..line.start + reach);
            joined.searched(&search, &mut found);
            joined = Joined::default();
            joined.push(text, line.end - reach..line.end);
        } else {
            joined.push(text, line);
        }
        if joined.bytes.len() >= JOINED_BYTES + 2 * reach {
            joined.searched(&search, &mut found);
            joined.keep_end(reach);
        }
    }
    joined.searched(&search, &mut found);
    found
}

impl Joined {
    fn push(&mut self, text: &[u8], piece: Range<usize>) {
        if !piece.is_empty() {
            self.pieces.push((self.bytes.len(), piece.start));
            self.bytes.extend_from_slice(&text[piece]);
        }
    }

    /// What is within one line is found by who looks for it there.
    fn searched<T>(&self, search: impl Fn(&[u8]) -> Vec<(Range<usize>, T)>, found: &mut Vec<(Range<usize>, T)>) {
        if self.pieces.len() > 1 {
            let over_breaks = search(&self.bytes).into_iter().filter_map(|(range, told)| {
                let whole = self.place(range.start)..self.place(range.end - 1) + 1;
                (whole.len() > range.len()).then_some((whole, told))
            });
            found.extend(over_breaks);
        }
    }

    /// Where that byte stands in the text.
    fn place(&self, at: usize) -> usize {
        let (here, there) = self.pieces[self.pieces.partition_point(|(here, _)| *here <= at) - 1];
        there + (at - here)
    }

    fn keep_end(&mut self, bytes: usize) {
        let from = self.bytes.len() - bytes;
        if bytes == 0 {
            return *self = Self::default();
        }
        let begin = (0, self.place(from));
        let later = self.pieces.iter().filter(|(here, _)| *here > from).map(|(here, there)| (here - from, *there));
        self.pieces = std::iter::once(begin).chain(later).collect();
        self.bytes.drain(..from);
    }
}

/// Where the line ends that goes on there.
fn end_of_line(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(next) = text[at..].iter().position(|byte| matches!(byte, b'\n' | b'\r' | b'\\')) {
        at += next;
        if break_bytes(&text[at..]) > 0 {
            return at;
        }
        at += slashes(&text[at..]);
    }
    text.len()
}

/// How many bytes of a break stand there, also of one as JSON writes it, with the blanks behind it. None of another text.
fn break_bytes(text: &[u8]) -> usize {
    let slashes = slashes(text);
    let broken = match (slashes, text.get(slashes)) {
        (0, Some(b'\n' | b'\r')) => 1,
        (1.., Some(b'n' | b'r')) => slashes + 1,
        _ => return 0,
    };
    broken + text[broken..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

fn slashes(text: &[u8]) -> usize {
    text.iter().take_while(|byte| **byte == b'\\').count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every place of the needle.
    fn places(text: &[u8], needle: &[u8]) -> Vec<(Range<usize>, ())> {
        let starts = 0..(text.len() + 1).saturating_sub(needle.len());
        starts.filter(|at| text[*at..].starts_with(needle)).map(|at| (at..at + needle.len(), ())).collect()
    }

    fn found(text: &str, needle: &str) -> Vec<String> {
        let found = search(text.as_bytes(), needle.len() - 1, |joined| places(joined, needle.as_bytes()));
        found.into_iter().map(|(range, ())| text[range].to_owned()).collect()
    }

    #[test]
    fn what_goes_over_breaks_is_found_with_them() {
        for (text, whole) in [
            ("x ab\ncd y", "ab\ncd"),
            ("xa\r\n \tb\n\n\rcdx", "a\r\n \tb\n\n\rcd"),
            (r"xa\nb\\r\\n  cd", r"a\nb\\r\\n  cd"),
            ("\nabc\nd\n", "abc\nd"),
        ] {
            assert_eq!(found(text, "abcd"), [whole], "{text:?}");
        }
        for text in ["abcd", "abcd\nabcd", r"ab\tcd\\", "ab\nxcd", ""] {
            assert!(found(text, "abcd").is_empty(), "{text:?}");
        }
    }

    #[test]
    fn it_is_found_across_what_is_searched_at_once() {
        for before in JOINED_BYTES - 5..JOINED_BYTES + 20 {
            let text = format!("{}abcd\nefgh", "x\n".repeat(before));
            assert_eq!(found(&text, "abcdefgh"), ["abcd\nefgh"], "{before}");
        }
    }

    proptest! {
        #[test]
        fn as_much_is_found_as_in_all_lines_joined(text in "[ab\n]{0,60}", needle in "[ab]{1,6}") {
            let joined: Vec<_> = text.bytes().enumerate().filter(|(_, byte)| *byte != b'\n').collect();
            let bytes: Vec<_> = joined.iter().map(|(_, byte)| *byte).collect();
            let expected: Vec<_> = places(&bytes, needle.as_bytes())
                .into_iter()
                .map(|(range, ())| text[joined[range.start].0..joined[range.end - 1].0 + 1].to_owned())
                .filter(|whole| whole.contains('\n'))
                .collect();
            prop_assert_eq!(found(&text, &needle), expected);
        }
    }
}
