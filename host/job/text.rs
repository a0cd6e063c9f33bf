//! Text that somebody else chose, made fit for a log, a store, a page and a terminal.
//!
//! One list says what is taken out ([`is_hidden`]), and everything goes by it: what is kept of a guest's words, what
//! the log is told, and what the command line prints of a server's answers.

use std::borrow::Cow;
use std::fmt::Write as _;

/// What is put where text was cut off.
const CUT: &str = "…";

/// One line: escape sequences and hidden characters are taken out, line breaks become spaces, and what goes over
/// `bytes_max` is cut off. Done twice it changes nothing more.
pub(crate) fn line(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max && text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
        return text.to_owned();
    }
    let mut clean = String::with_capacity(text.len().min(bytes_max));
    let mut chars = text.trim_end().trim_start_matches(['\n', '\r']).chars();
    while let Some(next) = chars.next() {
        let kept = match next {
            '\u{1b}' => {
                skip_escape(&mut chars);
                continue;
            }
            '\n' | '\t' | '\u{2028}' | '\u{2029}' | '\u{85}' => ' ',
            hidden if is_hidden(hidden) => continue,
            plain => plain,
        };
        if clean.len() + kept.len_utf8() > bytes_max {
            return cut(clean, bytes_max);
        }
        clean.push(kept);
    }
    trimmed(clean)
}

/// A text of several lines as it may reach a terminal: as it is, without what is hidden.
pub(crate) fn block(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_shown) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().filter(|next| is_shown(*next)).collect())
}

/// JSON with every hidden character as an escape: the same value, and nothing that a terminal obeys.
pub(crate) fn escaped_json(json: &str) -> Cow<'_, str> {
    if json.chars().all(is_shown) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 64);
    for next in json.chars() {
        if is_shown(next) {
            escaped.push(next);
            continue;
        }
        for unit in next.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    Cow::Owned(escaped)
}

/// Bytes as hexadecimal digits, in lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn cut(mut clean: String, bytes_max: usize) -> String {
    while clean.len() + CUT.len() > bytes_max && clean.pop().is_some() {}
    if bytes_max >= CUT.len() {
        clean.push_str(CUT);
    }
    trimmed(clean)
}

fn trimmed(mut clean: String) -> String {
    clean.truncate(clean.trim_end().len());
    clean
}

/// Skips what follows an ESC: a control sequence up to its final byte, a string up to its terminator, or one character.
fn skip_escape(chars: &mut std::str::Chars<'_>) {
    match chars.next() {
        Some('[') => {
            chars.find(|next| ('\u{40}'..='\u{7e}').contains(next));
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.find(|next| matches!(next, '\u{7}' | '\u{9c}' | '\\'));
        }
        _ => {}
    }
}

fn is_shown(next: char) -> bool {
    next == '\n' || !is_hidden(next) && !matches!(next, '\u{2028}' | '\u{2029}')
}

/// Control characters, and what reorders text, hides in it or fills it without being seen: Unicode's default ignorable
/// characters and its bidirectional controls.
fn is_hidden(next: char) -> bool {
    next.is_control()
        || matches!(next,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Text in which everything that can go wrong is likely.
    fn hostile() -> impl Strategy<Value = String> {
        let nasty = prop::sample::select(vec![
            '\u{1b}',
            '[',
            ']',
            '\\',
            '\n',
            '\r',
            '\t',
            ' ',
            '\0',
            '\u{7}',
            '\u{7f}',
            '\u{85}',
            '\u{9b}',
            '\u{9c}',
            '\u{a0}',
            '\u{ad}',
            '\u{200b}',
            '\u{202e}',
            '\u{2028}',
            '\u{2066}',
            '\u{3000}',
            '\u{feff}',
            '\u{e0041}',
            '…',
            '€',
            'a',
            'm',
        ]);
        let letter = prop_oneof![3 => nasty, 1 => any::<char>()];
        prop::collection::vec(letter, 0..60).prop_map(|letters| letters.into_iter().collect())
    }

    proptest! {
        #[test]
        fn a_line_is_clean_short_and_stays_as_it_is(text in hostile(), bytes_max in 0_usize..80) {
            let clean = line(&text, bytes_max);
            prop_assert!(clean.len() <= bytes_max, "{clean:?} is longer than {bytes_max}");
            prop_assert!(!clean.contains('\n') && clean.chars().all(is_shown), "{clean:?}");
            prop_assert_eq!(line(&clean, bytes_max), clean);
        }

        #[test]
        fn a_block_keeps_its_lines_and_stays_as_it_is(text in hostile()) {
            let clean = block(&text).into_owned();
            prop_assert_eq!(clean.matches('\n').count(), text.matches('\n').count());
            prop_assert!(clean.chars().all(is_shown), "{clean:?}");
            prop_assert_eq!(&*block(&clean), clean.as_str());
        }

        #[test]
        fn escaped_json_is_the_same_value(text in hostile()) {
            let json = serde_json::json!({ text.clone(): [text] });
            let shown = escaped_json(&format!("{json:#}")).into_owned();
            prop_assert!(shown.chars().all(is_shown), "{shown:?}");
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), json);
        }
    }

    #[test]
    fn what_could_forge_a_line_is_taken_out() {
        for (text, clean) in [
            ("plain", "plain"),
            ("a\r\nINFO forged", "a INFO forged"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}after", "after"),
            ("\u{1b}(Bx", "Bx"),
            ("nul\0bell\u{7}", "nulbell"),
            ("bidi\u{202e}lmth", "bidilmth"),
            ("tag\u{e0041}\u{e0042}s", "tags"),
            ("soft\u{ad}ly, \u{61c}hidden\u{200d}", "softly, hidden"),
            ("csi\u{9b}31m", "csi31m"),
            ("grün €", "grün €"),
            ("tab\there", "tab here"),
            ("  indented ü\n", "  indented ü"),
        ] {
            assert_eq!(line(text, 100), clean, "{text:?}");
        }
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(line(&"x".repeat(20), 10), "xxxxxxx…");
        assert_eq!(line(&"€".repeat(20), 10), "€€…");
        assert_eq!(line("anything", 0), "");
        for bytes_max in 0..40 {
            assert!(line("mixed € text ü with \u{1b}[1mall", bytes_max).len() <= bytes_max);
        }
    }
}
