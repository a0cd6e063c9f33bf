//! `windlass enqueue`: hands a job to a running server, and waits for its end on request.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::http::Method;
use clap::Args;
use serde_json::value::RawValue;

use super::client::{About, Answer, Client, Fault, ServerArgs};
use super::{ExitCode, WrongUsage, print, typed};
use crate::api::JobRequest;
use crate::clock::{Clock as _, Stopwatch, SystemClock};
use crate::job::RetryOverride;
use crate::job::units::TimeSpan;

/// One long wait is made of answers that come at least this often.
const WAIT_AT_ONCE: Duration = Duration::from_secs(60);

/// When to ask again a server that does not wait with its answer.
const SOON: Duration = Duration::from_millis(250);

/// What `windlass enqueue` is told.
#[derive(Args, Debug)]
pub(super) struct EnqueueArgs {
    /// The plugin that handles the job
    #[arg(value_name = "PLUGIN")]
    plugin: String,
    /// The payload: JSON, or @FILE, or - for standard input
    #[arg(long, value_name = "JSON|@FILE|-", default_value = "null", allow_hyphen_values = true)]
    payload: String,
    /// Wait until the job is final, at most so long, and print it
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "5m")]
    wait: Option<TimeSpan>,
    /// The earliest moment of the first attempt, RFC 3339
    #[arg(long, value_name = "TIME", conflicts_with = "delay", value_parser = typed::moment)]
    run_at: Option<String>,
    /// How long from now until the first attempt
    #[arg(long, value_name = "DURATION", value_parser = typed::span)]
    delay: Option<String>,
    /// Higher runs first
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    priority: Option<i16>,
    /// The downstream that the job calls
    #[arg(long, value_name = "KEY", value_parser = typed::downstream)]
    downstream: Option<String>,
    /// Jobs with the same key are limited together
    #[arg(long, value_name = "KEY", value_parser = typed::limit_key)]
    limit_key: Option<String>,
    /// A label; can be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = typed::label)]
    labels: Vec<(String, String)>,
    /// A key by which a repeat of this command is recognised
    #[arg(long, value_name = "KEY", value_parser = typed::idempotency_key)]
    idempotency_key: Option<String>,
    /// How many attempts the job has in all
    #[arg(long, value_name = "N", value_parser = typed::max_attempts)]
    max_attempts: Option<u32>,
    /// The wall time of one attempt
    #[arg(long, value_name = "DURATION", value_parser = typed::deadline)]
    deadline: Option<String>,
    /// Print the server's document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Enqueues.
pub(super) async fn run(args: EnqueueArgs) -> anyhow::Result<ExitCode> {
    let payload = serde_json::from_slice(&typed::payload(&args.payload)?);
    let payload = payload.map_err(|error| WrongUsage::new(&format!("--payload is not JSON: {error}")))?;
    let labels = typed::labels(&args.labels)?;
    let client = args.server.client()?;
    let mut request = client.request(Method::POST, "/v1/jobs").header("content-type", "application/json");
    if let Some(key) = &args.idempotency_key {
        request = request.header("idempotency-key", key);
    }
    let accepted = client.send(request.body(body(&args, payload, labels)?)).await?;
    let id = print::plain(&accepted["id"]);
    let is_deleted = accepted["state"].is_null();
    let told = if is_deleted {
        format!("job {id} was accepted before; it has ended and was deleted since, as old jobs are")
    } else {
        format!("job {id} is {}", print::plain(&accepted["state"]))
    };
    let Some(wait) = args.wait else {
        if args.json {
            print::json(&accepted.text);
        } else {
            print::out(&format!("{told}\n"));
        }
        return Ok(ExitCode::Done);
    };
    if is_deleted {
        print::complain(&format!("windlass: {told}: what became of it is not known"));
        return Ok(ExitCode::Failed);
    }
    let job = wait_for(&client, &id, wait.0).await;
    let job = job.with_context(|| format!("job {id} is accepted, and what became of it is not known"))?;
    if args.json {
        print::json(&job.text)
    } else {
        print::out(&print::job(&job))
    }
    Ok(if job["state"] == "completed" { ExitCode::Done } else { ExitCode::Failed })
}

/// The request's document: only what was said.
fn body(args: &EnqueueArgs, payload: Box<RawValue>, labels: BTreeMap<String, String>) -> serde_json::Result<String> {
    serde_json::to_string(&JobRequest {
        plugin: args.plugin.clone(),
        payload: Some(payload),
        run_at: args.run_at.clone(),
        delay: args.delay.clone(),
        priority: args.priority,
        downstream: args.downstream.clone(),
        limit_key: args.limit_key.clone(),
        retry: args.max_attempts.map(|most| RetryOverride { max_attempts: Some(most), ..RetryOverride::default() }),
        deadline: args.deadline.clone(),
        labels,
        ..JobRequest::default()
    })
}

/// The job when it is final, or as it stands when the time is up. A server that is away meanwhile, or busy, is asked again.
async fn wait_for(client: &Client, id: &str, most: Duration) -> anyhow::Result<Answer> {
    let clock = SystemClock::start();
    let end = clock.now().after(most);
    loop {
        let step = end.since(clock.now()).min(WAIT_AT_ONCE);
        let request = client.request(Method::GET, &format!("/v1/jobs/{id}?wait={}ms", step.as_millis()));
        let asked = Stopwatch::start();
        let answer = client.send(request.about(About::JobsEnd(step))).await;
        let left = end.since(clock.now());
        match answer {
            Ok(job) if job["id"] != id => bail!("the server answers with something else: is it a windlass?"),
            Ok(job) if !job["finished_at"].is_null() || left.is_zero() => return Ok(job),
            // One that stops, or has too many that wait, answers at once.
            Ok(_) if asked.elapsed() < step => tokio::time::sleep(SOON.min(left)).await,
            Ok(_) => {}
            Err(error) => match error.downcast_ref::<Fault>().and_then(|fault| fault.again) {
                Some(again) if !left.is_zero() => tokio::time::sleep(again.min(left)).await,
                _ => return Err(error),
            },
        }
    }
}
