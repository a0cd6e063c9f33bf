//! What the tests against the real binary share: a host of one's own, a downstream that does as it is told, and the
//! guests, built from source.

#![allow(dead_code, unused_imports, reason = "each test file uses its own part")]

pub mod downstream;
pub mod guests;
pub mod host;
pub mod number;
pub mod start;
pub mod trouble;

pub use downstream::{Downstream, Reply, Seen};
pub use host::{Host, Setup, private};
pub use number::number;
pub use serde_json::{Value, json};
pub use start::{Start, try_start};
pub use trouble::{Trouble, Wish};

use std::time::Duration;

/// How long anything may take before a test gives up on it. Far more than any of it needs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Milliseconds since 1970 of an RFC 3339 text.
pub fn ms(time: &Value) -> i64 {
    let text = time.as_str().unwrap_or_else(|| panic!("{time} is no time"));
    windlass::clock::UnixMs::parse(text).unwrap_or_else(|error| panic!("{error}")).0
}

/// Asks again and again until there is an answer, for at most [`PATIENCE`].
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("gave up waiting until {what}"))
}
