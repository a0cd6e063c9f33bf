//! Detached Ed25519 signatures of components. `docs/signing.md` has the format, which others make with openssl.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;

use crate::config::PublicKey;

use super::pem::pem_fault;

/// What is put behind the name of a component's file to name the file of its signatures.
pub const SIGNATURE_EXTENSION: &str = "sig";

/// What is signed with: the first line of the signed text. No other use of a key signs such a line.
const DOMAIN: &str = "windlass plugin signature v1";
/// Signatures in one file: while a component is replaced both its own and the older one's stand there.
const SIGNATURES_MAX: usize = 8;
/// What an Ed25519 private key begins with as DER: PKCS#8 of RFC 8410, without the public key.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A signature of a component under a name. Text form: base64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

/// What is wrong with a key or a signature.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// It has not the form of one. How long it is, and not what it says: it may be a key by mistake.
    #[error("this is no signature, which is the base64 of 64 bytes in 88 characters: it has {0} characters")]
    Form(usize),
    /// There are too many in one file.
    #[error("there are more than {SIGNATURES_MAX} signatures")]
    TooMany,
    /// There is none in the file.
    #[error("there is no signature in it")]
    Empty,
    /// It is not the private key that is wanted.
    #[error("this is not an Ed25519 private key as PEM (PKCS#8, not encrypted): {0}")]
    Key(String),
    /// The system gives no randomness.
    #[error("the system gives no random bytes")]
    Random,
}

impl Signature {
    /// The key among these that made it for that component under that name.
    #[must_use]
    pub fn signer<'a>(&self, keys: &'a [PublicKey], name: &str, digest: &str) -> Option<&'a PublicKey> {
        let text = signed_text(name, digest);
        keys.iter().find(|key| UnparsedPublicKey::new(&ED25519, key.bytes()).verify(text.as_bytes(), &self.0).is_ok())
    }

    /// Reads a file of signatures: one a line; empty lines are skipped.
    ///
    /// # Errors
    /// Where a line is none, or there are none or too many.
    pub fn read_all(text: &str) -> Result<Vec<Self>, SignatureError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let all: Vec<Self> = lines.map(str::parse).collect::<Result<_, _>>()?;
        match all.len() {
            0 => Err(SignatureError::Empty),
            1..=SIGNATURES_MAX => Ok(all),
            _ => Err(SignatureError::TooMany),
        }
    }
}

impl FromStr for Signature {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let bytes = STANDARD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| SignatureError::Form(text.trim().chars().count()))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Three lines: what this is, the plugin's name, the component's sha256. Names and digests hold no line's end.
fn signed_text(name: &str, digest: &str) -> String {
    format!("{DOMAIN}\n{name}\n{digest}\n")
}

/// A private key that signs components.
pub struct SigningKey(Ed25519KeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey of {}", self.public())
    }
}

impl SigningKey {
    /// A new key, as the text of its PEM file, which openssl reads too.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn generate() -> Result<(Self, String), SignatureError> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| SignatureError::Random)?;
        let der = STANDARD.encode([&PKCS8_PREFIX[..], &seed].concat());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
        Ok((Self::from_pem(pem.as_bytes())?, pem))
    }

    /// The key in a PEM file, of `plugin keygen` or of `openssl genpkey -algorithm ed25519`.
    ///
    /// # Errors
    /// Where it is something else.
    pub fn from_pem(pem: &[u8]) -> Result<Self, SignatureError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem)
            .map_err(|error| SignatureError::Key(pem_fault(&error).to_owned()))?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
        pair.map(Self).map_err(|error| SignatureError::Key(error.to_string()))
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::of(self.0.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes"))
    }

    /// Signs the component of that sha256, in lower-case hex, under that name.
    #[must_use]
    pub fn sign(&self, name: &str, digest: &str) -> Signature {
        let signature = self.0.sign(signed_text(name, digest).as_bytes());
        Signature(signature.as_ref().try_into().expect("an Ed25519 signature has 64 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::pem_tests;
    use super::*;

    #[test]
    fn a_signature_holds_for_its_key_its_name_and_its_component_alone() {
        let (key, pem) = SigningKey::generate().unwrap();
        let other = SigningKey::generate().unwrap().0.public();
        assert_eq!(SigningKey::from_pem(pem.as_bytes()).unwrap().public(), key.public());
        let signature: Signature = key.sign("erp", "ab").to_string().parse().unwrap();
        let keys = [other, key.public()];
        assert_eq!(signature.signer(&keys, "erp", "ab"), Some(&keys[1]));
        assert_eq!(signature.signer(&keys, "erp2", "ab"), None);
        assert_eq!(signature.signer(&keys, "erp", "ac"), None);
        assert_eq!(signature.signer(&[other], "erp", "ab"), None);
        assert_eq!(signature.signer(&[], "erp", "ab"), None);
    }

    #[test]
    fn files_of_signatures_are_read_line_by_line() {
        let line = SigningKey::generate().unwrap().0.sign("a", "b").to_string();
        assert_eq!(Signature::read_all(&format!("{line}\r\n\n{line}\n")).unwrap().len(), 2);
        for text in ["", "\n", "x", &line[..87], &line.repeat(2), &format!("{line}\n").repeat(9)] {
            assert!(Signature::read_all(text).is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn what_is_no_private_key_is_refused() {
        let (_, pem) = SigningKey::generate().unwrap();
        let public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
                      -----END PUBLIC KEY-----\n";
        for text in ["", "nonsense", public, &pem.replace("PRIVATE", "ENCRYPTED PRIVATE"), &pem[..60]] {
            assert!(SigningKey::from_pem(text.as_bytes()).is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn no_part_of_a_key_is_told_of_a_file_that_is_not_right() {
        let (_, pem) = SigningKey::generate().unwrap();
        for text in pem_tests::spoilt(&pem) {
            let told = SigningKey::from_pem(text.as_bytes()).unwrap_err().to_string();
            pem_tests::assert_untold(&told, &pem);
            // As the file of signatures by mistake.
            let told = Signature::read_all(&text).unwrap_err().to_string();
            pem_tests::assert_untold(&told, &pem);
        }
    }
}
