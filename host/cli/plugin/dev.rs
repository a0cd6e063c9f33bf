//! `windlass plugin dev`: build on change, check, swap, and show what becomes of a sample job.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::super::serve::{Running, hosting};
use super::super::signals::Signals;
use super::super::{ExitCode, WrongUsage, print, wrong_usage};
use super::check;
use super::scenario::{ScenarioFile, play};
use super::solo::Solo;
use crate::api::Door;
use crate::config::{Config, Store, listen_address};
use crate::plugin::{Revision, is_plugin_name};
use crate::telemetry::{self, LogFormat};

mod build;
mod sources;
mod written;

use build::Build;
use sources::{Sources, is_component};
use written::Written;

/// Where a project has its scenarios.
const SCENARIOS: &str = "scenarios.toml";

/// Where the server of a project keeps what it keeps, in the project's folder.
const KEPT: &str = ".windlass";

/// What `windlass plugin dev` is told.
#[derive(Args, Debug)]
pub(in crate::cli) struct DevArgs {
    /// The project's folder, with a `build` that leaves NAME.wasm there
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The scenarios that hold the sample job, in the project's folder [default: scenarios.toml, where it exists]
    #[arg(long, value_name = "FILE")]
    scenarios: Option<PathBuf>,
    /// Which of them is the sample [default: the first]
    #[arg(long, value_name = "NAME")]
    sample: Option<String>,
    /// Where the project's own server listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7071", value_parser = listen_address)]
    listen: std::net::SocketAddr,
    /// Build and try once, and end
    #[arg(long)]
    once: bool,
}

/// Goes round and round until Ctrl-C.
pub(super) fn dev(args: DevArgs) -> anyhow::Result<ExitCode> {
    let shown = args.dir.display();
    let folder = args.dir.canonicalize().map_err(|error| WrongUsage::new(&format!("{shown} is no folder: {error}")))?;
    if !folder.join("build").is_file() {
        let why = format!("{shown} has no `build`: `windlass plugin new` makes a project that has one");
        return Ok(wrong_usage(&why));
    }
    if let Err(why) = check_named(&folder, &args) {
        return Ok(wrong_usage(&why));
    }
    let _logging = telemetry::subscribe_quietly(LogFormat::Text)?;
    hosting(async {
        let mut signals = Signals::new()?;
        let project = Project::open(folder, args).await?;
        let code = project.rounds(&mut signals).await?;
        let stopped = project.running.stop(signals.another()).await?;
        Ok((code, Some(stopped)))
    })
}

/// What was named is there: that is known before anything is built. What is wrong in a file is told when it is played.
fn check_named(folder: &Path, args: &DevArgs) -> Result<(), String> {
    let file = args.scenarios_in(folder);
    let shown = file.display();
    let argument = match (&args.scenarios, &args.sample) {
        (Some(_), _) => "--scenarios",
        (None, Some(_)) => "--sample",
        (None, None) => return Ok(()),
    };
    if !file.is_file() {
        return Err(format!("{argument}: there is no file {shown}"));
    }
    match (&args.sample, ScenarioFile::read(&file)) {
        (Some(name), Ok(Ok(file))) if !file.scenarios.iter().any(|scenario| scenario.name == *name) => {
            Err(format!("--sample: {shown} has no scenario {name:?}"))
        }
        _ => Ok(()),
    }
}

impl DevArgs {
    fn scenarios_in(&self, folder: &Path) -> PathBuf {
        folder.join(self.scenarios.as_deref().unwrap_or(Path::new(SCENARIOS)))
    }
}

/// A project that is being worked on, and the server that runs what it makes.
struct Project {
    folder: PathBuf,
    args: DevArgs,
    solo: Solo,
    running: Running,
    http: reqwest::Client,
}

impl Project {
    async fn open(folder: PathBuf, args: DevArgs) -> anyhow::Result<Self> {
        let kept = folder.join(KEPT);
        let lay_out = || -> std::io::Result<()> {
            std::fs::create_dir_all(kept.join("plugins"))?;
            std::fs::write(kept.join(".gitignore"), "*\n")
        };
        lay_out().with_context(|| format!("cannot write {}", kept.display()))?;
        let store = Store::in_folder(&kept.join("data")).map_err(anyhow::Error::msg)?;
        let mut config = Config { store, ..Config::default() };
        config.plugins.dir = kept.join("plugins");
        config.server.listen = args.listen;
        let http = reqwest::Client::builder().no_proxy().build().context("cannot make an HTTP client")?;
        // The server's own: what one compiles the other finds.
        let solo = Solo::start(config.data_dir().join("compiled"))?;
        let door = Door::open(&config, "its settings")?;
        Ok(Self { folder, args, solo, running: Running::start(config, door).await?, http })
    }

    /// Goes round until a signal, or once.
    async fn rounds(&self, signals: &mut Signals) -> anyhow::Result<ExitCode> {
        let mut sources = Sources::new(&self.folder)?;
        let mut written = Written::default();
        loop {
            let mut seen = sources.snapshot();
            say("building");
            let built = match Build::start(&self.folder) {
                Ok(mut build) => tokio::select! {
                    built = build.ended() => built,
                    _ = signals.next() => {
                        build.end(signals.next()).await;
                        return Ok(ExitCode::Done);
                    }
                },
                Err(error) => Err(error),
            };
            let after = sources.snapshot();
            let meanwhile = written.judge(&seen, &after, built.is_ok());
            let is_well = tokio::select! {
                is_well = self.try_out(built) => is_well,
                _ = signals.next() => return Ok(ExitCode::Done),
            };
            if self.args.once {
                return Ok(if is_well { ExitCode::Done } else { ExitCode::Failed });
            }
            if !meanwhile.own.is_empty() {
                let own = listed(&meanwhile.own);
                say(&format!("{own}: changed by each build, and so no reason for another; best named in .gitignore"));
            }
            if meanwhile.edited.is_empty() {
                seen = after;
                say("waiting for a change; Ctrl-C ends");
            } else {
                say(&format!("changed during the build, so once more: {}", listed(&meanwhile.edited)));
            }
            tokio::select! {
                () = sources.changed_since(&seen) => print::out("\n"),
                _ = signals.next() => return Ok(ExitCode::Done),
            }
        }
    }

    /// Goes on with what was built. False where something did not go well; it has been told.
    async fn try_out(&self, built: anyhow::Result<Duration>) -> bool {
        match self.steps(built).await {
            Ok(is_well) => is_well,
            Err(error) => {
                say(&format!("{error:#}"));
                false
            }
        }
    }

    async fn steps(&self, built: anyhow::Result<Duration>) -> anyhow::Result<bool> {
        let took = built?;
        let component = newest_component(&self.folder)?;
        say(&format!("built {} in {:.1} s", shown_name(&component), took.as_secs_f64()));
        let revision = match self.solo.load(&component).await? {
            Ok(revision) => revision,
            Err(error) => {
                check::tell_error(&component, &error, false);
                return Ok(false);
            }
        };
        say(&format!(
            "checked: a plugin, {} bytes, compiled in {} ms, started in {} us",
            revision.size_bytes,
            revision.compile_time.as_millis(),
            revision.start_time.as_micros()
        ));
        self.swap(&component).await?;
        self.sample(&component, revision).await
    }

    /// Puts it into the project's own server, with the grants that lie beside it.
    async fn swap(&self, component: &Path) -> anyhow::Result<()> {
        let stem = component.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        anyhow::ensure!(is_plugin_name(&stem), "{stem:?} is no name of a plugin: a-z, 0-9 and - make one");
        lay_grants(&component.with_extension("toml"), &self.folder.join(KEPT).join("plugins"))?;
        let bytes = std::fs::read(component).context("the component is gone again")?;
        let base = format!("http://{}", self.running.address);
        let answer = self.http.put(format!("{base}/v1/plugins/{stem}")).body(bytes).send().await?;
        let status = answer.status();
        let plugin: serde_json::Value = answer.json().await?;
        anyhow::ensure!(status.is_success(), "the server refused it: {}", print::plain(&plugin["detail"]));
        match print::plain(&plugin["load_error"]["summary"]).as_str() {
            "" => say(&format!("swapped: {base} runs it as {stem}")),
            why => say(&format!("swapped, but {base} cannot run it yet: {why}")),
        }
        Ok(())
    }

    /// Runs the sample job, against the downstream of its scenario.
    async fn sample(&self, component: &Path, revision: Arc<Revision>) -> anyhow::Result<bool> {
        let file = self.args.scenarios_in(&self.folder);
        if !file.is_file() {
            say(&format!("there is no sample job: {} does not exist", file.display()));
            return Ok(self.args.scenarios.is_none() && self.args.sample.is_none());
        }
        let scenarios = ScenarioFile::read(&file)?.map_err(anyhow::Error::msg)?.scenarios;
        let wanted = self.args.sample.as_deref();
        let sample = scenarios.iter().find(|scenario| wanted.is_none_or(|wanted| scenario.name == wanted));
        let sample = sample.with_context(|| format!("{} has no scenario of that name", file.display()))?;
        let played = play(&self.solo, &super::run::name_of(component), revision, sample).await?;
        say(&format!("the sample job, {:?}:", sample.name));
        print::out(&played.tried.text());
        for mismatch in &played.mismatches {
            say(&format!("not as expected: {mismatch}"));
        }
        Ok(played.mismatches.is_empty())
    }
}

/// Has the same grants in that folder as the project has: none where it has none.
fn lay_grants(grants: &Path, plugins: &Path) -> anyhow::Result<()> {
    let copy = plugins.join(grants.file_name().unwrap_or_default());
    if grants.is_file() {
        return std::fs::copy(grants, copy).map(drop).with_context(|| format!("cannot copy {}", grants.display()));
    }
    match std::fs::remove_file(&copy) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", copy.display()))
        }
        _ => Ok(()),
    }
}

/// The component that the last build wrote.
fn newest_component(folder: &Path) -> anyhow::Result<PathBuf> {
    let entries = std::fs::read_dir(folder).context("the project's folder is gone")?;
    let components = entries.filter_map(Result::ok).map(|entry| entry.path());
    components
        .filter(|path| is_component(path))
        .max_by_key(|path| path.metadata().and_then(|metadata| metadata.modified()).ok())
        .context("./build left no .wasm file in the project's folder")
}

fn shown_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The first of them, and how many more there are.
fn listed(names: &[String]) -> String {
    const SHOWN_MAX: usize = 3;
    let shown = names.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A line of its own, apart from what the tools say.
fn say(line: &str) {
    print::out(&format!("==> {line}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_that_the_project_has_no_more_are_given_no_more() {
        let (project, plugins) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (grants, copy) = (project.path().join("a.toml"), plugins.path().join("a.toml"));
        lay_grants(&grants, plugins.path()).unwrap();
        std::fs::write(&grants, "origins = []").unwrap();
        lay_grants(&grants, plugins.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&copy).unwrap(), "origins = []");
        std::fs::remove_file(&grants).unwrap();
        lay_grants(&grants, plugins.path()).unwrap();
        assert!(!copy.exists());
    }
}
