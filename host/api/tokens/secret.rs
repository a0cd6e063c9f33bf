//! The text of a token: `wl_`, twelve digits that name it, `_`, and sixty-four digits that only its holder knows.
//!
//! All digits are hexadecimal and small, so that `wl_[0-9a-f]{12}_[0-9a-f]{64}` finds a token that was left somewhere.

use std::fmt;

use ring::digest;

use super::book::Token;
use super::scope::Scope;
use crate::clock::UnixMs;
use crate::job::text::hex;

/// What every token begins with.
const PREFIX: &str = "wl_";
/// The length of the id.
const ID_CHARS: usize = 12;
/// The length of the secret.
const SECRET_CHARS: usize = 64;

/// The digest under which a token is kept.
pub(super) type TokenDigest = [u8; 32];

/// A token that was just made: the one time that its text is in our hands.
pub struct Minted {
    /// What it is called by in lists and logs.
    pub id: String,
    /// The whole text, for its holder.
    pub text: String,
    pub(super) digest: TokenDigest,
}

impl Minted {
    /// Makes one of bytes from the system's generator: six for the id, thirty-two for the secret.
    #[must_use]
    pub fn from_random(random: &[u8; 38]) -> Self {
        let (id, secret) = random.split_at(ID_CHARS / 2);
        let id = hex(id);
        let text = format!("{PREFIX}{id}_{}", hex(secret));
        let digest = digest(&text);
        Self { id, text, digest }
    }
}

impl Minted {
    /// As it is kept: without its text.
    #[must_use]
    pub fn kept(&self, name: String, scopes: Vec<Scope>, created: UnixMs, expires: Option<UnixMs>) -> Token {
        Token { id: self.id.clone(), name, scopes, created, expires, digest: self.digest }
    }
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minted").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The digest of a whole token. With 256 bits of chance in it no slow digest is needed.
pub(super) fn digest(text: &str) -> TokenDigest {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// The id in a token's text, where it has the form of one.
pub(super) fn id_of(text: &str) -> Option<&str> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    (is_hex(id, ID_CHARS) && is_hex(secret, SECRET_CHARS)).then_some(id)
}

/// Whether that can be a token's id.
pub(super) fn is_id(text: &str) -> bool {
    is_hex(text, ID_CHARS)
}

/// The bytes of those digits, thirty-two of them.
pub(super) fn unhex(text: &str) -> Option<TokenDigest> {
    let mut bytes = [0; 32];
    if !is_hex(text, 64) {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_a_form_that_scanners_find() {
        let minted = Minted::from_random(&std::array::from_fn(|n| n as u8));
        assert_eq!(minted.text, "wl_000102030405_060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425");
        assert_eq!(id_of(&minted.text), Some("000102030405"));
        assert_eq!(unhex(&hex(&minted.digest)), Some(minted.digest));
        assert!(!format!("{minted:?}").contains("0607"), "its text is not for logs");
    }

    #[test]
    fn anything_else_is_none() {
        let sound = Minted::from_random(&[7; 38]).text;
        for text in
            ["", "wl_", "wl__", &sound[1..], &sound[..sound.len() - 1], &sound.to_uppercase(), &format!("{sound}0")]
        {
            assert_eq!(id_of(text), None, "{text}");
        }
    }
}
