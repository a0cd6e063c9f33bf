//! Which components the operator lets in: one by its digest, or those that certain people signed. Where anything of it
//! is not known, nobody comes in.

use crate::config::{PluginFile, PublicKey, Signers};

use super::load_error::Unusable;
use super::signature::Signature;
use super::{LoadError, report};

/// What is asked of the component of one plugin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy<'a> {
    /// The plugin's name.
    pub(super) name: &'a str,
    /// What its file says.
    pub(super) file: &'a PluginFile,
    /// What the host asks of every plugin.
    pub(super) host: Option<&'a Signers>,
}

impl Policy<'_> {
    /// Whether signatures are looked at.
    pub(super) fn asks_for_signature(&self) -> bool {
        self.host.is_some() || self.file.signed_by.is_some()
    }

    /// Lets the component of that digest in or says why not. `signatures` are those that came with it; the error says
    /// why they cannot be read.
    pub(super) fn admit(&self, digest: &str, signatures: Result<&[Signature], Unusable>) -> Result<(), LoadError> {
        if let Some(pinned) = self.file.sha256.as_ref().filter(|pinned| pinned.as_str() != digest) {
            return Err(report::not_pinned(self.name, digest, pinned.as_str()));
        }
        if !self.asks_for_signature() {
            return Ok(());
        }
        let signatures = signatures.map_err(|why| report::bad_signature(self.name, &why))?;
        if signatures.is_empty() {
            return Err(report::unsigned(self.name));
        }
        let keys = self.keys();
        if keys.is_empty() {
            return Err(report::no_common_signer(self.name));
        }
        match signatures.iter().any(|signature| signature.signer(&keys, self.name, digest).is_some()) {
            true => Ok(()),
            false => Err(report::wrong_signature(self.name, digest, &keys)),
        }
    }

    /// The keys that may sign: a plugin's own list narrows the host's.
    fn keys(&self) -> Vec<PublicKey> {
        let own = self.file.signed_by.as_ref().map(Signers::keys);
        match (self.host.map(Signers::keys), own) {
            (Some(host), Some(own)) => own.iter().filter(|key| host.contains(key)).copied().collect(),
            (one, other) => one.or(other).unwrap_or_default().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::signature::SigningKey;
    use super::*;

    fn signers(keys: &[&SigningKey]) -> Option<Signers> {
        keys.iter().map(|key| key.public()).collect::<Vec<_>>().try_into().ok()
    }

    #[test]
    fn nobody_comes_in_whom_the_operator_did_not_name() {
        let [host_key, own_key, shared_key] = [(); 3].map(|()| SigningKey::generate().unwrap().0);
        let digest = "ab".repeat(32);
        let by = |key: &SigningKey| vec![key.sign("erp", &digest)];
        let old = host_key.sign("erp", &"cd".repeat(32));
        let none = || Ok(Vec::new());
        let host = || signers(&[&host_key, &shared_key]);
        let own = || signers(&[&own_key, &shared_key]);
        for (pin, own, host, signatures, told) in [
            (None, None, None, none(), ""),
            (Some(&digest), None, None, none(), ""),
            (Some(&"cd".repeat(32)), None, None, Ok(by(&host_key)), "sha256"),
            (None, None, host(), none(), "no signature"),
            (None, own(), None, none(), "no signature"),
            (None, None, host(), Err("a pipe".to_owned().into()), "a pipe"),
            (None, None, host(), Ok(by(&host_key)), ""),
            (None, None, host(), Ok(vec![old, host_key.sign("erp", &digest)]), ""),
            (None, None, host(), Ok(vec![old]), "none of the keys"),
            (None, None, host(), Ok(vec![host_key.sign("other", &digest)]), "none of the keys"),
            (None, None, host(), Ok(by(&own_key)), "none of the keys"),
            (None, own(), None, Ok(by(&own_key)), ""),
            (None, own(), host(), Ok(by(&own_key)), "none of the keys"),
            (None, own(), host(), Ok(by(&host_key)), "none of the keys"),
            (None, own(), host(), Ok(by(&shared_key)), ""),
            (None, signers(&[&own_key]), host(), Ok(by(&own_key)), "none of the keys in its file"),
        ] {
            let sha256 = pin.map(|pin| pin.parse().unwrap());
            let file = PluginFile { sha256, signed_by: own, ..PluginFile::default() };
            let policy = Policy { name: "erp", file: &file, host: host.as_ref() };
            let signatures: Result<Vec<Signature>, Unusable> = signatures;
            let admitted = policy.admit(&digest, signatures.as_deref().map_err(Clone::clone));
            match told {
                "" => assert_eq!(admitted, Ok(())),
                told => {
                    let error = admitted.unwrap_err();
                    assert!(error.summary.contains(told) && error.help.is_some(), "wanted {told:?}, got {error:?}");
                }
            }
        }
    }
}
