//! How a mistake in a file is told: with its line, unless that may hold a secret that somebody put where only its place
//! should stand.

use super::origin::USER_INFORMATION;

/// Words of ours that may stand in quotes in what is said of a hidden line. Others may be of the line itself.
const OURS: [&str; 15] = [
    "env",
    "file",
    "command",
    "readable",
    "refresh",
    "any_mode",
    "…",
    "250ms",
    "2s",
    "5m",
    "24h",
    "7d",
    "http://host:port",
    "https://api.example.com",
    "none",
];

/// A URL, or what was meant as one, as it may be told: what stands before an `@` or behind a `?` may be a password.
pub(super) fn url(text: &str) -> &str {
    if text.contains(['@', '?']) { "…" } else { text }
}

/// What is wrong in that line, from 1, as it may be told. The key is named where the line does not hold it.
pub(super) fn told(text: &str, line: usize, key: &str, message: &str) -> String {
    let message = message.trim_end().replace('\n', " ");
    if is_hidden(text, line) {
        return hidden(&message);
    }
    let quoted = text.lines().nth(line - 1).unwrap_or("").trim();
    if [quoted, &message].iter().any(|told| may_hold_password(told, key)) {
        let of = if key.is_empty() || key.contains('@') { String::new() } else { format!("{key}: ") };
        return format!("{of}{}", hidden(&message));
    }
    let of = if is_named_in(quoted, key) { String::new() } else { format!("{key}, ") };
    format!("{of}in `{quoted}`: {message}")
}

fn hidden(message: &str) -> String {
    format!("{}; the line is not shown, as it may hold a secret", masked(message))
}

/// Whether there may be a password in it, as it stands before the host of a URL or behind a `?`.
fn may_hold_password(told: &str, key: &str) -> bool {
    if told.contains('?') {
        return true;
    }
    let before = told.rfind('@').map(|at| &told[..at]);
    before.is_some_and(|before| before.contains(':') || key.starts_with("origins")) || told.ends_with(USER_INFORMATION)
}

/// Whether a line has the last name of that key.
fn is_named_in(line: &str, key: &str) -> bool {
    let name = key.split('[').next().unwrap_or_default().rsplit('.').next().unwrap_or_default();
    line.contains(name)
}

/// Whether a line stands under `[secrets]` or `[inject]`, or in what is said of these or of a proxy elsewhere.
fn is_hidden(text: &str, line: usize) -> bool {
    let (mut is_section, mut statement) = (false, None::<Open>);
    for line in text.lines().take(line).map(str::trim) {
        // What began further up and goes on comes first: a line of it may look like anything.
        if let Some(open) = statement.as_mut().filter(|open| open.goes_on()) {
            open.add(line);
            continue;
        }
        statement = None;
        if is_header(line) {
            is_section = names_secrets(line);
        } else if names_secrets(line) || line.contains("proxy") {
            statement = Some(Open::default());
        }
        if let Some(open) = &mut statement {
            open.add(line);
        }
    }
    is_section || statement.is_some()
}

/// Brackets and long texts that are not closed yet, counted roughly.
#[derive(Default)]
struct Open {
    brackets: usize,
    texts: usize,
}

impl Open {
    fn add(&mut self, line: &str) {
        let count = |brackets: [char; 2]| line.matches(brackets).count();
        self.brackets = (self.brackets + count(['[', '{'])).saturating_sub(count([']', '}']));
        self.texts += line.matches("\"\"\"").count() + line.matches("'''").count();
    }

    fn goes_on(&self) -> bool {
        self.brackets > 0 || self.texts % 2 == 1
    }
}

/// Whether a line begins another section for sure. A name in quotes may as well be a value.
fn is_header(line: &str) -> bool {
    let line = line.split('#').next().unwrap_or_default().trim_end();
    let name = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_of_name = |next: char| next.is_ascii_alphanumeric() || "[]_-. ".contains(next);
    name.is_some_and(|name| name.chars().all(is_of_name)) || line.starts_with('[') && names_secrets(line)
}

fn names_secrets(line: &str) -> bool {
    let name = line.trim_start_matches(['[', ' ', '\t', '"', '\'']);
    // What is injected should name a secret, and may be one.
    name.starts_with("secrets") || name.starts_with("inject")
}

/// The longest name of a member that is told: one that does not exist was meant as one.
const MEMBER_BYTES_MAX: usize = 12;

/// Whether it may be told whatever stands in the line.
fn is_harmless(quoted: &str, is_text: bool) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    let is_member = !is_text && quoted.len() <= MEMBER_BYTES_MAX && quoted.bytes().all(is_letter);
    is_member || OURS.contains(&quoted) || !quoted.contains(char::is_alphanumeric)
}

/// The message without what it repeats of the line.
pub(super) fn masked(message: &str) -> String {
    let (mut masked, mut rest) = (String::new(), message);
    while let Some(at) = rest.find(['"', '`']) {
        let (before, quoted) = rest.split_at(at + 1);
        masked.push_str(before);
        let is_text = before.ends_with('"');
        let end = if is_text { text_end(quoted) } else { quoted.find('`').unwrap_or(quoted.len()) };
        let is_harmless = is_harmless(&quoted[..end], is_text);
        let end = match quoted.find("`, expected").or_else(|| quoted.rfind('`')) {
            // A name may hold such a mark itself.
            Some(last) if !is_harmless && !is_text => last,
            _ => end,
        };
        masked.push_str(if is_harmless { &quoted[..end] } else { "…" });
        masked.extend(quoted[end..].chars().next());
        rest = quoted.get(end + 1..).unwrap_or_default();
    }
    masked + rest
}

/// Where a text ends that is quoted with escapes.
fn text_end(quoted: &str) -> usize {
    let mut is_escaped = false;
    let end = quoted.find(|next| {
        let is_end = next == '"' && !is_escaped;
        is_escaped = next == '\\' && !is_escaped;
        is_end
    });
    end.unwrap_or(quoted.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_message_only_words_of_ours_are_left() {
        for (message, left) in [
            ("key with no value, expected `=`", "key with no value, expected `=`"),
            ("missing opening quote, expected `\"`", "missing opening quote, expected `\"`"),
            (
                "unknown field `s3cret`, expected one of `env`, `file`",
                "unknown field `…`, expected one of `env`, `file`",
            ),
            ("unknown field `A`s3cret`, expected `env`", "unknown field `…`, expected `env`"),
            ("unknown field `vault`, expected `env`", "unknown field `vault`, expected `env`"),
            ("invalid type: string \"a\\\"s3cret\", expected a map", "invalid type: string \"…\", expected a map"),
            ("invalid type: string \"s3cret", "invalid type: string \"…"),
            ("invalid type: integer `1234`, expected a map", "invalid type: integer `…`, expected a map"),
            ("say where it is: { env = \"…\" }", "say where it is: { env = \"…\" }"),
        ] {
            assert_eq!(masked(message), left);
        }
    }

    #[test]
    fn lines_of_secrets_and_proxies_are_hidden_and_no_others() {
        let text = "proxy = 'x'\nrate = 1\nsecrets.k = [\n[a]\n]\nrate = 2\n[ secrets ] # here\n\nk = 1\n['a']\n[config]\n\
                    a = 1\n[[inject]]\nb = 1\n[\"secrets\".k]\nenv = 1\n[limits]\nc = 1\nsecrets = '''\n[a]\n'''\nd = 1\n\
                    inject = { header = 'X',\nvalue = 'k' }\nrate = 3\n[limits]\ne = 1";
        let hidden: Vec<_> = (1..=text.lines().count()).filter(|line| is_hidden(text, *line)).collect();
        assert_eq!(hidden, [1, 3, 4, 5, 7, 8, 9, 10, 13, 14, 15, 16, 19, 20, 21, 23, 24]);
        assert_eq!(told(text, 2, "rate", "no"), "in `rate = 1`: no");
    }
}
