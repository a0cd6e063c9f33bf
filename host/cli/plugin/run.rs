//! `windlass plugin run`: one attempt under the real host's rules, without a server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::super::{ExitCode, print, typed, wrong_usage};
use super::check;
use super::solo::{Solo, Trial, ceilings, compiled_folder};
use crate::clock::Chance;
use crate::config::{Origin, PluginFile, SecretSource};
use crate::job::units::TimeSpan;
use crate::job::{IdSource, RetryPolicy};
use crate::plugin::{Call, is_plugin_name};

/// What `windlass plugin run` is told.
#[derive(Args, Debug)]
pub(in crate::cli) struct RunArgs {
    /// The component
    file: PathBuf,
    /// The payload: JSON, or @FILE, or - for standard input; any bytes where --content-type says what they are
    #[arg(long, value_name = "JSON|@FILE|-", default_value = "null", allow_hyphen_values = true)]
    payload: String,
    /// The media type of the payload
    #[arg(long, value_name = "TYPE", default_value = "application/json")]
    content_type: String,
    /// The file of grants [default: NAME.toml beside the component, where it exists]
    #[arg(long, value_name = "FILE")]
    grants: Option<PathBuf>,
    /// An origin that the plugin may reach; can be repeated
    #[arg(long = "origin", value_name = "URL")]
    origins: Vec<Origin>,
    /// A value that the plugin may read; can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = typed::label)]
    config: Vec<(String, String)>,
    /// A secret that the plugin may read; can be repeated
    #[arg(long = "secret", value_name = "NAME=env:VARIABLE|file:PATH", value_parser = secret)]
    secrets: Vec<(String, SecretSource)>,
    /// The number of the attempt
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    attempt: u32,
    /// The key that the downstream recognises a repeat by [default: the job's id]
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// A label of the job; can be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = typed::label)]
    labels: Vec<(String, String)>,
    /// The wall time of the attempt
    #[arg(long, value_name = "DURATION")]
    deadline: Option<TimeSpan>,
    /// Print a document
    #[arg(long)]
    json: bool,
}

/// Reads `NAME=env:VARIABLE` or `NAME=file:PATH`.
fn secret(text: &str) -> Result<(String, SecretSource), String> {
    let refusal =
        || "a secret is NAME=env:VARIABLE or NAME=file:PATH, so that its value is not in your shell's history";
    let (name, source) = text.split_once('=').ok_or_else(refusal)?;
    let source = match source.split_once(':') {
        Some(("env", variable)) => SecretSource::Env(variable.to_owned()),
        Some(("file", path)) => SecretSource::File(path.into()),
        _ => return Err(refusal().to_owned()),
    };
    Ok((name.to_owned(), source))
}

/// Runs it. Exits with 0 where the job would be completed, with 1 where it would not.
pub(super) async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let payload = typed::payload(&args.payload)?;
    let labels = typed::labels(&args.labels)?;
    if let Some(why) = not_json(&args.content_type, &payload) {
        return Ok(wrong_usage(&format!("--payload is not JSON ({why}); say --content-type for what it is")));
    }
    let (grants_file, file) = match grants(&args)? {
        Ok(grants) => grants,
        Err(why) => return Ok(wrong_usage(&why)),
    };
    let solo = Solo::start(compiled_folder())?;
    let revision = match solo.load(&args.file).await? {
        Ok(revision) => revision,
        Err(error) => {
            check::tell_error(&args.file, &error, args.json);
            return Ok(ExitCode::Failed);
        }
    };
    let (as_json, trial) = (
        args.json,
        Trial { name: name_of(&args.file), grants_file, call: call(&solo, args, payload, labels, &file), file },
    );
    let tried = solo.attempt(revision, trial).await?;
    if as_json {
        print::document(&tried.document())
    } else {
        print::out(&tried.text())
    }
    Ok(if tried.fate.then == "completed" { ExitCode::Done } else { ExitCode::Failed })
}

/// The plugin's name as a server would know it.
pub(super) fn name_of(component: &Path) -> String {
    let stem = component.file_stem().unwrap_or_default().to_string_lossy();
    if is_plugin_name(&stem) { stem.into_owned() } else { "plugin".to_owned() }
}

fn not_json(content_type: &str, payload: &[u8]) -> Option<serde_json::Error> {
    (content_type == "application/json").then(|| serde_json::from_slice::<Value>(payload).err()).flatten()
}

/// The file's grants and those of the command line; and what the file is called. The inner error is one of usage.
fn grants(args: &RunArgs) -> anyhow::Result<Result<(String, PluginFile), String>> {
    let beside = args.file.with_extension("toml");
    let path = args.grants.clone().unwrap_or_else(|| beside.clone());
    let mut file = PluginFile::default();
    if args.grants.is_some() || path.is_file() {
        let text = typed::text_file(&path)?;
        file = match PluginFile::parse(&path, &text, &ceilings()) {
            Ok(file) => file,
            Err(error) => return Ok(Err(error.to_string())),
        };
    }
    file.origins.extend(args.origins.iter().cloned());
    for (name, value) in &args.config {
        file.secrets.remove(name);
        file.config.insert(name.clone(), value.clone());
    }
    for (name, source) in &args.secrets {
        file.config.remove(name);
        file.secrets.insert(name.clone(), source.clone().into());
    }
    Ok(Ok((path.display().to_string(), file)))
}

fn call(solo: &Solo, args: RunArgs, payload: Vec<u8>, labels: BTreeMap<String, String>, file: &PluginFile) -> Call {
    let now = solo.now();
    let job = IdSource::after(0).next(now, &Chance::from_machine());
    Call {
        job,
        attempt: args.attempt,
        max_attempts: RetryPolicy::default().overridden(&file.retry).max_attempts,
        idempotency_key: args.idempotency_key.unwrap_or_else(|| job.to_string()),
        content_type: args.content_type,
        payload: payload.into(),
        enqueued_at: now,
        attributes: labels.into_iter().map(|(name, value)| (format!("label:{name}"), value)).collect(),
        deadline: args.deadline.map(|deadline| deadline.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_names_where_it_is_and_never_what_it_is() {
        assert_eq!(secret("k=env:A"), Ok(("k".into(), SecretSource::Env("A".into()))));
        assert_eq!(secret("k=file:a:b"), Ok(("k".into(), SecretSource::File("a:b".into()))));
        for wrong in ["k", "k=value", "k=vault:x"] {
            assert!(secret(wrong).unwrap_err().contains("env:VARIABLE"), "{wrong}");
        }
    }
}
