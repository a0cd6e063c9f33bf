//! `windlass:plugin/config`: the values that the operator gave.

use super::bindings::windlass::plugin::config::Host;
use super::state::State;

impl Host for State {
    fn get(&mut self, name: String) -> Option<String> {
        self.attempt.grants.value(&name)
    }
}
