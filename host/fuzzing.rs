//! What the fuzzer drives: each function takes bytes as they come from outside, and panics where a promise is broken.
//! Built for tests and under the feature `fuzzing` alone.

pub use crate::api::fuzzing::{http, request};
pub use crate::config::fuzzing::config;
pub use crate::plugin::fuzzing::{address, component, guest, origin, retry_after, text};
pub use crate::store::sqlite::fuzzing::store;

/// What takes bytes and panics where a promise is broken.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 10] = [
    ("address", address),
    ("component", component),
    ("config", config),
    ("guest", guest),
    ("http", http),
    ("origin", origin),
    ("request", request),
    ("retry_after", retry_after),
    ("store", store),
    ("text", text),
];

#[cfg(test)]
mod tests;
