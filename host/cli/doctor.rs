//! `windlass doctor`: looks over a store that may be damaged, and takes what is whole into a new one.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::place::PlaceArgs;
use super::{ExitCode, interrupt, print, wrong_usage};
use crate::store::sqlite::{self, Report, Salvaged};

/// How many jobs and faults of each kind are shown to people.
const SHOWN_MAX: usize = 20;

/// What `windlass doctor` is told.
#[derive(Args, Debug)]
pub(super) struct DoctorArgs {
    /// Take every job that is whole into a new store; FILE must not be there yet
    #[arg(long, value_name = "FILE")]
    salvage: Option<PathBuf>,
    /// Print one document, with every job that is not whole
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Does it.
pub(super) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let store = match args.place.settings() {
        Ok(config) => config.store.file(),
        Err(error) => return Ok(wrong_usage(&error)),
    };
    interrupt::leave_nothing_behind()?;
    let (report, salvaged) = match &args.salvage {
        None => (sqlite::examine(&store, &std::env::temp_dir())?, None),
        Some(to) => {
            let (report, salvaged) = sqlite::salvage(&store, to)?;
            (report, Some(salvaged))
        }
    };
    if args.json {
        print::document(&json!({"report": report, "salvaged": salvaged}));
    } else {
        print::out(&told(&report, salvaged.as_ref()));
    }
    Ok(if report.whole || salvaged.is_some() { ExitCode::Done } else { ExitCode::Failed })
}

fn told(report: &Report, salvaged: Option<&Salvaged>) -> String {
    let mut text = print::facts(&facts(report));
    text.push_str(&doubtful(report));
    text.push_str(&incomplete(report));
    text.push_str(&lost(report));
    let verdict = match (report.whole, salvaged) {
        (_, Some(salvaged)) => format!(
            "{} holds {}, all that are whole or doubtful, in {} bytes; put it in the place of {} to serve it",
            salvaged.file.display(),
            count(salvaged.jobs, "job"),
            salvaged.bytes,
            report.store
        ),
        (true, None) => "the store is whole".to_owned(),
        (false, None) => {
            "the store is damaged; `windlass doctor --salvage FILE` takes what is whole into a new store".to_owned()
        }
    };
    format!("{text}\n{verdict}\n")
}

fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let layout =
        report.layout.map_or_else(|| "unknown: the file's beginning is damaged".to_owned(), |it| it.to_string());
    let in_use = if report.in_use { "yes: what was looked at is a copy of this moment" } else { "no" };
    let jobs = &report.jobs;
    let counted = format!(
        "{} whole ({} unfinished), {} doubtful, {} incomplete, {} lost",
        jobs.whole, jobs.unfinished, jobs.doubtful, jobs.incomplete, jobs.lost
    );
    let pages = report.bad_pages.iter().take(SHOWN_MAX).map(u32::to_string).collect::<Vec<_>>();
    let rows = report.damaged_rows.iter().map(|(table, rows)| format!("{rows} of {table}")).collect::<Vec<_>>();
    let some = |number: usize, what: &str| if number == 0 { String::new() } else { format!("{number} {what}") };
    let mut facts = vec![
        ("store", report.store.clone()),
        ("in use", in_use.to_owned()),
        ("layout", layout),
        ("jobs", counted),
        ("log", report.log.clone().unwrap_or_default()),
        ("bad pages", more(pages, report.bad_pages.len())),
        ("damaged rows", rows.join(", ")),
        ("keys", some(report.forgotten_keys.len(), "idempotency keys of these jobs are forgotten")),
        ("evidence", some(report.lost_evidence as usize, "attempts of these jobs have lost their log and calls")),
        ("revisions", some(report.lost_revisions as usize, "attempts of these jobs no longer say which revision ran")),
    ];
    facts.extend(report.structure.iter().map(|fault| ("structure", fault.clone())));
    facts
}

fn doubtful(report: &Report) -> String {
    let rows = report.doubtful.iter().take(SHOWN_MAX).map(|job| {
        let may_be_lost = format!("attempt {}, and later ones", job.attempts + 1);
        vec![job.id.clone(), job.plugin.clone().unwrap_or_default(), job.attempts.to_string(), may_be_lost]
    });
    section("doubtful", &["id", "plugin", "attempts", "may be lost"], rows.collect(), report.doubtful.len())
}

fn incomplete(report: &Report) -> String {
    let rows = report.incomplete.iter().take(SHOWN_MAX).map(|job| {
        let end = job.end.clone().unwrap_or_else(|| "unfinished".to_owned());
        vec![job.id.clone(), job.plugin.clone().unwrap_or_default(), end, job.missing.join("; ")]
    });
    section("incomplete", &["id", "plugin", "end", "missing"], rows.collect(), report.incomplete.len())
}

fn lost(report: &Report) -> String {
    let rows = report.lost.iter().take(SHOWN_MAX).map(|job| {
        let id = job.id.clone().unwrap_or_else(|| format!("{}…", job.id_begins));
        vec![id, job.accepted_at.to_string(), job.seen_in.join(", ")]
    });
    section("lost", &["id", "accepted", "still spoken of in"], rows.collect(), report.lost.len())
}

fn section(name: &str, columns: &[&str], rows: Vec<Vec<String>>, all: usize) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let rest = all - rows.len();
    let rest = if rest == 0 { String::new() } else { format!("and {rest} more; --json names them all\n") };
    format!("\n{name}\n{}{rest}", print::table(columns, rows))
}

fn more(shown: Vec<String>, all: usize) -> String {
    let rest = all - shown.len();
    let rest = if rest == 0 { String::new() } else { format!(" and {rest} more") };
    format!("{}{rest}", shown.join(", "))
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
