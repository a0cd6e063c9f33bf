//! `windlass plugin test`: the real component against downstreams that follow a script.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::super::{ExitCode, print, wrong_usage};
use super::scenario::{Played, Scenario, ScenarioFile, play};
use super::solo::{Solo, compiled_folder};
use super::tried::TriedDocument;
use super::{check, run};

/// What `windlass plugin test` is told.
#[derive(Args, Debug)]
pub(in crate::cli) struct TestArgs {
    /// The component
    file: PathBuf,
    /// The scenarios
    scenarios: PathBuf,
    /// Play only the scenarios whose name holds this text
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Show every attempt, not only those that were not as expected
    #[arg(long)]
    show: bool,
    /// Print a document
    #[arg(long)]
    json: bool,
}

/// Plays them one after the other. Exits with 1 where one is not as expected.
pub(super) async fn test(args: TestArgs) -> anyhow::Result<ExitCode> {
    let mut scenarios = match ScenarioFile::read(&args.scenarios)? {
        Ok(file) => file.scenarios,
        Err(why) => return Ok(wrong_usage(&why)),
    };
    if let Some(only) = &args.only {
        scenarios.retain(|scenario| scenario.name.contains(only.as_str()));
        if scenarios.is_empty() {
            return Ok(wrong_usage(&format!("no scenario's name holds {only:?}")));
        }
    }
    let solo = Solo::start(compiled_folder())?;
    let revision = match solo.load(&args.file).await? {
        Ok(revision) => revision,
        Err(error) => {
            check::tell_error(&args.file, &error, args.json);
            return Ok(ExitCode::Failed);
        }
    };
    let name = run::name_of(&args.file);
    let mut results = Vec::new();
    for scenario in &scenarios {
        results.push((scenario, play(&solo, &name, revision.clone(), scenario).await?));
    }
    if args.json {
        print::document(&report(&results));
    } else {
        print::out(&table(&results, args.show));
    }
    let is_well = results.iter().all(|(_, played)| played.mismatches.is_empty());
    Ok(if is_well { ExitCode::Done } else { ExitCode::Failed })
}

/// What became of all scenarios.
#[derive(Serialize)]
struct Report<'a> {
    passed: usize,
    failed: usize,
    scenarios: Vec<ScenarioReport<'a>>,
}

#[derive(Serialize)]
struct ScenarioReport<'a> {
    name: &'a str,
    passed: bool,
    mismatches: &'a [String],
    attempt: TriedDocument<'a>,
}

fn report<'a>(results: &'a [(&Scenario, Played)]) -> Report<'a> {
    let one = |(scenario, played): &'a (&Scenario, Played)| ScenarioReport {
        name: &scenario.name,
        passed: played.mismatches.is_empty(),
        mismatches: &played.mismatches,
        attempt: played.tried.document(),
    };
    let scenarios: Vec<_> = results.iter().map(one).collect();
    let passed = scenarios.iter().filter(|scenario| scenario.passed).count();
    Report { passed, failed: scenarios.len() - passed, scenarios }
}

fn table(results: &[(&Scenario, Played)], shows_all: bool) -> String {
    let rows = results.iter().map(|(scenario, played)| {
        let result = if played.mismatches.is_empty() { "ok" } else { "FAILED" };
        let took = format!("{:.0} ms", played.tried.took.as_secs_f64() * 1e3);
        let outcome = played.tried.outcome.kind().name();
        vec![result.to_owned(), scenario.name.clone(), outcome.to_owned(), took]
    });
    let mut text = print::table(&["", "scenario", "outcome", "took"], rows);
    for (scenario, played) in results.iter().filter(|(_, played)| shows_all || !played.mismatches.is_empty()) {
        let _ = writeln!(text, "\n--- {}", scenario.name);
        for mismatch in &played.mismatches {
            let _ = writeln!(text, "{mismatch}");
        }
        let _ = write!(text, "\n{}", played.tried.text());
    }
    let failed = results.iter().filter(|(_, played)| !played.mismatches.is_empty()).count();
    let _ = match failed {
        0 => writeln!(text, "\n{} scenarios, all as expected", results.len()),
        failed => writeln!(text, "\n{failed} of {} scenarios are not as expected", results.len()),
    };
    text
}
