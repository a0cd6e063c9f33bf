//! `/v1/downstreams`: the systems that jobs call, how they are, what waits for them, and what people do about it.

mod act;
mod document;
mod list;
mod parts;
mod show;

pub use act::{HoldRequest, LimitRequest, PartRequest};
pub use document::{BreakerState, DownstreamAct, DownstreamDocument, DownstreamPlugin, HeldUntil, Outage};
pub use list::DownstreamList;

pub(super) use act::{__path_hold, __path_limit, __path_probe, __path_release, hold, limit, probe, release};
pub(super) use list::{__path_list, list};
pub(super) use show::{__path_show, show};
