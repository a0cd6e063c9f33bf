//! What a token allows, and what a request needs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::plugin::is_plugin_name;

/// What a token allows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// Everything, also to replace and to remove plugins.
    Admin,
    /// To hand in jobs of any plugin.
    Enqueue,
    /// To hand in jobs of that plugin.
    EnqueueFor(String),
    /// To cancel and to retry jobs, to pause and to resume plugins, to act on downstreams, and to read.
    Operate,
    /// To look at everything.
    Read,
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need<'a> {
    /// `read`, `operate` or `admin`.
    Read,
    /// `operate` or `admin`.
    Operate,
    /// `admin`.
    Admin,
    /// `enqueue` for at least one plugin, or `admin`; the body says for which it must be.
    EnqueueSome,
    /// `enqueue` for that plugin, or `admin`.
    Enqueue(&'a str),
}

impl Scope {
    /// Whether it allows what is needed.
    #[must_use]
    pub fn allows(&self, need: Need<'_>) -> bool {
        match (self, need) {
            (Self::Admin, _)
            | (Self::Operate, Need::Operate | Need::Read)
            | (Self::Read, Need::Read)
            | (Self::Enqueue, Need::EnqueueSome | Need::Enqueue(_))
            | (Self::EnqueueFor(_), Need::EnqueueSome) => true,
            (Self::EnqueueFor(own), Need::Enqueue(plugin)) => own == plugin,
            _ => false,
        }
    }
}

impl fmt::Display for Need<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("read"),
            Self::Operate => f.write_str("operate"),
            Self::Admin => f.write_str("admin"),
            Self::EnqueueSome => f.write_str("enqueue"),
            Self::Enqueue(plugin) => write!(f, "enqueue:{plugin}"),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin => f.write_str("admin"),
            Self::Enqueue => f.write_str("enqueue"),
            Self::EnqueueFor(plugin) => write!(f, "enqueue:{plugin}"),
            Self::Operate => f.write_str("operate"),
            Self::Read => f.write_str("read"),
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "admin" => Ok(Self::Admin),
            "enqueue" => Ok(Self::Enqueue),
            "operate" => Ok(Self::Operate),
            "read" => Ok(Self::Read),
            _ => match text.strip_prefix("enqueue:") {
                Some(plugin) if is_plugin_name(plugin) => Ok(Self::EnqueueFor(plugin.to_owned())),
                Some(plugin) => Err(format!("{plugin:?} is not a plugin's name: a name is [a-z0-9][a-z0-9-]{{0,62}}")),
                None => {
                    Err(format!("{text:?} is not a scope; there are read, enqueue, enqueue:PLUGIN, operate and admin"))
                }
            },
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: [Need<'static>; 6] =
        [Need::Read, Need::Operate, Need::Admin, Need::EnqueueSome, Need::Enqueue("erp"), Need::Enqueue("crm")];

    #[test]
    fn each_scope_allows_its_own_and_nothing_else() {
        for (scope, allowed) in [
            ("read", [true, false, false, false, false, false]),
            ("operate", [true, true, false, false, false, false]),
            ("enqueue", [false, false, false, true, true, true]),
            ("enqueue:erp", [false, false, false, true, true, false]),
            ("admin", [true; 6]),
        ] {
            let scope: Scope = scope.parse().unwrap();
            assert_eq!(NEEDS.map(|need| scope.allows(need)), allowed, "{scope}");
        }
    }

    #[test]
    fn scopes_are_read_as_they_are_written() {
        for text in ["admin", "enqueue", "enqueue:erp-2", "operate", "read"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        for text in ["", "Read", "write", "enqueue:", "enqueue:*", "enqueue:ERP", "read enqueue"] {
            assert!(text.parse::<Scope>().is_err(), "{text:?}");
        }
    }
}
