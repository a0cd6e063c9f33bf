//! The HTTP interface: one file per operation, each with its refusals, its documentation and its tests.
//!
//! [`router`] is the table of contents. The module decides nothing about jobs: it reads requests strictly, speaks to the
//! [`crate::store::Store`], and asks the gates why a job waits.

mod access;
mod arriving;
mod asked;
mod door;
mod downstreams;
pub mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod guard;
mod health;
mod jobs;
mod kept;
mod metrics;
mod openapi;
mod plugins;
mod print;
mod request;
mod room;
mod router;
pub mod server;
mod state;
#[cfg(any(test, feature = "fuzzing"))]
#[cfg_attr(not(test), expect(dead_code, unused_imports, reason = "the fuzzer needs only a part of it"))]
mod testing;
pub mod tokens;

pub use access::{Access, ROUTES};
pub use arriving::{Arriving, Refusal, Ticket};
pub use door::{Door, DoorError};
pub use downstreams::{
    BreakerState, DownstreamAct, DownstreamDocument, DownstreamList, DownstreamPlugin, HeldUntil, HoldRequest,
    LimitRequest, Outage, PartRequest,
};
pub use jobs::{
    Accepted, ActedJob, AttemptDocument, AttemptEvidence, Attribute, BatchAccepted, JobDocument, JobInBrief, JobPage,
    JobRequest, JobSummary, ToldResult,
};
pub use openapi::document;
pub use plugins::{
    PluginCounts, PluginDocument, PluginFolder, PluginGrants, PluginList, PluginState, RevisionFacts, ServedPlugin,
};
pub use router::router;
pub use state::State;
