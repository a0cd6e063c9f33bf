//! The sandbox's doors for the fuzzer: what a guest says, and what a component is.

mod component;
mod guest;

use crate::job::text;

pub use component::component;
pub use guest::guest;

/// An address, and ranges that the operator allows.
pub fn address(input: &[u8]) {
    super::egress::fuzzing::address(input);
}

/// What is granted, and a URL.
pub fn origin(input: &[u8]) {
    super::egress::fuzzing::origin(input);
}

/// An answer's `Date`, and its `Retry-After`s.
pub fn retry_after(input: &[u8]) {
    super::egress::fuzzing::retry_after(input);
}

/// A limit of one byte, then the text of a guest.
///
/// # Panics
/// Where what is left could forge a line, is too long, or is not clean at once.
pub fn text(input: &[u8]) {
    let Some((limit, words)) = input.split_first() else { return };
    let (limit, words) = (usize::from(*limit), String::from_utf8_lossy(words));
    let clean = text::line(&words, limit);
    is_clean(&clean, limit);
    assert_eq!(text::line(&clean, limit), clean, "{words:?} is not clean at once");
    let whole = text::line(&words, usize::MAX);
    assert!(whole.starts_with(clean.trim_end_matches('…').trim_end()), "{words:?} is cut before it is cleaned");
}

/// A line that forges nothing: Unicode's controls, line ends, and what reorders or hides the text around it.
fn is_clean(line: &str, bytes_max: usize) {
    assert!(line.len() <= bytes_max, "{line:?} has {} bytes of {bytes_max}", line.len());
    let forges = |letter: char| {
        let code = u32::from(letter);
        let is_control = code < 0x20 || (0x7f..0xa0).contains(&code);
        let ends_line = matches!(code, 0x2028 | 0x2029);
        // Bidi_Control of UAX 9, then what Unicode draws with no width at all.
        let reorders = matches!(code, 0x61c | 0x200e | 0x200f | 0x202a..=0x202e | 0x2066..=0x2069);
        let hides = matches!(code, 0xad | 0x180e | 0x200b..=0x200d | 0x2060..=0x2065 | 0xfeff | 0xfff9..=0xfffb);
        is_control || ends_line || reorders || hides || (0xe0000..=0xe007f).contains(&code)
    };
    assert!(!line.chars().any(forges), "{line:?} is not clean");
}
