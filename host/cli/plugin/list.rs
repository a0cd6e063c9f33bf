//! `windlass plugin list` and `show`: the plugins of a running server.

use clap::Args;
use serde_json::Value;

use super::super::client::ServerArgs;
use super::super::{ExitCode, print};
use super::path;
use crate::clock::{Clock as _, SystemClock, UnixMs};

/// What `windlass plugin list` is told.
#[derive(Args, Debug)]
pub(in crate::cli) struct ListArgs {
    /// Print the server's document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// What `windlass plugin show` is told.
#[derive(Args, Debug)]
pub(in crate::cli) struct OneArgs {
    /// The plugin
    name: String,
    /// Print the server's document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Lists them.
pub(super) async fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    let document = args.server.client()?.get("/v1/plugins").await?;
    if args.json {
        print::document(&document);
        return Ok(ExitCode::Done);
    }
    let rows = document["plugins"].as_array().into_iter().flatten().map(|plugin| {
        let of = |name: &str| print::plain(&plugin[name]);
        let revision = of("revision").chars().take(12).collect();
        let count = |name: &str| print::plain(&plugin["counts"][name]);
        let error = print::plain(&plugin["load_error"]["summary"]);
        vec![
            of("name"),
            standing(plugin),
            revision,
            of("loaded_at"),
            count("available"),
            count("running"),
            count("later"),
            count("held"),
            error,
        ]
    });
    let columns = ["name", "state", "revision", "loaded", "available", "running", "later", "held", "load error"];
    print::out(&print::table(&columns, rows));
    print::out(&ignored(&document));
    Ok(ExitCode::Done)
}

/// What lies in the plugins folder and is no plugin, a line each.
fn ignored(document: &Value) -> String {
    let files = document["ignored"].as_array().into_iter().flatten();
    let mut text: String = files
        .map(|file| format!("ignored: {}: {}\n", print::plain(&file["file"]), print::plain(&file["reason"])))
        .collect();
    if let Some(more @ 1..) = document["more_ignored"].as_u64() {
        text.push_str(&format!("ignored: {more} more\n"));
    }
    text
}

/// The state, and what is being compiled to serve next.
fn standing(plugin: &Value) -> String {
    let state = print::plain(&plugin["state"]);
    match progress(plugin) {
        Some(progress) if state == "loading" => progress,
        Some(progress) => format!("{state}; {progress}"),
        None => state,
    }
}

/// What is being compiled, and for how long by now.
fn progress(plugin: &Value) -> Option<String> {
    let loading = plugin.get("loading")?;
    let since = UnixMs::parse(loading["since"].as_str()?).ok()?;
    let secs = SystemClock::start().now().since(since).as_secs();
    let size_mib = loading["size_bytes"].as_f64()? / f64::from(1 << 20);
    Some(format!("{} {secs} s ({size_mib:.1} MiB)", print::plain(&loading["step"])))
}

/// Shows one.
pub(super) async fn show(args: OneArgs) -> anyhow::Result<ExitCode> {
    let plugin = args.server.client()?.get(&path(&args.name)).await?;
    if args.json {
        print::document(&plugin);
        return Ok(ExitCode::Done);
    }
    let of = |name: &str| print::plain(&plugin[name]);
    let list = |group: &str, name: &str| words(&plugin[group][name]);
    print::out(&print::facts(&[
        ("plugin", of("name")),
        ("state", of("state")),
        ("next", progress(&plugin).unwrap_or_default()),
        ("revision", of("revision")),
        ("loaded", of("loaded_at")),
        ("load error", print::plain(&plugin["load_error"]["summary"])),
        ("what to do", print::plain(&plugin["load_error"]["help"])),
        ("title", of("title")),
        (
            "asks for",
            [list("asked", "origins"), list("asked", "config"), list("asked", "secrets")].join(" ").trim().to_owned(),
        ),
        ("origins", list("granted", "origins")),
        ("config", list("granted", "config")),
        ("secrets", list("granted", "secrets")),
        ("downstream", of("downstream")),
        ("concurrency", of("concurrency")),
        ("rate", of("rate")),
        ("jobs", of("counts")),
    ]));
    Ok(ExitCode::Done)
}

/// A list of texts as one text.
fn words(value: &Value) -> String {
    let words: Vec<_> = value.as_array().into_iter().flatten().map(print::plain).collect();
    words.join(", ")
}
