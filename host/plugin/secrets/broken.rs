//! Secrets that are broken into lines, as base64 is in MIME: what is searched is the text without its breaks.

/// A text without its breaks, and where they were.
pub(super) struct Joined {
    pub(super) bytes: Vec<u8>,
    /// Where something was left out, and how much of the whole text up to there.
    gaps: Vec<(usize, usize)>,
}

impl Joined {
    /// None where the text has no breaks.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        let mut joined = Self { bytes: Vec::new(), gaps: Vec::new() };
        let (mut from, mut at) = (0, 0);
        while let Some(next) = text[at..].iter().position(|byte| matches!(byte, b'\n' | b'\r' | b'\\')) {
            let begin = at + next;
            at = begin + break_bytes(&text[begin..]);
            if at == begin {
                at += text[begin..].iter().take_while(|byte| **byte == b'\\').count();
                continue;
            }
            joined.bytes.extend_from_slice(&text[from..begin]);
            from = at;
            joined.gaps.push((joined.bytes.len(), from - joined.bytes.len()));
        }
        if joined.gaps.is_empty() {
            return None;
        }
        joined.bytes.extend_from_slice(&text[from..]);
        Some(joined)
    }

    /// Where that byte stands in the text.
    pub(super) fn place(&self, at: usize) -> usize {
        let before = self.gaps.partition_point(|(place, _)| *place <= at);
        at + before.checked_sub(1).map_or(0, |last| self.gaps[last].1)
    }
}

/// How many bytes of a break stand there, also of one as JSON writes it, with the blanks behind it. None of another text.
fn break_bytes(text: &[u8]) -> usize {
    let slashes = text.iter().take_while(|byte| **byte == b'\\').count();
    let broken = match (slashes, text.get(slashes)) {
        (0, Some(b'\n' | b'\r')) => 1,
        (1.., Some(b'n' | b'r')) => slashes + 1,
        _ => return 0,
    };
    broken + text[broken..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaks_are_left_out_and_places_are_those_of_the_text() {
        for (text, without) in [
            ("ab\ncd", "abcd"),
            ("ab\r\n \tcd\n", "abcd"),
            (r"ab\ncd\\r\\n  ef", "abcdef"),
            (r"a\\b\t\nc", r"a\\b\tc"),
            ("\n\nab", "ab"),
        ] {
            let joined = Joined::of(text.as_bytes()).unwrap();
            assert_eq!(joined.bytes, without.as_bytes(), "{text:?}");
            for (at, byte) in joined.bytes.iter().enumerate() {
                assert_eq!(text.as_bytes()[joined.place(at)], *byte, "{text:?}: {at}");
            }
        }
        assert!(Joined::of(br"no \breaks\\").is_none());
    }
}
