//! Text that a guest chose, made fit for a log, a store, a page and a terminal.

/// What is put where text was cut off.
const CUT: &str = "…";

/// One line: escape sequences and control characters are taken out, line breaks become spaces, and what goes over
/// `bytes_max` is cut off. How far it is indented stays, as that tells a trace from a message.
pub(super) fn line(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max && text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
        return text.to_owned();
    }
    let mut clean = String::with_capacity(text.len().min(bytes_max));
    let mut chars = text.trim_start_matches(['\r', '\n']).trim_end().chars();
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
    clean.truncate(clean.trim_end().len());
    clean
}

/// Several lines, each cleaned as [`line`] does.
pub(super) fn lines(text: &str, bytes_max: usize) -> impl Iterator<Item = String> {
    text.split('\n').map(move |part| line(part, bytes_max))
}

fn cut(mut clean: String, bytes_max: usize) -> String {
    while clean.len() + CUT.len() > bytes_max && clean.pop().is_some() {}
    if bytes_max >= CUT.len() {
        clean.push_str(CUT);
    } else {
        clean.truncate(clean.trim_end().len());
    }
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

/// Control characters, and those that reorder or hide text.
fn is_hidden(next: char) -> bool {
    next.is_control()
        || matches!(next, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
        || matches!(next, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(next, '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("grün €", "grün €"),
            ("tab\there", "tab here"),
            ("    raise Error(\"é\")\r\n", "    raise Error(\"é\")"),
            ("\u{1b}[m  é\u{7} ", "  é"),
            ("arabic\u{61c}mark, soft\u{ad}hyphen, \u{fff9}note", "arabicmark, softhyphen, note"),
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
            let cut = line("mixed € text ü with \u{1b}[1mall", bytes_max);
            assert!(cut.len() <= bytes_max);
            assert_eq!(line(&cut, bytes_max), cut, "what is clean is not cleaned again");
        }
    }
}
