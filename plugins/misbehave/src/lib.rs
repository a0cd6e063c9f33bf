//! A plugin for tests: it does what its payload says, however unwise. `verb` lists what it can do.

mod fetch;
mod fill;
mod hostile;
mod perform;
mod probe;
mod strain;
mod verb;
mod wasi_fetch;

// The world of plugins, and beside it what a plugin may import: sockets, which it should find locked, randomness, clocks
// and output, of which it should find an end.
wit_bindgen::generate!({
    inline: "
        package windlass:misbehave;
        world misbehave {
            include windlass:plugin/plugin@0.1.0;
            import wasi:sockets/instance-network@0.2.12;
            import wasi:sockets/tcp-create-socket@0.2.12;
            import wasi:random/random@0.2.12;
            import wasi:clocks/monotonic-clock@0.2.12;
            import wasi:clocks/wall-clock@0.2.12;
            import wasi:cli/stdout@0.2.12;
        }
    ",
    path: "../../wit",
    generate_all,
});

use exports::windlass::plugin::handler::{Completion, Failure, Guest, Job};

struct Misbehave;

impl Guest for Misbehave {
    fn run(job: Job) -> Result<Completion, Failure> {
        let verb = verb::of_payload(&job.payload)?;
        perform::perform(verb, &job)
    }
}

export!(Misbehave);
