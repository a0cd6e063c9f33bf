//! The spellings in which a secret turns up: as it is, and as encoders write it.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::job::text::hex;

/// Shorter values are not masked: they stand everywhere by chance, and are no secrets.
const WHOLE_BYTES_MIN: usize = 4;
/// Shorter lines of a secret of several lines are not masked by themselves.
const LINE_BYTES_MIN: usize = 8;
/// Shorter encoded forms stand everywhere by chance too.
const ENCODED_BYTES_MIN: usize = 6;
/// The lines around a key are the same for all keys.
const ARMOUR: &str = "-----";

/// Every spelling of that value that is looked for.
pub(super) fn of(value: &str) -> Vec<String> {
    // Blanks at the edges do not come through a header, nor through whoever trims what was pasted.
    let value = Some(value.trim()).filter(|trimmed| trimmed.len() >= WHOLE_BYTES_MIN).unwrap_or(value);
    let mut found = Vec::new();
    if value.len() >= WHOLE_BYTES_MIN {
        found.extend(spellings(value));
    }
    if value.contains(['\n', '\r']) {
        let lines = value.split(['\n', '\r']).map(str::trim);
        let is_telling = |line: &&str| line.len() >= LINE_BYTES_MIN && !line.starts_with(ARMOUR);
        found.extend(lines.filter(is_telling).flat_map(spellings));
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn spellings(plain: &str) -> Vec<String> {
    let encoded = [
        // As the name of a host, or of a header.
        plain.to_ascii_lowercase(),
        hex(plain.as_bytes()),
        hex(plain.as_bytes()).to_ascii_uppercase(),
    ];
    let encoded = encoded.into_iter().chain(percent_forms(plain)).chain(html_forms(plain)).chain(json_forms(plain));
    let encoded = encoded.chain([STANDARD_NO_PAD, URL_SAFE_NO_PAD].iter().flat_map(|engine| base64(plain, engine)));
    let encoded = encoded.filter(|form| form.len() >= ENCODED_BYTES_MIN);
    std::iter::once(plain.to_owned()).chain(encoded).collect()
}

/// As it stands between the quotes of JSON, and of JSON that is a text in JSON.
fn json_forms(plain: &str) -> Vec<String> {
    let lower = |is_numbered: fn(char) -> bool| json(plain, is_numbered, false);
    let usual = lower(|_| false);
    let ascii = lower(|letter| !letter.is_ascii());
    // Go, and Ruby on Rails.
    let go = lower(|letter| "&<>\u{2028}\u{2029}".contains(letter));
    let gson = lower(|letter| "&<>='\u{2028}\u{2029}".contains(letter));
    let dotnet = json(plain, |letter| !letter.is_ascii() || "&<>\"'+`\u{7f}".contains(letter), true);
    let upper = json(plain, |letter| !letter.is_ascii(), true);
    let inner = [&usual, &ascii, &go, &gson, &dotnet].map(|text| json(text, |_| false, false));
    // PHP.
    let slashed = [&usual, &ascii].map(|text| text.replace('/', "\\/"));
    [usual, ascii, go, gson, dotnet, upper].into_iter().chain(inner).chain(slashed).collect()
}

/// `is_numbered`: which letters are written by their numbers, whatever else there is for them; `is_upper`: in which case.
fn json(plain: &str, is_numbered: impl Fn(char) -> bool, is_upper: bool) -> String {
    let mut text = String::with_capacity(plain.len());
    for letter in plain.chars() {
        let short = match letter {
            '"' | '\\' => Some(letter),
            '\n' => Some('n'),
            '\r' => Some('r'),
            '\t' => Some('t'),
            '\u{8}' => Some('b'),
            '\u{c}' => Some('f'),
            _ => None,
        };
        match short {
            _ if is_numbered(letter) || (short.is_none() && letter < ' ') => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    let _ = if is_upper { write!(text, "\\u{unit:04X}") } else { write!(text, "\\u{unit:04x}") };
                }
            }
            Some(short) => text.extend(['\\', short]),
            None => text.push(letter),
        }
    }
    text
}

/// The letters that encoders of URLs keep besides those of ASCII and its digits.
const KEPT: [&[u8]; 9] = [
    // RFC 3986.
    b"-._~",
    // A component in JavaScript.
    b"-._~!'()*",
    // Python.
    b"-._~/",
    // Go: a segment of a path, a path, a password.
    b"-._~$&+=:@",
    b"-._~$&+,/:;=@",
    b"-._~$&+,;=",
    // JavaScript and browsers: a whole URL, a path, a query.
    b"-._~!'()*;,/?:@&=+$#",
    b"-._~!'()*$&+,/:;=@[]|^\\%",
    b"-._~!$%&()*+,/:;=?@[\\]^`{|}",
];
/// The same of those that write a plus for a blank.
const KEPT_IN_FORMS: [&[u8]; 4] = [
    // Java and URLSearchParams.
    b"-._*", // Go and Python.
    b"-._~", // PHP.
    b"-._",  // .NET.
    b"-._!()*",
];

fn percent_forms(plain: &str) -> impl Iterator<Item = String> {
    let upper = |byte: u8| format!("%{byte:02X}");
    let lower = |byte: u8| format!("%{byte:02x}");
    let plus = |byte: u8, encode: fn(u8) -> String| if byte == b' ' { "+".to_owned() } else { encode(byte) };
    let usual = KEPT.into_iter().map(move |kept| percent(plain, kept, upper));
    let forms = KEPT_IN_FORMS.into_iter().map(move |kept| percent(plain, kept, |byte| plus(byte, upper)));
    let in_lower = [percent(plain, KEPT[0], lower), percent(plain, KEPT_IN_FORMS[3], |byte| plus(byte, lower))];
    usual.chain(forms).chain(in_lower)
}

/// What encoders of HTML and XML write for letters besides `&`, `<` and `>`.
const ENTITIES: [&[(char, &str)]; 9] = [
    // A text, and a value of an attribute.
    &[],
    &[('"', "&quot;")],
    // JavaScript.
    &[('"', "&quot;"), ('\'', "&#39;")],
    // Python.
    &[('"', "&quot;"), ('\'', "&#x27;")],
    // Go.
    &[('"', "&#34;"), ('\'', "&#39;")],
    // PHP.
    &[('"', "&quot;"), ('\'', "&#039;")],
    // XML.
    &[('"', "&quot;"), ('\'', "&apos;")],
    // Mustache and Handlebars.
    &[('"', "&quot;"), ('\'', "&#39;"), ('/', "&#x2F;"), ('`', "&#x60;"), ('=', "&#x3D;")],
    &[('"', "&quot;"), ('\'', "&#x27;"), ('`', "&#x60;"), ('=', "&#x3D;")],
];

fn html_forms(plain: &str) -> impl Iterator<Item = String> {
    ENTITIES.into_iter().map(|others| {
        plain.chars().fold(String::with_capacity(plain.len()), |mut text, letter| {
            match (letter, others.iter().find(|(other, _)| *other == letter)) {
                ('&', _) => text.push_str("&amp;"),
                ('<', _) => text.push_str("&lt;"),
                ('>', _) => text.push_str("&gt;"),
                (_, Some((_, entity))) => text.push_str(entity),
                _ => text.push(letter),
            }
            text
        })
    })
}

fn percent(plain: &str, kept: &[u8], encode: impl Fn(u8) -> String) -> String {
    plain.bytes().fold(String::with_capacity(plain.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&encode(byte));
        }
        text
    })
}

/// With nothing, one byte and two bytes before it: the characters that are the secret's alone, and with what it shares at
/// the end of a text.
fn base64(plain: &str, engine: &GeneralPurpose) -> Vec<String> {
    let at = |before: usize| {
        let bytes = Zeroizing::new([&[0, 0][..before], plain.as_bytes()].concat());
        let text = engine.encode(&bytes[..]);
        let start = (before * 8).div_ceil(6);
        [text[start..bytes.len() * 8 / 6].to_owned(), text[start..].to_owned()]
    };
    (0..3).flat_map(at).collect()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    /// How libraries write one value.
    #[rustfmt::skip]
    const WRITTEN: [(&str, &str); 25] = [
        ("encoding/json of Go", r###"a\u0026b\u003cc\u003ed=e'f+g\"h`i/j~k ü:l@m$n,o;p?q(r)*s!t%u\\v"###),
        ("the same in a text of its own", r###"a\\u0026b\\u003cc\\u003ed=e'f+g\\\"h`i/j~k ü:l@m$n,o;p?q(r)*s!t%u\\\\v"###),
        ("url.PathEscape of Go", r###"a&b%3Cc%3Ed=e%27f+g%22h%60i%2Fj~k%20%C3%BC:l@m$n%2Co%3Bp%3Fq%28r%29%2As%21t%25u%5Cv"###),
        ("url.QueryEscape of Go", r###"a%26b%3Cc%3Ed%3De%27f%2Bg%22h%60i%2Fj~k+%C3%BC%3Al%40m%24n%2Co%3Bp%3Fq%28r%29%2As%21t%25u%5Cv"###),
        ("the path of a URL of Go", r###"a&b%3Cc%3Ed=e%27f+g%22h%60i/j~k%20%C3%BC:l@m$n,o;p%3Fq%28r%29%2As%21t%25u%5Cv"###),
        ("the password in a URL of Go", r###"a&b%3Cc%3Ed=e%27f+g%22h%60i%2Fj~k%20%C3%BC%3Al%40m$n,o;p%3Fq%28r%29%2As%21t%25u%5Cv"###),
        ("html.EscapeString of Go", r###"a&amp;b&lt;c&gt;d=e&#39;f+g&#34;h`i/j~k ü:l@m$n,o;p?q(r)*s!t%u\v"###),
        ("Gson", r###"a\u0026b\u003cc\u003ed\u003de\u0027f+g\"h`i/j~k ü:l@m$n,o;p?q(r)*s!t%u\\v"###),
        ("System.Text.Json of .NET", r###"a\u0026b\u003Cc\u003Ed=e\u0027f\u002Bg\u0022h\u0060i/j~k \u00FC:l@m$n,o;p?q(r)*s!t%u\\v"###),
        ("HttpUtility.UrlEncode of .NET", r###"a%26b%3cc%3ed%3de%27f%2bg%22h%60i%2fj%7ek+%c3%bc%3al%40m%24n%2co%3bp%3fq(r)*s!t%25u%5cv"###),
        ("WebUtility.UrlEncode of .NET", r###"a%26b%3Cc%3Ed%3De%27f%2Bg%22h%60i%2Fj%7Ek+%C3%BC%3Al%40m%24n%2Co%3Bp%3Fq(r)*s!t%25u%5Cv"###),
        ("json.dumps of Python", r###"a&b<c>d=e'f+g\"h`i/j~k \u00fc:l@m$n,o;p?q(r)*s!t%u\\v"###),
        ("urllib.parse.quote of Python", r###"a%26b%3Cc%3Ed%3De%27f%2Bg%22h%60i/j~k%20%C3%BC%3Al%40m%24n%2Co%3Bp%3Fq%28r%29%2As%21t%25u%5Cv"###),
        ("html.escape of Python", r###"a&amp;b&lt;c&gt;d=e&#x27;f+g&quot;h`i/j~k ü:l@m$n,o;p?q(r)*s!t%u\v"###),
        ("xml.sax.saxutils of Python", r###"a&amp;b&lt;c&gt;d=e'f+g&quot;h`i/j~k ü:l@m$n,o;p?q(r)*s!t%u\v"###),
        ("a text in XML", r###"a&amp;b&lt;c&gt;d=e'f+g"h`i/j~k ü:l@m$n,o;p?q(r)*s!t%u\v"###),
        ("encodeURI", r###"a&b%3Cc%3Ed=e'f+g%22h%60i/j~k%20%C3%BC:l@m$n,o;p?q(r)*s!t%25u%5Cv"###),
        ("encodeURIComponent", r###"a%26b%3Cc%3Ed%3De'f%2Bg%22h%60i%2Fj~k%20%C3%BC%3Al%40m%24n%2Co%3Bp%3Fq(r)*s!t%25u%5Cv"###),
        ("URLSearchParams", r###"a%26b%3Cc%3Ed%3De%27f%2Bg%22h%60i%2Fj%7Ek+%C3%BC%3Al%40m%24n%2Co%3Bp%3Fq%28r%29*s%21t%25u%5Cv"###),
        ("the query of a URL in JavaScript", r###"a&b%3Cc%3Ed=e%27f+g%22h`i/j~k%20%C3%BC:l@m$n,o;p?q(r)*s!t%u\v"###),
        ("json_encode of PHP", r###"a&b<c>d=e'f+g\"h`i\/j~k \u00fc:l@m$n,o;p?q(r)*s!t%u\\v"###),
        ("urlencode of PHP", r###"a%26b%3Cc%3Ed%3De%27f%2Bg%22h%60i%2Fj%7Ek+%C3%BC%3Al%40m%24n%2Co%3Bp%3Fq%28r%29%2As%21t%25u%5Cv"###),
        ("htmlspecialchars of PHP", r###"a&amp;b&lt;c&gt;d=e&#039;f+g&quot;h`i/j~k ü:l@m$n,o;p?q(r)*s!t%u\v"###),
        ("jq -r @html", r###"a&amp;b&lt;c&gt;d=e&apos;f+g&quot;h`i/j~k ü:l@m$n,o;p?q(r)*s!t%u\v"###),
        ("mustache", r###"a&amp;b&lt;c&gt;d&#x3D;e&#39;f+g&quot;h&#x60;i&#x2F;j~k ü:l@m$n,o;p?q(r)*s!t%u\v"###),
    ];

    #[test]
    fn every_encoding_of_a_secret_holds_one_of_its_forms() {
        let secret = "s3cret/of+the \"test\"~ü?>";
        let found = of(secret);
        for before in ["", "a", "ab", "abc", "user:"] {
            for after in ["", "z", "zz", "zzz"] {
                let text = format!("{before}{secret}{after}");
                let encoded = [
                    text.clone(),
                    serde_json::Value::from(text.as_str()).to_string(),
                    hex(text.as_bytes()),
                    hex(text.as_bytes()).to_uppercase(),
                    STANDARD.encode(&text),
                    URL_SAFE.encode(&text),
                    url::form_urlencoded::byte_serialize(text.as_bytes()).collect(),
                    url::Url::parse(&format!("http://a/{}", text.replace('?', "%3F"))).unwrap().path().to_owned(),
                ];
                for one in encoded {
                    assert!(found.iter().any(|form| one.contains(form.as_str())), "{one}");
                }
            }
        }
    }

    #[test]
    fn each_spelling_of_common_libraries_is_looked_for() {
        let found = of("a&b<c>d=e'f+g\"h`i/j~k ü:l@m$n,o;p?q(r)*s!t%u\\v");
        let missing: Vec<_> = WRITTEN.iter().filter(|(_, text)| !found.iter().any(|form| form == text)).collect();
        assert!(missing.is_empty(), "{missing:#?}");
    }

    #[test]
    fn what_needs_no_escape_has_few_forms() {
        assert_eq!(of("sk_live_4eC39HqLyjWDarjtT1zdp7dc").len(), 9);
    }

    #[test]
    fn lines_of_a_key_are_looked_for_by_themselves() {
        let found = of("-----BEGIN KEY-----\nMIIEvQIBADANBg\nshort\n-----END KEY-----");
        let has = |text: &str| found.iter().any(|form| form == text);
        assert!(has("MIIEvQIBADANBg") && !has("short") && !has("-----BEGIN KEY-----"));
    }

    #[test]
    fn what_is_too_short_is_no_secret() {
        assert!(of("abc").is_empty());
    }
}
