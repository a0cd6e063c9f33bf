//! What a job is and what becomes of it: pure values and state machines, without input, output, clock or randomness.

mod by_downstream;
pub mod gates;
pub mod health;
pub mod high_water;
pub mod id;
pub mod live;
pub mod outcome;
pub mod retry;
pub mod share;
pub mod spec;
pub mod state;
pub(crate) mod text;
pub mod units;

pub use by_downstream::ByDownstream;
pub use gates::{Admission, Admit, Doors, Gates, Lane, Opened, PluginStanding, Probed, WaitReason, Waiting};
pub use high_water::HighWater;
pub use id::{IdSource, JobId};
pub use outcome::{
    Calls, Completion, Evidence, Exchange, Fault, HostFault, LogLevel, LogLine, Outcome, OutcomeKind, Setback,
};
pub use retry::{Disposition, Jitter, RetryOverride, RetryPolicy};
pub use share::Share;
pub use spec::JobSpec;
pub use state::{EndState, State};
