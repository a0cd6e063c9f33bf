//! The HTTP door of the real binary: who may listen where, tokens and their scopes, TLS, and what hostile clients meet.
//! Raw sockets where a client would be too polite.

mod common;

#[path = "door/crowd.rs"]
mod crowd;
#[path = "door/documents.rs"]
mod documents;
#[path = "door/listen.rs"]
mod listen;
#[path = "door/slow.rs"]
mod slow;
#[path = "door/smuggling.rs"]
mod smuggling;
#[path = "door/support.rs"]
mod support;
#[path = "door/tls.rs"]
mod tls;
#[path = "door/tokens.rs"]
mod tokens;
