//! What a guest costs the host by calling it: how often, how many bytes, how many handles, how much randomness.
//!
//! Each call of WASI comes by the two views of the store's data, each of our own by its function: there they are
//! counted. wasmtime's own hook would also count what compilers make of a copy of memory, and would cost each of those.

use rand::TryRng as _;
use rand::rngs::SysRng;
use wasmtime::component::ResourceTableError;
use wasmtime::{Error, WasmBacktrace};
use wasmtime_wasi::p2::bindings::random::{insecure, random};

use crate::job::units::ByteSize;

use super::attempt::Attempt;
use super::state::State;

/// What wasmtime says of a call that hands over more than it may; it has no type for it.
pub(super) const FUEL: &str = "fuel allocated for hostcalls";
/// The same of a handle too many.
const HANDLES: &str = "store handle limit exceeded";

/// The same of headers that are larger than any that are sent.
const FIELDS: &str = "total size of fields exceeds limit";

/// The guest took more of the host than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HostCallsExceeded {
    /// It called too often.
    #[error("the guest called the host more than {0} times; raise limits.calls if that is too little")]
    Calls(u32),
    /// Too much went through its calls.
    #[error("more than {0} went through the guest's calls to the host; raise limits.call_bytes if that is too little")]
    Bytes(ByteSize),
    /// It wants too much randomness at once.
    #[error(
        "the guest asked for {0} random bytes at once, the limit is {1}; raise limits.random if that is too little"
    )]
    Random(u64, ByteSize),
    /// It wants too much randomness in all.
    #[error("the guest asked for more than {0} of randomness; raise limits.random_total if that is too little")]
    RandomTotal(ByteSize),
    /// It holds too much.
    #[error("the guest holds more than {0} handles; raise limits.handles if that is too little")]
    Handles(u32),
    /// It makes headers that are too large to be kept for it.
    #[error("the guest made headers of more than twice {0}; raise limits.headers if that is too little")]
    Headers(ByteSize),
    /// It has too many calls wait.
    #[error("the guest has more of its own calls wait than the host has stacks for")]
    Stacks,
    /// It hands over too much at once.
    #[error("the guest handed over more in one call than the host takes; raise limits.request if that is right")]
    HandedOver,
}

impl HostCallsExceeded {
    /// Whether that is why the guest ended.
    pub(super) fn of(error: &Error, attempt: &Attempt) -> Option<Self> {
        if let Some(exceeded) = error.downcast_ref::<Self>() {
            return Some(*exceeded);
        }
        if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) {
            return Some(Self::Handles(attempt.limits.handles));
        }
        let root = error.root_cause().to_string();
        if root.contains(HANDLES) {
            return Some(Self::Handles(attempt.limits.handles));
        }
        if root.contains(FIELDS) {
            return Some(Self::Headers(attempt.limits.headers));
        }
        // Without a place in the guest it was not a call of its own, but its answer.
        (root.contains(FUEL) && error.downcast_ref::<WasmBacktrace>().is_some()).then_some(Self::HandedOver)
    }
}

/// What is counted of one attempt's calls, beside the bytes, which are counted wherever the attempt is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Calls {
    made: u32,
    random_bytes: u64,
}

impl Calls {
    /// One more. Never refuses: what cannot say no is stopped at the guest's next turn.
    pub(super) fn count(&mut self) {
        self.made = self.made.saturating_add(1);
    }

    /// Whether the guest is within its limits.
    pub(super) fn check(&self, attempt: &Attempt) -> Result<(), HostCallsExceeded> {
        let limits = &attempt.limits;
        if self.made > limits.calls {
            return Err(HostCallsExceeded::Calls(limits.calls));
        }
        if attempt.call_bytes() > limits.call_bytes.0 {
            return Err(HostCallsExceeded::Bytes(limits.call_bytes));
        }
        Ok(())
    }

    fn draw(&mut self, bytes: u64, attempt: &Attempt) -> Result<(), HostCallsExceeded> {
        let limits = &attempt.limits;
        if bytes > limits.random.0 {
            return Err(HostCallsExceeded::Random(bytes, limits.random));
        }
        self.random_bytes = self.random_bytes.saturating_add(bytes);
        if self.random_bytes > limits.random_total.0 {
            return Err(HostCallsExceeded::RandomTotal(limits.random_total));
        }
        attempt.passed(bytes);
        self.check(attempt)
    }
}

/// Both interfaces of randomness have the machine's.
impl State {
    fn random_bytes(&mut self, bytes: u64) -> wasmtime::Result<Vec<u8>> {
        self.calls.count();
        self.calls.draw(bytes, &self.attempt)?;
        let mut drawn = vec![0; usize::try_from(bytes)?];
        SysRng.try_fill_bytes(&mut drawn)?;
        Ok(drawn)
    }

    fn random_u64(&mut self) -> wasmtime::Result<u64> {
        self.calls.count();
        self.calls.draw(8, &self.attempt)?;
        Ok(SysRng.try_next_u64()?)
    }
}

impl random::Host for State {
    fn get_random_bytes(&mut self, bytes: u64) -> wasmtime::Result<Vec<u8>> {
        self.random_bytes(bytes)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.random_u64()
    }
}

impl insecure::Host for State {
    fn get_insecure_random_bytes(&mut self, bytes: u64) -> wasmtime::Result<Vec<u8>> {
        self.random_bytes(bytes)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.random_u64()
    }
}
