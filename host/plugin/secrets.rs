//! The secrets that one plugin was granted: read once, handed to the plugin by name, and masked in whatever it says.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::config::SecretSource;

use super::text;

/// The largest secret.
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// Shorter values are not masked: they stand everywhere by chance, and are no secrets.
const MASKED_BYTES_MIN: usize = 4;

/// Secrets by name. What stands in them is shown by nothing.
#[derive(Default)]
pub(super) struct Secrets(BTreeMap<String, String>);

impl Secrets {
    /// Reads each where its source says. The line break at the end of a file is not part of it.
    pub(super) fn read(sources: &BTreeMap<String, SecretSource>) -> Result<Self, String> {
        let read = |(name, source): (&String, &SecretSource)| match value(source) {
            Ok(value) => Ok((name.clone(), value)),
            Err(why) => Err(format!("secrets.{name}: {why}")),
        };
        sources.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// The secret of that name.
    pub(super) fn get(&self, name: &str) -> Option<&String> {
        self.0.get(name)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text with the name in place of each secret.
    pub(super) fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut masked = Cow::Borrowed(text);
        for (name, secret) in self.masked() {
            if masked.contains(secret) {
                masked = Cow::Owned(masked.replace(secret, &mask(name)));
            }
        }
        masked
    }

    /// The same for bytes of any kind.
    pub(super) fn mask_bytes(&self, bytes: Bytes) -> Bytes {
        let mut masked = bytes;
        for (name, secret) in self.masked() {
            let (secret, mask) = (secret.as_bytes(), mask(name));
            let mut rest = &masked[..];
            let mut kept = Vec::new();
            while let Some(at) = rest.windows(secret.len()).position(|part| part == secret) {
                kept.extend_from_slice(&rest[..at]);
                kept.extend_from_slice(mask.as_bytes());
                rest = &rest[at + secret.len()..];
            }
            if !kept.is_empty() {
                kept.extend_from_slice(rest);
                masked = kept.into();
            }
        }
        masked
    }

    /// Those that are masked, the longest first: one may hold another.
    fn masked(&self) -> impl Iterator<Item = (&String, &String)> {
        let mut secrets: Vec<_> = self.0.iter().filter(|(_, secret)| secret.len() >= MASKED_BYTES_MIN).collect();
        secrets.sort_by_key(|(_, secret)| std::cmp::Reverse(secret.len()));
        secrets.into_iter()
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn mask(name: &str) -> String {
    format!("[{}]", text::line(name, 64))
}

/// Says what is wrong without saying what it holds.
fn value(source: &SecretSource) -> Result<String, String> {
    let value = match source {
        SecretSource::Env(variable) => match std::env::var(variable) {
            Ok(value) => value,
            Err(std::env::VarError::NotPresent) => {
                return Err(format!("the environment variable {variable} is not set"));
            }
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err(format!("the environment variable {variable} is not UTF-8"));
            }
        },
        SecretSource::Given(value) => value.clone(),
        SecretSource::File(path) => {
            let shown = path.display();
            let size = std::fs::metadata(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
            if !size.is_file() || size.len() > SECRET_BYTES_MAX {
                return Err(format!("{shown} is not a file of at most {SECRET_BYTES_MAX} bytes"));
            }
            let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
            text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text)).to_owned()
        }
    };
    if value.is_empty() { Err("it is empty".to_owned()) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(pairs: &[(&str, &str)]) -> Secrets {
        Secrets(pairs.iter().map(|(name, secret)| ((*name).to_owned(), (*secret).to_owned())).collect())
    }

    #[test]
    fn the_name_stands_where_the_secret_stood() {
        let secrets = secrets(&[("short", "abc"), ("token", "s3cret"), ("whole", "s3cret-and-more")]);
        for (said, kept) in [
            ("Bearer s3cret", "Bearer [token]"),
            ("s3cret-and-more s3cret", "[whole] [token]"),
            ("abc is no secret", "abc is no secret"),
            ("", ""),
        ] {
            assert_eq!(secrets.mask(said), kept);
            assert_eq!(secrets.mask_bytes(Bytes::from(said)), kept);
        }
        assert_eq!(secrets.mask_bytes(Bytes::from_static(b"\xffs3cret\xfe")), &b"\xff[token]\xfe"[..]);
        assert_eq!(format!("{secrets:?}"), r#"{"short", "token", "whole"}"#);
    }

    #[test]
    fn a_secret_that_cannot_be_had_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            SecretSource::File(folder.path().join(name))
        };
        let read = |source: SecretSource| Secrets::read(&BTreeMap::from([("key".to_owned(), source)]));
        assert_eq!(read(path("good", "s3cret\n")).unwrap().get("key").unwrap(), "s3cret");
        assert_eq!(read(path("crlf", "s3cret\r\n")).unwrap().get("key").unwrap(), "s3cret");
        for (source, told) in [
            (SecretSource::Env("WINDLASS_NO_SUCH_VARIABLE".into()), "WINDLASS_NO_SUCH_VARIABLE is not set"),
            (SecretSource::File(folder.path().join("none")), "cannot read"),
            (SecretSource::File(folder.path().to_owned()), "not a file"),
            (path("empty", "\n"), "empty"),
        ] {
            let error = read(source).unwrap_err();
            assert!(error.starts_with("secrets.key: ") && error.contains(told), "{error}");
        }
    }
}
