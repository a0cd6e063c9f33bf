//! The real binary, started on what a power cut left.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rand::RngExt as _;
use rand::rngs::SmallRng;
use reqwest::{Method, StatusCode};

use super::disk::Found;
use super::image;
use super::ledger::Dues;
use super::recording;
use crate::common::json;

/// How many of an image's jobs the host is asked for.
const JOBS: usize = 15;

/// Starts a host on an image. What was acknowledged is there, what was shown is as it was, the rest comes to its end.
pub async fn check(found: Found, beside: &Path, dues: &Dues<'_>, chance: &mut SmallRng, tear: bool) {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let data = folder.path().join("data");
    image::put(&found, &data);
    lay_beside(beside, &data, tear, chance);
    let host = recording::setup().data(&data).start().await;
    for id in sample(dues, chance, JOBS) {
        let due = &dues.jobs[id];
        let (status, job) = host.ask_json(Method::GET, &format!("/v1/jobs/{id}"), None).await;
        if due.may_be_gone {
            // It may be deleted at any moment.
            assert!(matches!(status.as_u16(), 200 | 404), "{job}");
            continue;
        }
        assert_eq!(status, StatusCode::OK, "{id} was acknowledged: {job}");
        if let Some(state) = due.state {
            assert_eq!(job["state"], state, "as it was shown: {job:#}");
            if let Some(result) = due.result {
                assert_eq!(&job["result"], result, "{job:#}");
            }
        }
        let attempts = job["attempts"].as_array().unwrap();
        assert!(attempts.len() >= due.attempts.len(), "{job:#} had {:#?}", due.attempts);
        if job["state"] == "scheduled" || job["state"] == "retryable" {
            let (status, answer) = host.ask_json(Method::POST, &format!("/v1/jobs/{id}/retry"), None).await;
            // Some of the others come back by themselves.
            let may_run = status == StatusCode::CONFLICT && job["state"] == "retryable";
            assert!(status == StatusCode::OK || may_run, "{answer}");
        }
        host.ended(id).await;
    }
    for (id, key, body) in dues.keyed.iter().rev().take(2).filter(|(id, ..)| !dues.jobs[id].may_be_gone) {
        let request = host.client.post(format!("{}/v1/jobs", host.base)).header("idempotency-key", *key);
        let request = request.header("content-type", "application/json").body((*body).to_owned());
        let answer = request.send().await.expect("the host answers");
        assert_eq!(answer.status(), StatusCode::OK, "a repeat under {key} of {id}");
    }
    if let Some(paused) = dues.paused {
        let state = host.get("/v1/plugins/echo").await["state"].clone();
        assert_eq!(state == json!("paused"), paused, "{state}");
    }
}

/// Some of the jobs that were acknowledged.
pub fn sample<'a>(dues: &Dues<'a>, chance: &mut SmallRng, most: usize) -> Vec<&'a str> {
    let mut ids: Vec<&str> = dues.jobs.iter().filter(|(_, due)| due.accepted).map(|(id, _)| *id).collect();
    ids.sort_unstable();
    let most = most.min(ids.len());
    (0..most).for_each(|place| {
        let other = chance.random_range(place..ids.len());
        ids.swap(place, other);
    });
    ids.truncate(most);
    ids
}

/// The compiled code and its key, which nobody synced: whole, or torn.
fn lay_beside(beside: &Path, data: &Path, tear: bool, chance: &mut SmallRng) {
    let code = data.join("compiled");
    std::fs::create_dir_all(&code).expect("a new folder");
    std::fs::set_permissions(&code, Permissions::from_mode(0o700)).expect("our own folder");
    let mut lay = |from: &Path, to: &Path| {
        let mut bytes = std::fs::read(from).expect("compiled code");
        if tear {
            bytes.truncate(chance.random_range(0..bytes.len()));
        }
        std::fs::write(to, bytes).expect("a new file");
        std::fs::set_permissions(to, Permissions::from_mode(0o600)).expect("our own file");
    };
    lay(&beside.join("compiled.key"), &data.join("compiled.key"));
    for entry in std::fs::read_dir(beside.join("compiled")).expect("compiled code").map(|entry| entry.expect("a name"))
    {
        lay(&entry.path(), &code.join(entry.file_name()));
    }
}
