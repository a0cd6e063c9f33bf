//! Secrets in JSON: what stands in their place leaves it JSON.

use std::ops::Range;

use super::mask::Span;

/// The longest escape, such as `\u00e9`.
const ESCAPE_BYTES_MAX: usize = 6;

/// What is read as one.
enum Token {
    /// What stands between two quotes.
    Text(Range<usize>),
    /// A number or a word.
    Word(Range<usize>),
}

/// Valid JSON with the labels in place of the covered stretches: within a text as a part of it, else as a text in place of
/// the whole number. None where a stretch is neither: it has JSON's own signs in it.
pub(super) fn masked(json: &[u8], spans: &[Span<'_>]) -> Option<Vec<u8>> {
    let (mut kept, mut from, mut ahead) = (Vec::with_capacity(json.len()), 0, 0);
    let mut token = None;
    for span in spans {
        while token.as_ref().is_none_or(|token: &Token| token.range().end <= span.range.start) {
            let next = next(json, ahead)?;
            ahead = next.range().end + usize::from(matches!(next, Token::Text(_)));
            token = Some(next);
        }
        let token = token.as_ref()?;
        if span.range.start < token.range().start || span.range.end > token.range().end {
            return None;
        }
        let quoted = serde_json::to_string(span.label).ok()?;
        let (covered, label) = match token {
            Token::Text(text) => (whole(json, text.start, &span.range), &quoted[1..quoted.len() - 1]),
            Token::Word(word) => (word.clone(), quoted.as_str()),
        };
        // Two may lie in one number, or in one escape.
        if covered.start >= from {
            kept.extend_from_slice(&json[from..covered.start]);
            kept.extend_from_slice(label.as_bytes());
        }
        from = from.max(covered.end);
    }
    kept.extend_from_slice(&json[from..]);
    Some(kept)
}

impl Token {
    fn range(&self) -> &Range<usize> {
        let (Self::Text(range) | Self::Word(range)) = self;
        range
    }
}

/// The first one from there on.
fn next(json: &[u8], from: usize) -> Option<Token> {
    let is_between = |byte: &u8| byte.is_ascii_whitespace() || b"{}[]:,".contains(byte);
    let start = from + json[from..].iter().position(|byte| !is_between(byte))?;
    if json[start] != b'"' {
        let end = json[start..].iter().position(is_between).map_or(json.len(), |length| start + length);
        return Some(Token::Word(start..end));
    }
    let mut end = start + 1;
    while *json.get(end)? != b'"' {
        end += if json[end] == b'\\' { 2 } else { 1 };
    }
    Some(Token::Text(start + 1..end))
}

/// The stretch of a text with all of the escapes at its edges.
fn whole(json: &[u8], text: usize, span: &Range<usize>) -> Range<usize> {
    let start = escape(json, text, span.start).map_or(span.start, |escape| escape.start);
    start..escape(json, text, span.end).map_or(span.end, |escape| escape.end)
}

/// The escape within which that place is.
fn escape(json: &[u8], text: usize, at: usize) -> Option<Range<usize>> {
    let starts = (text..at).rev().take(ESCAPE_BYTES_MAX - 1).filter(|start| {
        // One that is itself escaped begins none.
        json[text..=*start].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
    });
    let mut escapes = starts.map(|start| start..start + if json[start + 1] == b'u' { ESCAPE_BYTES_MAX } else { 2 });
    escapes.find(|escape| escape.end > at)
}
