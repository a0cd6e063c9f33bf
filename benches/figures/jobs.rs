//! Jobs as the benches make them.

use std::collections::BTreeMap;

use bytes::Bytes;
use windlass::clock::UnixMs;
use windlass::job::{JobSpec, RetryOverride};
use windlass::store::NewJob;

/// What a payload is filled up with, so that a job is about 300 bytes.
const FILLING: usize = 220;

/// The payload of a job of the plugin `http` that calls this origin.
pub fn payload(origin: &str) -> Bytes {
    format!(r#"{{"url":"{origin}/","body":"{}"}}"#, "x".repeat(FILLING)).into()
}

/// The body of a request that enqueues one.
pub fn as_json(origin: &str) -> String {
    format!(r#"{{"plugin":"http","payload":{}}}"#, String::from_utf8_lossy(&payload(origin)))
}

/// A job whose downstream bears the plugin's name.
pub fn job(plugin: &str, payload: &Bytes, run_at: UnixMs) -> NewJob {
    let spec = JobSpec {
        limit_key: None,
        plugin: plugin.to_owned(),
        downstream: plugin.to_owned(),
        content_type: windlass::job::spec::JSON.to_owned(),
        payload: payload.clone(),
        run_at,
        priority: 0,
        retry: RetryOverride::default(),
        deadline: None,
        labels: BTreeMap::new(),
        traceparent: None,
        idempotency_key: None,
    };
    NewJob { spec, request_digest: [0; 32] }
}
