//! What all plugins' clients share of the outside, and the way that one plugin's calls take to it.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ipnet::IpNet;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Semaphore;

use crate::config::{Inject, Network, Origin, PluginFile, Proxy, Secret};

use super::super::load_error::Unusable;
use super::super::secrets::Secrets;
use super::super::settings::Descriptors;
use super::link::AGE_MAX;
use super::proxy::Tunnel;
use super::resolve::Names;
use super::sockets::Sockets;
use super::tls::{Material, trusted_roots};

/// The outside as this host knows it.
#[derive(Debug)]
pub(in crate::plugin) struct Outside {
    network: Network,
    allow_cidrs: Arc<[IpNet]>,
    roots: OnceLock<Arc<RootCertStore>>,
    /// Whom names are looked up with.
    pub(super) names: Names,
    /// The look-ups of all plugins.
    pub(super) lookups: Arc<Semaphore>,
    /// The sockets of all plugins.
    pub(super) sockets: Arc<Sockets>,
    /// From which age on a connection takes no further request.
    pub(super) age_max: Duration,
}

impl Outside {
    /// The outside with these settings, and as many descriptors for it. The roots are read at the first call.
    pub(in crate::plugin) fn new(network: &Network, descriptors: Descriptors) -> Self {
        Self {
            network: network.clone(),
            allow_cidrs: network.allow_cidrs.as_slice().into(),
            roots: OnceLock::new(),
            names: Names::System,
            lookups: Arc::new(Semaphore::new(descriptors.lookups)),
            sockets: Sockets::new(descriptors.sockets),
            age_max: AGE_MAX,
        }
    }

    /// The special ranges that names may resolve to.
    pub(super) fn allow_cidrs(&self) -> Arc<[IpNet]> {
        self.allow_cidrs.clone()
    }

    /// Whom everybody trusts.
    pub(super) fn roots(&self) -> &Arc<RootCertStore> {
        self.roots.get_or_init(|| Arc::new(trusted_roots()))
    }

    /// Where the password for that plugin's proxy comes from.
    pub(in crate::plugin) fn proxy_credentials<'a>(&'a self, file: &'a PluginFile) -> Option<&'a Secret> {
        match &file.proxy {
            Some(_) => file.proxy_credentials.as_ref(),
            None => self.network.proxy_credentials.as_ref(),
        }
    }

    /// The files beside that plugin's own that its grants are made of.
    pub(in crate::plugin) fn files(&self, file: &PluginFile) -> Vec<PathBuf> {
        file.files().chain(self.proxy_credentials(file).and_then(Secret::file)).cloned().collect()
    }

    fn tunnel(&self, file: &PluginFile, secrets: &Secrets) -> Option<Arc<Tunnel>> {
        match file.proxy.as_ref().or(self.network.proxy.as_ref())? {
            Proxy::None => None,
            Proxy::Tunnel { host, port } => {
                Some(Arc::new(Tunnel { host: host.clone(), port: *port, credentials: secrets.proxy().cloned() }))
            }
        }
    }
}

/// The way out of one plugin under one state of its file. Connections that were made on one are not used on another.
#[derive(Default)]
pub(in crate::plugin) struct Way {
    pub(super) file: String,
    pub(super) proxy: Option<Arc<Tunnel>>,
    pub(super) inside_only: Vec<Origin>,
    /// Where it is not the usual one.
    pub(super) tls: Option<ClientConfig>,
    pub(super) material: Material,
    pub(super) origins: Vec<Origin>,
    pub(super) injects: Vec<Inject>,
    pub(super) secrets: Arc<Secrets>,
}

impl Way {
    /// What that file says, with the files that it names.
    pub(in crate::plugin) fn read(
        name: String,
        file: &PluginFile,
        secrets: &Arc<Secrets>,
        outside: &Outside,
    ) -> Result<Self, Unusable> {
        let material = Material::read(&file.tls)?;
        let tls = (!material.is_usual()).then(|| material.config(outside.roots())).transpose()?;
        let is_guarded = |origin: &&Origin| {
            !origin.tls && file.inject.iter().any(|inject| !inject.plain_http && inject.covers(origin))
        };
        Ok(Self {
            file: name,
            proxy: outside.tunnel(file, secrets),
            inside_only: file.origins.iter().filter(is_guarded).cloned().collect(),
            tls,
            material,
            origins: file.origins.clone(),
            injects: file.inject.clone(),
            secrets: secrets.clone(),
        })
    }
}

impl PartialEq for Way {
    fn eq(&self, other: &Self) -> bool {
        self.proxy == other.proxy
            && self.material == other.material
            && self.origins == other.origins
            && self.injects == other.injects
            && self.secrets == other.secrets
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("proxy", &self.proxy).field("origins", &self.origins).finish_non_exhaustive()
    }
}
