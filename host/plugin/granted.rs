//! From a plugin's file to what its attempts are given: everything that the file names is read and checked.

use std::sync::Arc;

use crate::config::PluginFile;

use super::egress::{Grants, Outside, Way};
use super::load_error::Unusable;
use super::secrets::Secrets;

/// What a file grants.
#[derive(Debug, Default)]
pub(super) struct Granted {
    /// What attempts may use.
    pub(super) grants: Arc<Grants>,
    /// The way that their calls take.
    pub(super) way: Way,
}

impl Granted {
    /// Reads what `file`, which is called `name`, names: secrets, certificates. Blocks; a command may take its time.
    ///
    /// # Errors
    /// Names the key and what is wrong there.
    pub(super) fn read(name: &str, file: &PluginFile, outside: &Outside) -> Result<Self, Unusable> {
        let secrets = Arc::new(Secrets::read(file, outside.proxy_credentials(file))?);
        let way = Way::read(name.to_owned(), file, &secrets, outside)?;
        Ok(Self { grants: Arc::new(Grants::new(name.to_owned(), file, secrets)?), way })
    }
}
