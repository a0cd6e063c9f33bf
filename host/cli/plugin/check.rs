//! `windlass plugin check`: whether a file is a plugin.

use std::fmt::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::super::{ExitCode, print, typed};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::plugin::{Description, HostSettings, LoadError, PluginHost, Revision, is_plugin_name};

/// What `windlass plugin check` is told.
#[derive(Args, Debug)]
pub(in crate::cli) struct CheckArgs {
    /// The component
    file: PathBuf,
    /// Print a document
    #[arg(long)]
    json: bool,
}

/// Checks it.
pub(super) async fn check(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let component = typed::file(&args.file)?;
    let cache = CacheFolder::new()?;
    let config = Config::default();
    let settings = HostSettings::new(config.limits, config.network, cache.0.join("compiled"));
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
        let mark = crate::clock::Chance::from_machine().bits();
        let folder = std::env::temp_dir().join(format!("windlass-check-{mark:016x}"));
        // It is made here and now and is ours alone: what lies in it will be run.
        let made = std::fs::DirBuilder::new().mode(0o700).create(&folder);
        made.with_context(|| format!("cannot make the folder {}", folder.display()))?;
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
            "interface": interface(revision),
            "revision": revision.digest,
            "size_bytes": revision.size_bytes,
            "imports": revision.imports,
            "exports": revision.exports,
            "description": revision.description,
            "description_error": revision.description_error,
            "compile_ms": u64::try_from(compile_ms).unwrap_or(u64::MAX),
            "start_us": u64::try_from(start_us).unwrap_or(u64::MAX),
        }));
    }
    let said = revision.description.clone().unwrap_or_default();
    let next = next_step(file, &said);
    print::out(&format!("{} is a plugin\n\n", file.display()));
    print::out(&print::facts(&[
        ("interface", interface(revision).map(|version| format!("windlass:plugin {version}")).unwrap_or_default()),
        ("revision", revision.digest.clone()),
        ("size", format!("{} bytes", revision.size_bytes)),
        ("compiled in", format!("{compile_ms} ms")),
        ("started in", format!("{start_us} us")),
        ("title", said.title.unwrap_or_default()),
        ("description", said.description.unwrap_or_default()),
        ("not of use", revision.description_error.clone().unwrap_or_default()),
        ("version", said.version.unwrap_or_default()),
        ("wants origins", said.origins.join(", ")),
        ("wants config", said.config.join(", ")),
        ("wants secrets", said.secrets.join(", ")),
        ("schema", if said.payload_schema.is_some() { "checks payloads at enqueue".to_owned() } else { String::new() }),
        ("exports", revision.exports.join("\n              ")),
        ("imports", revision.imports.join("\n              ")),
    ]));
    print::out(&next);
}

/// The version of our interface that the component was built for.
fn interface(revision: &Revision) -> Option<&str> {
    let handler = |export: &&String| export.starts_with("windlass:plugin/handler@");
    revision.exports.iter().find(handler)?.split_once('@').map(|(_, version)| version)
}

/// Where the file goes, and the grants that what it asks for come to.
fn next_step(file: &Path, said: &Description) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let name = if is_plugin_name(&stem) { stem.as_ref() } else { "NAME" };
    let mut text = format!("\nNext: put it into the plugins folder as {name}.wasm");
    if said.origins.is_empty() && said.config.is_empty() && said.secrets.is_empty() {
        text.push_str(".\n");
        return text;
    }
    let _ = writeln!(text, ", and beside it what it asks for, as {name}.toml:\n");
    if !said.origins.is_empty() {
        let _ = writeln!(text, "  origins = {:?}", said.origins);
    }
    for (table, names, value) in [("config", &said.config, "\"…\""), ("secrets", &said.secrets, "{ env = \"…\" }")]
    {
        if !names.is_empty() {
            let _ = writeln!(text, "  [{table}]");
        }
        for name in names {
            let _ = writeln!(text, "  {name:?} = {value}");
        }
    }
    text
}

/// Says why a file is no plugin, or why that is not known.
pub(super) fn tell_error(file: &Path, error: &LoadError, as_json: bool) {
    if as_json {
        let is_plugin = (!error.is_hosts_own()).then_some(false);
        let (summary, help, cause) = (&error.summary, &error.help, error.cause);
        return print::document(&json!({"plugin": is_plugin, "summary": summary, "help": help, "cause": cause}));
    }
    print::complain(&format!("windlass: {}: {}", file.display(), error.summary));
    if let Some(help) = &error.help {
        print::complain(help);
    }
}
