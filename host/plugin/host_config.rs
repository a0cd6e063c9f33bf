//! `windlass:plugin/config`: the values that the operator gave.

use super::bindings::windlass::plugin::config::Host;
use super::state::State;

impl Host for State {
    fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        let value = self.attempt.grants.value(&name);
        let bytes = name.len() + value.as_ref().map_or(0, String::len);
        self.attempt.passed(bytes as u64);
        self.called()?;
        if value.is_none()
            && let Some(remedy) = self.attempt.grants.secret_remedy(&name)
        {
            self.attempt.deny(&remedy);
        }
        Ok(value)
    }
}
