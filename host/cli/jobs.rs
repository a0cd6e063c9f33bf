//! `windlass jobs …`: what became of jobs, and what a person can do to them.

use anyhow::anyhow;
use axum::http::Method;
use clap::{Args, Subcommand};

use super::client::{About, Fault, ServerArgs, escaped};
use super::{ExitCode, print, typed};

/// The most jobs that the server gives in one answer.
const PAGE_MAX: usize = 500;

/// What can be done with jobs.
#[derive(Debug, Subcommand)]
pub(super) enum JobsCommand {
    /// List jobs, newest first
    List(ListArgs),
    /// Show a job with its attempts, or one attempt with its evidence
    Show(ShowArgs),
    /// Call jobs off
    Cancel(ActArgs),
    /// Make jobs available now, discarded and cancelled ones too
    Retry(ActArgs),
}

/// What `windlass jobs list` is told.
#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Only jobs in this state
    #[arg(long)]
    state: Option<crate::job::State>,
    /// Only jobs of this plugin
    #[arg(long)]
    plugin: Option<String>,
    /// Only jobs of this downstream
    #[arg(long, value_name = "KEY")]
    downstream: Option<String>,
    /// Only jobs with this label; can be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = typed::label)]
    labels: Vec<(String, String)>,
    /// At most so many
    #[arg(long, value_name = "N", default_value = "50", value_parser = typed::limit)]
    limit: usize,
    /// Print the server's documents as one
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// What `windlass jobs show` is told.
#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// The job
    id: String,
    /// Show this attempt with its log and its exchanges
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// Print the server's document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// What `windlass jobs cancel` and `retry` are told.
#[derive(Args, Debug)]
pub(super) struct ActArgs {
    /// The jobs
    #[arg(required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Does it.
pub(super) async fn run(command: JobsCommand) -> anyhow::Result<ExitCode> {
    match command {
        JobsCommand::List(args) => list(args).await,
        JobsCommand::Show(args) => show(args).await,
        JobsCommand::Cancel(args) => act(args, "cancel").await,
        JobsCommand::Retry(args) => act(args, "retry").await,
    }
}

async fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    let pages = args.server.client()?.pages("jobs", &filter(&args), PAGE_MAX, args.limit).await?;
    if args.json {
        print::json(&pages.text("jobs"));
        return Ok(ExitCode::Done);
    }
    let rows = pages.items.iter().map(|job| {
        let of = |name: &str| print::plain(&job[name]);
        let waiting = print::plain(&job["waiting"]["reason"]);
        vec![
            of("id"),
            of("plugin"),
            of("downstream"),
            of("state"),
            waiting,
            of("attempt"),
            of("created_at"),
            of("last_error"),
        ]
    });
    let columns = ["id", "plugin", "downstream", "state", "waiting", "attempt", "created", "last error"];
    print::out(&print::list(&columns, rows));
    Ok(ExitCode::Done)
}

fn filter(args: &ListArgs) -> String {
    let state = args.state.map(|state| state.to_string());
    let simple =
        [("state", state.as_ref()), ("plugin", args.plugin.as_ref()), ("downstream", args.downstream.as_ref())];
    let simple = simple.into_iter().filter_map(|(name, value)| Some(format!("&{name}={}", escaped(value?))));
    let labels = args.labels.iter().map(|(name, value)| format!("&label={}", escaped(&format!("{name}:{value}"))));
    simple.chain(labels).collect()
}

async fn show(args: ShowArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    let job = format!("/v1/jobs/{}", escaped(&args.id));
    let path = args.attempt.map_or_else(|| job.clone(), |n| format!("{job}/attempts/{n}"));
    let document = client.send(client.request(Method::GET, &path).about(About::Job)).await?;
    match (args.json, args.attempt) {
        (true, _) => print::json(&document.text),
        (false, Some(_)) => print::out(&print::attempt(&document.value)),
        (false, None) => print::out(&print::job(&document)),
    }
    Ok(ExitCode::Done)
}

/// Does it to each of them. What is refused of one is told, and the others have their turn; what keeps all of them from
/// being done ends it.
async fn act(args: ActArgs, what: &str) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    let mut code = ExitCode::Done;
    for (number, id) in (1..).zip(&args.ids) {
        let request = client.request(Method::POST, &format!("/v1/jobs/{}/{what}", escaped(id)));
        let error = match client.send(request.about(About::Job)).await {
            Ok(job) => {
                print::out(&format!("job {id} is {}\n", print::plain(&job["state"])));
                continue;
            }
            Err(error) => error,
        };
        let (named, is_last) = (naming(id, &error), number == args.ids.len());
        if !error.downcast_ref().is_some_and(Fault::is_of_this_request) {
            let rest = if is_last { "" } else { "; of the jobs behind it none was tried" };
            return Err(anyhow!("{named}{rest}"));
        }
        print::complain(&format!("windlass: {named}"));
        code = ExitCode::Failed;
    }
    Ok(code)
}

/// Why that job was refused. The server mostly names it itself.
fn naming(id: &str, error: &anyhow::Error) -> String {
    let why = format!("{error:#}");
    let is_named = why.split_whitespace().any(|word| word.trim_end_matches([',', ';', ':']) == id);
    if is_named { why } else { format!("job {id}: {why}") }
}
