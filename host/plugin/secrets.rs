//! The secrets that one plugin was granted: read once, handed out by name or put into headers, and masked in whatever
//! the plugin says.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::config::{PluginFile, Secret};
use crate::job::LogLine;
use crate::job::spec::is_json;

use super::load_error::Unusable;
use super::text;

mod broken;
mod command;
mod forms;
mod json;
mod lines;
mod mask;
mod running;
mod source;
mod window;

pub use command::end_commands;
pub(super) use mask::Mask;
pub(super) use source::private_file;
pub(super) use window::Window;

/// How many times what a line may keep is looked at of a guest's text: much of it may be taken out, and whoever says more
/// than that is not to cost the host more than others.
const LINE_READ: usize = 4;

/// What stands for the proxy's password.
const PROXY: &str = "proxy_credentials";

/// Secrets by name. What stands in them is shown by nothing, and wiped when they are dropped.
#[derive(Default)]
pub(super) struct Secrets {
    values: BTreeMap<String, Value>,
    /// `user:password` for the proxy.
    proxy: Option<Zeroizing<String>>,
    /// Finds all of them; none where there is nothing to find.
    kept: Option<Mask>,
    /// Finds those that the plugin may read; made when it is first asked for.
    readable: OnceLock<Option<Mask>>,
}

struct Value {
    text: Zeroizing<String>,
    is_readable: bool,
}

impl Secrets {
    /// Reads each where its source says, and what the proxy asks for. May take as long as the commands among them do.
    ///
    /// # Errors
    /// Names the secret and what is wrong, not what it holds.
    pub(super) fn read(file: &PluginFile, proxy_credentials: Option<&Secret>) -> Result<Self, Unusable> {
        let injected: BTreeSet<String> = file.inject.iter().flat_map(|inject| inject.names()).collect();
        let mut values = BTreeMap::new();
        for (name, secret) in &file.secrets {
            let text = source::value(secret).map_err(|why| why.at(&format!("secrets.{name}")))?;
            let is_readable = secret.readable.unwrap_or(!injected.contains(name));
            values.insert(name.clone(), Value { text, is_readable });
        }
        let proxy = proxy_credentials.map(source::value).transpose().map_err(|why| why.at(PROXY))?;
        Ok(Self::of(values, proxy))
    }

    fn of(values: BTreeMap<String, Value>, proxy: Option<Zeroizing<String>>) -> Self {
        let named = |(name, value): (&'_ String, &'_ Value)| (name.clone(), value.text.clone());
        let password = proxy.as_ref().map(|text| text.split_once(':').map_or(text.as_str(), |(_, password)| password));
        let of_proxy = proxy.iter().cloned().chain(password.map(|text| Zeroizing::new(text.to_owned())));
        let of_proxy = of_proxy.map(|text| (PROXY.to_owned(), text));
        let kept = Mask::of(values.iter().map(named).chain(of_proxy));
        Self { values, proxy, kept, readable: OnceLock::new() }
    }

    /// The secret of that name, for the plugin; none where it may not read it.
    pub(super) fn readable(&self, name: &str) -> Option<&str> {
        self.values.get(name).filter(|value| value.is_readable).map(|value| value.text.as_str())
    }

    /// The secret of that name, for the host.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| value.text.as_str())
    }

    /// `user:password` for the proxy.
    pub(super) fn proxy(&self) -> Option<&Zeroizing<String>> {
        self.proxy.as_ref()
    }

    /// Whether there is nothing to mask.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_none()
    }

    /// The text with the name in place of each secret.
    pub(super) fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.kept.as_ref().map_or(Cow::Borrowed(text), |mask| mask.text(text))
    }

    /// The same for bytes of that media type: what is JSON stays JSON.
    pub(super) fn mask_body(&self, content_type: &str, bytes: Bytes) -> Bytes {
        let Some(mask) = &self.kept else { return bytes };
        let masked = if is_json(content_type) { mask.json(&bytes) } else { mask.bytes(&bytes) };
        masked.map_or(bytes, Bytes::from)
    }

    /// One line of at most so many bytes: masked before it is cleaned and cut, so that no half of a secret is left, and
    /// once more, as cleaning may have joined one. Of a text that is far longer the rest is not looked at.
    pub(super) fn line(&self, text: &str, bytes_max: usize) -> String {
        let line = text::line(&self.opening(text, bytes_max.saturating_mul(LINE_READ)), bytes_max);
        match self.mask(&line) {
            Cow::Borrowed(_) => line,
            Cow::Owned(masked) => text::line(&masked, bytes_max),
        }
    }

    /// Masks what is split over several lines of a log. `is_cut`: something more was said and dropped.
    pub(super) fn mask_lines(&self, log: &mut [LogLine], is_cut: bool) {
        if let Some(mask) = &self.kept {
            lines::mask(mask, log, is_cut);
        }
    }

    /// The text, masked, of which no more than so many bytes are looked at: where there are more, with nothing at its end
    /// that may be a part of a secret.
    pub(super) fn opening<'a>(&self, text: &'a str, bytes_max: usize) -> Cow<'a, str> {
        let read = &text[..text.floor_char_boundary(bytes_max)];
        match &self.kept {
            _ if read.len() == text.len() => self.mask(text),
            Some(mask) => mask.beginning(read).into(),
            None => format!("{read}…").into(),
        }
    }

    /// The text, a piece of something longer, with nothing at its edges that may be a part of a secret.
    pub(super) fn fragment(&self, text: &str) -> String {
        self.kept.as_ref().map_or_else(|| text.to_owned(), |mask| mask.fragment(text))
    }

    /// How much of the end of `bytes` may be the beginning of a secret.
    pub(super) fn open_bytes(&self, bytes: &[u8]) -> usize {
        self.kept.as_ref().map_or(0, |mask| mask.open_bytes(bytes))
    }

    /// How much of the end of `bytes`, which are the beginning of something longer, may be a part of a secret. Only of
    /// those that the plugin may read: of others it could learn them by what is missing.
    pub(super) fn readable_end(&self, bytes: &[u8]) -> usize {
        let readable = self.values.iter().filter(|(_, value)| value.is_readable);
        let mask = || Mask::of(readable.map(|(name, value)| (name.clone(), value.text.clone())));
        self.readable.get_or_init(mask).as_ref().map_or(0, |mask| mask.telling_end(bytes))
    }

    /// The secret of that name, where the plugin may not read it.
    pub(super) fn hidden(&self, name: &str) -> Option<&Zeroizing<String>> {
        self.values.get(name).filter(|value| !value.is_readable).map(|value| &value.text)
    }

    /// What finds those of these names that the plugin may not read; none where there are none. Never the proxy's: what
    /// a mask covers can be guessed by whoever chooses the text, so it is for those alone who were sent the secret.
    pub(super) fn cover<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> Option<Arc<Mask>> {
        let hidden = names.into_iter().filter_map(|name| Some((name.clone(), self.hidden(name)?.clone())));
        Mask::of(hidden).map(Arc::new)
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// Two readings that gave the same.
impl PartialEq for Secrets {
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, two): ((&String, &Value), (&String, &Value))| {
            one.0 == two.0 && one.1.text == two.1.text && one.1.is_readable == two.1.is_readable
        };
        self.values.len() == other.values.len()
            && self.values.iter().zip(&other.values).all(same)
            && self.proxy == other.proxy
    }
}

#[cfg(test)]
impl Secrets {
    /// These by name, all for the plugin to read.
    pub(super) fn given(pairs: &[(&str, &str)]) -> Self {
        let value = |text: &str| Value { text: Zeroizing::new(text.to_owned()), is_readable: true };
        Self::of(pairs.iter().map(|(name, secret)| ((*name).to_owned(), value(secret))).collect(), None)
    }
}

#[cfg(test)]
mod tests;
