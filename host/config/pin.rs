//! What fixes a plugin to one component, or to the people who may sign for it: `sha256` and `signed_by`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What an Ed25519 public key begins with as DER: SubjectPublicKeyInfo of RFC 8410.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The most keys in one list.
const KEYS_MAX: usize = 64;

/// The sha256 of a component, in 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentDigest(String);

impl ComponentDigest {
    /// In lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ComponentDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("{text:?} is not a sha256: 64 hexadecimal digits, as `sha256sum` prints them"));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for ComponentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An Ed25519 public key. Written as the line in the middle of the PEM that `openssl pkey -pubout` prints; the 32 bytes
/// by themselves, in base64, are read too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Of its 32 bytes.
    #[must_use]
    pub fn of(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // What is no public key may be the private one: it is not shown.
        let refusal = || {
            "this is not an Ed25519 public key: give the line between BEGIN and END that `openssl pkey -in KEY -pubout` \
             prints, or what `windlass plugin keygen` printed"
                .to_owned()
        };
        let bytes = STANDARD.decode(text.trim()).map_err(|_| refusal())?;
        let raw = bytes.strip_prefix(&SPKI_PREFIX[..]).unwrap_or(&bytes);
        raw.try_into().map(Self).map_err(|_| refusal())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode([&SPKI_PREFIX[..], &self.0].concat()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whose signature a component must carry: 1 to 64 keys, any one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Signers(Vec<PublicKey>);

impl Signers {
    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        &self.0
    }
}

impl TryFrom<Vec<PublicKey>> for Signers {
    type Error = String;

    /// An empty list would either let nobody in or everybody: it is refused.
    fn try_from(keys: Vec<PublicKey>) -> Result<Self, String> {
        match keys.len() {
            0 => Err("signed_by is empty: name the keys that may sign, or leave it out".to_owned()),
            1..=KEYS_MAX => Ok(Self(keys)),
            more => Err(format!("signed_by has {more} keys; {KEYS_MAX} are the most")),
        }
    }
}

impl<'de> Deserialize<'de> for Signers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<PublicKey>::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

/// Serde by text, for both.
macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(ComponentDigest, PublicKey);

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the first test vector of RFC 8032.
    const RAW: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    const SPKI: &str = "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    #[test]
    fn a_key_is_read_in_both_forms_and_written_in_one() {
        let key: PublicKey = RAW.parse().unwrap();
        assert_eq!(SPKI.parse(), Ok(key));
        assert_eq!(key.to_string(), SPKI);
        for text in ["", "abc", "MCowBQYDK2VuAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", &RAW[..43]] {
            assert!(text.parse::<PublicKey>().is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn a_digest_is_64_digits_in_either_case() {
        let digest: ComponentDigest = "AB".repeat(32).parse().unwrap();
        assert_eq!(digest.as_str(), "ab".repeat(32));
        for text in ["", "ab", &"xy".repeat(32), &"a".repeat(65)] {
            assert!(text.parse::<ComponentDigest>().is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn an_empty_list_of_signers_is_refused() {
        assert!(toml::from_str::<super::super::PluginFile>("signed_by = []").is_err());
        assert!(toml::from_str::<super::super::PluginFile>(&format!("signed_by = [\"{SPKI}\"]")).is_ok());
    }
}
