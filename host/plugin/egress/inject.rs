//! Headers that the host adds to requests, and covers in answers: the plugin uses what it never sees.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use crate::config::{Inject, Piece, PluginFile};

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
    /// Adds what the operator says to a request that was admitted. What the host adds, the guest cannot set.
    pub(in crate::plugin) fn inject(&self, target: &Target, headers: &mut HeaderMap) -> Result<(), SendFailure> {
        for injection in self.injections.iter().filter(|injection| injection.rule.covers(&target.origin)) {
            let name = &injection.name;
            if headers.contains_key(name) {
                let why = format!("the header {name} is added to this request by the host: leave it out");
                return Err(SendFailure::Invalid(why));
            }
            headers.insert(name, injection.value.clone());
        }
        Ok(())
    }
}

/// Covers in an answer's headers what the plugin must not see. A header whose name holds it is left out.
pub(in crate::plugin) fn veil(mask: Option<&Arc<Mask>>, headers: &mut HeaderMap) {
    let Some(mask) = mask else { return };
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
