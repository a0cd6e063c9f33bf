//! The way out: what a plugin may reach, and the client that reaches it.
//!
//! Each plugin has a client of its own, kept over its revisions; connections are never shared between plugins. An
//! origin is judged when a request is made, an address when it is about to be dialled.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use hyper_util::client::legacy::Client;
use tokio::runtime::Handle;

use crate::clock::UnixMs;
use crate::config::{Origin, PluginFile};

use super::grants::{self, Denials};
use super::secrets::Secrets;

mod address;
mod body;
mod brief;
mod call;
mod connect;
mod failure;
#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::plugin) mod fuzzing;
mod inject;
mod link;
mod outside;
mod pace;
mod policy;
mod proxy;
mod race;
mod record;
mod resolve;
mod retry_after;
mod send;
mod serving;
mod sockets;
#[cfg(test)]
mod tests;
mod tls;
mod usage;
mod wire;

pub(super) use body::{SendBody, Sent};
pub(super) use failure::{Part, SendFailure, Unreachable};
pub(super) use inject::{SAME_HEADER, checked, veil};
pub(super) use link::InUse;
pub(super) use outside::{Outside, Way};
pub(super) use policy::Target;
pub(super) use record::Recorder;
pub(super) use send::{Answered, Oversize, Read, has_no_body, is_cut_short, read, unread_bytes_max};

use brief::Brief;
use connect::Connector;
use inject::{Covers, Injection};
use resolve::Resolver;
use serving::Serving;
use tls::{Connections, Material};

/// How long an unused connection is kept. Below what servers commonly allow, so that few are found dead.
const IDLE_SECS: u64 = 45;
/// How often a connection of HTTP/2 is asked whether it is there, while it carries requests, and how long it may take.
const PING_EVERY: std::time::Duration = std::time::Duration::from_secs(10);
const PING_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
/// What an answer of HTTP/2 may bring before somebody reads it, ...
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// ... and all of one connection together.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Unused connections that are kept per origin: as many as a burst opens, up to this.
const IDLE_CONNECTIONS_MAX: usize = 256;
/// The head of an answer.
pub(super) const HEAD_BYTES_MAX: usize = 128 << 10;
/// The headers of an answer.
const HEADERS_MAX: usize = 256;

/// What the operator granted to one plugin, as its attempts need it.
#[derive(Clone, Debug, Default)]
pub(super) struct Grants {
    /// The file that says so.
    file: String,
    /// The origins that it may reach.
    origins: Vec<Origin>,
    /// The values that it may read.
    config: BTreeMap<String, String>,
    /// The secrets that it may use, and that are masked in what it says.
    pub(super) secrets: Arc<Secrets>,
    /// The headers that are added to its requests.
    injections: Vec<Injection>,
    /// What is covered in their answers.
    covers: Covers,
    /// The file itself.
    whole: PluginFile,
    /// The names of the secrets that the plugin says it needs.
    asked_secrets: Vec<String>,
    /// What it asked for in vain.
    pub(super) denials: Arc<Denials>,
}

impl Grants {
    /// The grants that `file` holds, for a plugin whose file of grants is called `name`.
    pub(super) fn new(name: String, file: &PluginFile, secrets: Arc<Secrets>) -> Result<Self, String> {
        let (injections, covers) = (inject::read(file, &secrets)?, Covers::new(file, &secrets));
        let (origins, config) = (file.origins.clone(), file.config.clone());
        Ok(Self { file: name, origins, config, secrets, injections, covers, whole: file.clone(), ..Self::default() })
    }

    /// The same for a plugin whose file is, or would be, called `name`, that says it needs those secrets, and that has
    /// asked for some things in vain.
    pub(super) fn asked(self, name: String, secrets: &[String], denials: Arc<Denials>) -> Self {
        Self { file: name, asked_secrets: secrets.to_vec(), denials, ..self }
    }

    /// The plugin's name: that of its file.
    pub(super) fn plugin(&self) -> &str {
        let stem = std::path::Path::new(&self.file).file_stem();
        stem.and_then(std::ffi::OsStr::to_str).unwrap_or_default()
    }

    /// What its operator gives, and what the file is called.
    pub(super) fn of_file(&self) -> (&PluginFile, &str) {
        (&self.whole, &self.file)
    }

    /// What would give a secret that the plugin says it needs; none where it does not say so, or where it is given in
    /// another way than to be read.
    pub(super) fn secret_remedy(&self, name: &str) -> Option<String> {
        let file = &self.file;
        let line = || grants::secret_line(self.plugin(), name);
        let is_missing = self.asked_secrets.iter().any(|asked| asked == name) && !self.whole.secrets.contains_key(name);
        is_missing.then(|| {
            format!("the plugin asked for the secret {name}: add it under [secrets] in {file}, for example {}", line())
        })
    }

    /// Tells the log of a denial that is new.
    pub(super) fn note_denied(&self, remedy: &str, now: UnixMs) {
        if self.denials.note(remedy, now) {
            let plugin = self.plugin();
            tracing::warn!(plugin.name = plugin, remedy, "a plugin asked for what it is not granted: its jobs wait");
        }
    }

    /// The value or the secret of that name, where the plugin may read it.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        self.config.get(name).cloned().or_else(|| self.secrets.readable(name).map(str::to_owned))
    }
}

/// One plugin's client under one state of its file. Made at its first call: most of it is there for TLS.
#[derive(Debug)]
pub(super) struct Egress {
    /// The plugin's name.
    plugin: Arc<str>,
    outside: Arc<Outside>,
    way: Way,
    serving: Handle,
    client: OnceLock<Client<Connections, SendBody>>,
    brief: Brief,
}

impl Egress {
    /// A client that has not been used. Its connections belong to the present runtime, also those that a guest asks for
    /// which has moved to threads of low priority.
    pub(super) fn new(plugin: &str, outside: Arc<Outside>, way: Way) -> Self {
        let (client, brief) = Default::default();
        Self { plugin: plugin.into(), outside, way, serving: Handle::current(), client, brief }
    }

    /// Whether connections that were made here may be used on that way.
    pub(super) fn goes(&self, way: &Way) -> bool {
        self.way == *way
    }

    fn connector(&self) -> Connections {
        let usual = || Material::default().config(self.outside.roots());
        let tls = self.way.tls.clone().map_or_else(usual, Ok);
        let connector = Connector {
            allow_cidrs: self.outside.allow_cidrs(),
            resolver: Resolver::new(self.outside.names.clone(), self.outside.lookups.clone()),
            proxy: self.way.proxy.clone(),
            inside_only: self.way.inside_only.as_slice().into(),
            file: self.way.file.as_str().into(),
            plugin: self.plugin.clone(),
            sockets: self.outside.sockets.clone(),
        };
        let tls = tls.expect("nothing that a file says is in the usual way");
        Connections::new(tls, connector, self.serving.clone())
    }

    fn client(&self) -> &Client<Connections, SendBody> {
        self.client.get_or_init(|| {
            let serving = Serving(self.serving.clone());
            Client::builder(serving.clone())
                .timer(serving.clone())
                .pool_timer(serving)
                .pool_idle_timeout(std::time::Duration::from_secs(IDLE_SECS))
                .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
                .http1_max_buf_size(HEAD_BYTES_MAX)
                .http1_max_headers(HEADERS_MAX)
                // One that carries requests and is silent even to a ping is gone.
                .http2_keep_alive_interval(PING_EVERY)
                .http2_keep_alive_timeout(PING_PATIENCE)
                .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
                .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .http2_max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
                .build(self.connector())
        })
    }
}
