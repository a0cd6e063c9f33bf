//! Whom the guard let in, asked again: a token may be revoked while a body arrives, while somebody waits for a job's end or a
//! component is compiled. What took long goes on only where it would be let in now.

use super::super::State;
use super::super::error::Problem;
use super::super::tokens::{Caller, Need};
use super::{permit, unauthorized};

/// Who was let in, and for what.
#[derive(Clone, Debug)]
pub(in super::super) struct Admitted {
    caller: Caller,
    /// Nothing where no token is asked for, or nothing is there.
    need: Option<Need<'static>>,
}

impl Admitted {
    pub(super) const fn new(caller: Caller, need: Option<Need<'static>>) -> Self {
        Self { caller, need }
    }

    /// Whom the guard did not see.
    pub(in super::super) fn nobody() -> Self {
        Self::new(Caller::nobody(), Some(Need::Admin))
    }

    /// Who it was.
    pub(in super::super) const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Who it is by the tokens as they are now; or why it is refused, as the guard says it. It costs next to nothing: the
    /// tokens are in memory, and their file is looked at four times a second, however many ask.
    pub(in super::super) fn again(&self, state: &State) -> Result<Caller, Problem> {
        let Some(need) = self.need else { return Ok(self.caller.clone()) };
        let caller = state.door.tokens.again(&self.caller, state.now(), state.clock.wall()).map_err(unauthorized)?;
        permit(&caller, need)?;
        Ok(caller)
    }
}

#[cfg(test)]
mod tests;
