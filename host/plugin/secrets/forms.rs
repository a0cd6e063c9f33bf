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
    let upper = |byte: u8| format!("%{byte:02X}");
    let lower = |byte: u8| format!("%{byte:02x}");
    let encoded = [
        // As the name of a host, or of a header.
        plain.to_ascii_lowercase(),
        json(plain),
        // JSON that is a text in JSON.
        json(&json(plain)),
        json(plain).replace('/', "\\/"),
        ascii_json(plain),
        percent(plain, b"-._~", upper),
        percent(plain, b"-._~", lower),
        percent(plain, b"-._~!'()*", upper),
        percent(plain, b"-._*", |byte| if byte == b' ' { "+".to_owned() } else { upper(byte) }),
        percent(plain, b"-._~!'()*$&+,/:;=@[]|^\\%", upper),
        hex(plain.as_bytes()),
        hex(plain.as_bytes()).to_ascii_uppercase(),
    ];
    let encoded =
        encoded.into_iter().chain([STANDARD_NO_PAD, URL_SAFE_NO_PAD].iter().flat_map(|engine| base64(plain, engine)));
    let encoded = encoded.filter(|form| form.len() >= ENCODED_BYTES_MIN);
    std::iter::once(plain.to_owned()).chain(encoded).collect()
}

/// As it stands between the quotes.
fn json(plain: &str) -> String {
    let quoted = serde_json::Value::from(plain).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// The same in ASCII alone.
fn ascii_json(plain: &str) -> String {
    let mut text = String::with_capacity(plain.len());
    for letter in json(plain).chars() {
        if letter.is_ascii() {
            text.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\u{unit:04x}");
        }
    }
    text
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
