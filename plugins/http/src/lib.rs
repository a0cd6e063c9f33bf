//! The plugin `http`: makes the one HTTP request that the job's payload describes, and says what its answer means.
//!
//! `payload` reads the job, the host sends, `outcome` decides. Both are pure, so their tests run on any machine.

use std::time::SystemTime;

mod outcome;
mod payload;
mod reason;
mod result;
mod retry_after;

wit_bindgen::generate!({ path: "../../wit", world: "described-plugin", generate_all });

use exports::windlass::plugin::{handler, metadata};
use windlass::plugin::http;
use windlass::plugin::types::{Completion, Failure, Job};

struct Http;

impl handler::Guest for Http {
    fn run(job: Job) -> Result<Completion, Failure> {
        let request = payload::request(&job).map_err(outcome::bad_payload)?;
        let answer = http::send_bounded(&request).map_err(outcome::of_error)?;
        outcome::of_answer(&answer, SystemTime::now())
    }
}

impl metadata::Guest for Http {
    fn describe() -> String {
        include_str!("describe.json").to_owned()
    }
}

export!(Http);
