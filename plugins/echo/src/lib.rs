//! The smallest whole plugin: it answers with its payload. Copy this folder to begin your own.

// Turns the interface in `wit/` into Rust. The path is relative to this package's folder; a plugin that lives
// elsewhere keeps a copy of that folder beside it. `plugin` is the world: what the host offers and what it calls.
wit_bindgen::generate!({ path: "../../wit", world: "plugin", generate_all });

use exports::windlass::plugin::handler::{Completion, Failure, Guest, Job};
use windlass::plugin::log::{self, Level};

// Any type will do. It holds nothing, as every attempt gets an instance of its own: what should last goes into the
// result, or downstream.
struct Echo;

impl Guest for Echo {
    /// Handles one attempt of one job. An `Err` says what should become of the job: see `failure` in the interface.
    fn run(job: Job) -> Result<Completion, Failure> {
        // Kept with the attempt, for whoever looks at the job later. So nothing secret, and not the payload.
        log::log(Level::Info, &format!("echoing {} bytes on attempt {}", job.payload.len(), job.attempt));

        Ok(Completion { content_type: job.content_type, body: job.payload, attributes: Vec::new() })
    }
}

// Makes `Echo` the plugin's export.
export!(Echo);
