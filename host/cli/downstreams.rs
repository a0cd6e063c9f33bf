//! `windlass downstreams …`: how the systems that jobs call are, and what a person can do about them.

use axum::http::Method;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::client::{ServerArgs, escaped};
use super::{ExitCode, print, typed};

/// The most downstreams that the server gives in one answer.
const PAGE_MAX: usize = 1_000;
/// What is told of the part that each plugin has of a downstream.
const COLUMNS: [&str; 11] =
    ["downstream", "plugin", "breaker", "since", "next try", "running", "limit", "waiting", "later", "errors", "why"];

/// What can be done with downstreams.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct DownstreamsArgs {
    #[command(subcommand)]
    command: Option<DownstreamsCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum DownstreamsCommand {
    /// List downstreams: which are down, since when, why, and how many jobs wait
    List(ListArgs),
    /// Show one downstream
    Show(ShowArgs),
    /// Leave a downstream alone: none of its jobs starts
    Hold(HoldArgs),
    /// Let a downstream go on, whatever held it; its jobs begin gently
    Release(ActArgs),
    /// See at once whether a downstream is back
    Probe(ActArgs),
    /// Bound a downstream; without bounds, take them away
    Limit(LimitArgs),
}

/// What `windlass downstreams list` is told.
#[derive(Args, Debug)]
struct ListArgs {
    /// At most so many, by key [default: all]
    #[arg(long, value_name = "N", value_parser = typed::limit)]
    limit: Option<usize>,
    /// Print the server's documents as one
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// What `windlass downstreams show` is told.
#[derive(Args, Debug)]
struct ShowArgs {
    /// The downstream
    key: String,
    /// Print the server's document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// What every act is told.
#[derive(Args, Debug)]
struct ActArgs {
    /// The downstream
    key: String,
    /// Only for the jobs of this plugin
    #[arg(long)]
    plugin: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// What `windlass downstreams hold` is told.
#[derive(Args, Debug)]
struct HoldArgs {
    #[command(flatten)]
    act: ActArgs,
    /// Until then, RFC 3339
    #[arg(long, value_name = "TIME", conflicts_with = "span", value_parser = typed::moment)]
    until: Option<String>,
    /// For so long [default: until it is released]
    #[arg(long = "for", value_name = "DURATION", value_parser = typed::span)]
    span: Option<String>,
    /// Why, for people
    #[arg(long)]
    reason: Option<String>,
}

/// What `windlass downstreams limit` is told.
#[derive(Args, Debug)]
struct LimitArgs {
    #[command(flatten)]
    act: ActArgs,
    /// The most attempts at once
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
    /// The most starts per time, for example 100/s
    #[arg(long, value_parser = typed::rate)]
    rate: Option<String>,
}

/// Does it.
pub(super) async fn run(args: DownstreamsArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        None => list(args.list).await,
        Some(DownstreamsCommand::List(list_args)) => list(list_args).await,
        Some(DownstreamsCommand::Show(args)) => show(args).await,
        Some(DownstreamsCommand::Hold(args)) => {
            act(
                args.act,
                "hold",
                [("until", json!(args.until)), ("for", json!(args.span)), ("reason", json!(args.reason))],
            )
            .await
        }
        Some(DownstreamsCommand::Release(args)) => act(args, "release", []).await,
        Some(DownstreamsCommand::Probe(args)) => act(args, "probe", []).await,
        Some(DownstreamsCommand::Limit(args)) => {
            act(args.act, "limit", [("concurrency", json!(args.concurrency)), ("rate", json!(args.rate))]).await
        }
    }
}

async fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    let pages = args.server.client()?.pages("downstreams", "", PAGE_MAX, args.limit.unwrap_or(usize::MAX)).await?;
    if args.json {
        print::json(&pages.text("downstreams"));
    } else {
        let downstreams = pages.items.iter().map(|item| &item.value);
        print::out(&print::list(&COLUMNS, rows(downstreams)));
    }
    Ok(ExitCode::Done)
}

async fn show(args: ShowArgs) -> anyhow::Result<ExitCode> {
    let document = args.server.client()?.get(&path(&args.key)).await?;
    if args.json {
        print::json(&document.text);
        return Ok(ExitCode::Done);
    }
    print::out(&print::table(&COLUMNS, rows([&document.value])));
    for part in document["plugins"].as_array().into_iter().flatten() {
        let acts = part["acts"].as_array().into_iter().flatten();
        let rows: Vec<_> = acts.map(|act| vec![print::plain(&act["at"]), print::plain(&act["what"])]).collect();
        if !rows.is_empty() {
            print::out(&format!("\n{}", print::table(&["at", "act"], rows)));
        }
    }
    Ok(ExitCode::Done)
}

async fn act<const N: usize>(args: ActArgs, what: &str, members: [(&str, Value); N]) -> anyhow::Result<ExitCode> {
    let mut body: Map<String, Value> = members
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    if let Some(plugin) = args.plugin {
        body.insert("plugin".to_owned(), json!(plugin));
    }
    let client = args.server.client()?;
    let request = client.request(Method::POST, &format!("{}/{what}", path(&args.key))).json(&Value::Object(body));
    let document = client.send(request).await?;
    print::out(&print::table(&COLUMNS, rows([&document.value])));
    Ok(ExitCode::Done)
}

/// A row for each plugin's part.
fn rows<'a>(downstreams: impl IntoIterator<Item = &'a Value>) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for downstream in downstreams {
        let parts = downstream["plugins"].as_array().into_iter().flatten();
        rows.extend(parts.map(|part| row(downstream, part)));
    }
    rows
}

fn row(downstream: &Value, part: &Value) -> Vec<String> {
    let of = |name: &str| print::plain(&part[name]);
    let (outage, hold) = (&part["outage"], &part["hold"]);
    let next = if outage.is_null() { &hold["until"] } else { &outage["next_probe"] };
    let why = if outage.is_null() { &hold["cause"] } else { &outage["cause"] };
    let errors = part["error_rate"].as_f64().map_or(String::new(), |rate| format!("{:.0} %", rate * 100.0));
    vec![
        print::plain(&downstream["key"]),
        of("plugin"),
        of("breaker"),
        print::plain(&outage["since"]),
        print::plain(next),
        of("running"),
        of("limit"),
        of("waiting"),
        of("later"),
        errors,
        print::plain(why),
    ]
}

fn path(key: &str) -> String {
    format!("/v1/downstreams/{}", escaped(key))
}
