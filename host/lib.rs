//! Windlass: a durable job runner for calls to unreliable systems. The map, in reading order.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod api;
mod causes;
pub mod cli;
pub mod clock;
pub mod config;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod job;
mod lock;
pub mod plugin;
pub mod store;
pub mod telemetry;
mod to_its_end;
pub mod worker;
