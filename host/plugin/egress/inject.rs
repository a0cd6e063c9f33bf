//! Headers that the host adds to requests, and covers in answers: the plugin uses what it never sees.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use crate::config::{Inject, Origin, Piece, PluginFile, is_same_header};

use super::super::secrets::{Mask, Secrets};
use super::failure::SendFailure;
use super::{Grants, Target};

/// A header that is added.
#[derive(Clone, Debug)]
pub(super) struct Injection {
    name: HeaderName,
    value: HeaderValue,
    rule: Inject,
}

/// What is covered in the answers of each origin: what is added to its requests, as it might say that back. An origin
/// that was never sent a secret has none to say back, but could be made to try guesses on the cover.
#[derive(Clone, Debug, Default)]
pub(super) struct Covers(Vec<(Origin, Arc<Mask>)>);

impl Covers {
    /// One cover for all origins that are sent the same secrets.
    pub(super) fn new(file: &PluginFile, secrets: &Secrets) -> Self {
        let mut made = BTreeMap::<BTreeSet<String>, Option<Arc<Mask>>>::new();
        let mut covers = Vec::new();
        for origin in &file.origins {
            let names: BTreeSet<_> =
                file.inject.iter().filter(|inject| inject.covers(origin)).flat_map(Inject::names).collect();
            let cover = made.entry(names).or_insert_with_key(|names| secrets.cover(names));
            covers.extend(cover.clone().map(|cover| (origin.clone(), cover)));
        }
        Self(covers)
    }

    fn of(&self, origin: &Origin) -> Option<Arc<Mask>> {
        self.0.iter().find(|(covered, _)| covered == origin).map(|(_, cover)| cover.clone())
    }
}

/// A shorter secret is found by trying all of them: an answer that repeats the guesses tells which one is covered.
const HIDDEN_BYTES_MIN: usize = 8;

/// Fills the values in.
pub(super) fn read(file: &PluginFile, secrets: &Secrets) -> Result<Vec<Injection>, String> {
    let fill = |inject: &Inject| {
        let refusal = |why: &str| format!("inject of {}: {why}", inject.header);
        let name = HeaderName::from_bytes(inject.header.as_bytes()).map_err(|_| refusal("this is no header"))?;
        let mut text = Zeroizing::new(String::new());
        for piece in inject.pieces().map_err(|why| refusal(&why))? {
            match &piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Named(name) => {
                    let value = secrets.get(name).or_else(|| file.config.get(name).map(String::as_str));
                    text.push_str(value.ok_or_else(|| refusal(&format!("{name} is not there")))?);
                }
            }
        }
        let mut value = checked(&text).ok_or_else(|| {
            refusal("its value would have a line break, another control character or one that is not ASCII")
        })?;
        // Not shown, and not kept in the tables by which HTTP/2 makes headers small.
        value.set_sensitive(true);
        Ok(Injection { name, value, rule: inject.clone() })
    };
    file.inject.iter().map(fill).collect()
}

/// What goes over the wire in a header: visible ASCII, blanks and tabs.
pub(in crate::plugin) fn checked(text: &str) -> Option<HeaderValue> {
    let is_fit = text.bytes().all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte));
    is_fit.then(|| HeaderValue::from_str(text).ok()).flatten()
}

impl Grants {
    /// Warns of what the plugin could find by guessing.
    pub(in crate::plugin) fn tell_guessable(&self) {
        for inject in &self.whole.inject {
            for name in inject.names() {
                let Some(value) = self.secrets.hidden(&name).filter(|value| value.len() < HIDDEN_BYTES_MIN) else {
                    continue;
                };
                tracing::warn!(
                    file = self.file,
                    header = inject.header,
                    secret = name,
                    bytes = value.len(),
                    "a secret of less than {HIDDEN_BYTES_MIN} bytes is injected: where an origin that it goes to repeats \
                     what the plugin says, the plugin could find it by guessing; take a longer one"
                );
            }
        }
    }

    /// Adds what the operator says to a request that was admitted, and gives what is to be covered in its answer. What
    /// the host adds, the guest cannot set.
    pub(in crate::plugin) fn inject(
        &self,
        target: &Target,
        headers: &mut HeaderMap,
    ) -> Result<Option<Arc<Mask>>, SendFailure> {
        let added = || self.injections.iter().filter(|injection| injection.rule.covers(&target.origin));
        for Injection { name, .. } in added() {
            if let Some(own) = headers.keys().find(|own| is_same_header(own.as_str(), name.as_str())) {
                let alike = if own == name { "" } else { SAME_HEADER };
                let why = format!("the header {own} is added to this request by the host{alike}: leave it out");
                return Err(SendFailure::Invalid(why));
            }
        }
        for injection in added() {
            headers.insert(&injection.name, injection.value.clone());
        }
        Ok(self.covers.of(&target.origin))
    }
}

/// Why a name counts as another.
pub(in crate::plugin) const SAME_HEADER: &str = " (in names of headers all signs, as - and _, count as one)";

/// Covers in an answer's headers what the plugin must not see. A header whose name holds it is left out.
pub(in crate::plugin) fn veil(cover: Option<&Arc<Mask>>, headers: &mut HeaderMap) {
    let Some(mask) = cover else { return };
    let telling: Vec<_> = headers.keys().filter(|name| mask.finds(name.as_str().as_bytes())).cloned().collect();
    for name in telling {
        headers.remove(name);
    }
    for value in headers.values_mut() {
        let mut bytes = value.as_bytes().to_vec();
        mask.blot(&mut bytes);
        if bytes != value.as_bytes() {
            // Covered bytes are visible ASCII, so that a value stays one.
            *value = HeaderValue::from_bytes(&bytes).unwrap_or_else(|_| HeaderValue::from_static("***"));
        }
    }
}
