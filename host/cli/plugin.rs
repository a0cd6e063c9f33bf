//! `windlass plugin …`: what plugins there are, and whether a file is one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{ServerArgs, escaped};
use super::{ExitCode, print};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::plugin::{HostSettings, LoadError, PluginHost, Revision};

/// What can be done with plugins.
#[derive(Debug, Subcommand)]
pub(super) enum PluginCommand {
    /// List the plugins of a running server
    List(ListArgs),
    /// Show one plugin of a running server
    Show(OneArgs),
    /// Check whether a file is a plugin; needs no server
    Check(CheckArgs),
    /// Put a component into a running server, under a name
    Put(PutArgs),
    /// Remove a component from a running server; its jobs wait
    Remove(NameArgs),
    /// Let a plugin's jobs wait
    Pause(NameArgs),
    /// Let a paused plugin's jobs go on
    Resume(NameArgs),
}

/// What `windlass plugin list` is told.
#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Print the server's document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// What `windlass plugin show` is told.
#[derive(Args, Debug)]
pub(super) struct OneArgs {
    /// The plugin
    name: String,
    /// Print the server's document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// What `windlass plugin check` is told.
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// The component
    file: PathBuf,
    /// Print a document
    #[arg(long)]
    json: bool,
}

/// What `windlass plugin put` is told.
#[derive(Args, Debug)]
pub(super) struct PutArgs {
    /// The name that it gets
    name: String,
    /// The component
    file: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
}

/// What `windlass plugin remove`, `pause` and `resume` are told.
#[derive(Args, Debug)]
pub(super) struct NameArgs {
    /// The plugin
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Does it.
pub(super) async fn run(command: PluginCommand) -> anyhow::Result<ExitCode> {
    match command {
        PluginCommand::List(args) => list(args).await,
        PluginCommand::Show(args) => show(args).await,
        PluginCommand::Check(args) => check(args).await,
        PluginCommand::Put(args) => put(args).await,
        PluginCommand::Remove(args) => remove(args).await,
        PluginCommand::Pause(args) => act(args, "pause").await,
        PluginCommand::Resume(args) => act(args, "resume").await,
    }
}

async fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
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
            of("state"),
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
    Ok(ExitCode::Done)
}

async fn show(args: OneArgs) -> anyhow::Result<ExitCode> {
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

async fn check(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let component = std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let cache = CacheFolder::new()?;
    let config = Config::default();
    let settings = HostSettings { limits: config.limits, network: config.network, cache_dir: cache.0.clone() };
    let host = PluginHost::start(settings, Arc::new(SystemClock::start()))?;
    match host.load(component.into()).await {
        Ok(revision) => {
            tell_revision(&args.file, &revision, args.json);
            Ok(ExitCode::Done)
        }
        Err(error) => {
            tell_error(&args.file, &error, args.json);
            Ok(ExitCode::Failed)
        }
    }
}

/// A folder for the compiled code of one check.
struct CacheFolder(PathBuf);

impl CacheFolder {
    fn new() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("windlass-check-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for CacheFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn tell_revision(file: &Path, revision: &Revision, as_json: bool) {
    let (compile_ms, start_us) = (revision.compile_time.as_millis(), revision.start_time.as_micros());
    if as_json {
        return print::document(&json!({
            "plugin": true,
            "revision": revision.digest,
            "size_bytes": revision.size_bytes,
            "imports": revision.imports,
            "exports": revision.exports,
            "description": revision.description,
            "compile_ms": u64::try_from(compile_ms).unwrap_or(u64::MAX),
            "start_us": u64::try_from(start_us).unwrap_or(u64::MAX),
        }));
    }
    let said = revision.description.clone().unwrap_or_default();
    print::out(&format!("{} is a plugin\n\n", file.display()));
    print::out(&print::facts(&[
        ("revision", revision.digest.clone()),
        ("size", format!("{} bytes", revision.size_bytes)),
        ("compiled in", format!("{compile_ms} ms")),
        ("started in", format!("{start_us} us")),
        ("title", said.title.unwrap_or_default()),
        ("version", said.version.unwrap_or_default()),
        ("wants origins", said.origins.join(", ")),
        ("wants config", said.config.join(", ")),
        ("wants secrets", said.secrets.join(", ")),
        ("schema", if said.payload_schema.is_some() { "checks payloads at enqueue".to_owned() } else { String::new() }),
        ("exports", revision.exports.join("\n              ")),
        ("imports", revision.imports.join("\n              ")),
    ]));
}

fn tell_error(file: &Path, error: &LoadError, as_json: bool) {
    if as_json {
        return print::document(&json!({"plugin": false, "summary": error.summary, "help": error.help}));
    }
    eprintln!("windlass: {}: {}", file.display(), error.summary);
    if let Some(help) = &error.help {
        eprintln!("{help}");
    }
}

async fn put(args: PutArgs) -> anyhow::Result<ExitCode> {
    let component = std::fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let client = args.server.client()?;
    let plugin = client.send(client.request(Method::PUT, &path(&args.name)).body(component)).await?;
    print::out(&format!("plugin {} serves revision {}\n", args.name, print::plain(&plugin["revision"])));
    Ok(ExitCode::Done)
}

async fn remove(args: NameArgs) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    client.send(client.request(Method::DELETE, &path(&args.name))).await?;
    print::out(&format!("plugin {} is removed; its jobs wait\n", args.name));
    Ok(ExitCode::Done)
}

async fn act(args: NameArgs, what: &str) -> anyhow::Result<ExitCode> {
    let plugin = args.server.client()?.post(&format!("{}/{what}", path(&args.name))).await?;
    print::out(&format!("plugin {} is {}\n", args.name, print::plain(&plugin["state"])));
    Ok(ExitCode::Done)
}

fn path(name: &str) -> String {
    format!("/v1/plugins/{}", escaped(name))
}
