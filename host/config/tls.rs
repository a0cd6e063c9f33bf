//! `[tls]` in a plugin's file: an authority of one's own, and the certificate that the plugin's client shows.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// TLS of one plugin's calls. Certificates are always verified: nothing here turns that off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// A file of PEM certificates that are trusted beside the usual roots. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Whether `ca` alone is trusted, in place of the usual roots. Default: false.
    pub only_ca: bool,
    /// A file with the client's certificate and those between it and its root, PEM. Comes with `key`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// A file with the certificate's private key, PEM, which only the host may read. Comes with `cert`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

impl Tls {
    pub(super) fn validate(&self) -> Result<(), String> {
        match (&self.cert, &self.key) {
            (Some(_), None) => return Err("tls.cert: tls.key is missing beside it".to_owned()),
            (None, Some(_)) => return Err("tls.key: tls.cert is missing beside it".to_owned()),
            _ => {}
        }
        if self.only_ca && self.ca.is_none() {
            return Err("tls.only_ca: without tls.ca nothing at all would be trusted".to_owned());
        }
        Ok(())
    }

    /// The files that it names.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.ca.iter().chain(&self.cert).chain(&self.key)
    }
}
