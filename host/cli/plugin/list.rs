//! `windlass plugin list` and `show`: the plugins of a running server.

use std::fmt::Write as _;

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
        print::json(&document.text);
        return Ok(ExitCode::Done);
    }
    let rows = document["plugins"].as_array().into_iter().flatten().map(|plugin| {
        let of = |name: &str| print::plain(&plugin[name]);
        let revision = of("revision").chars().take(12).collect();
        let count = |name: &str| print::plain(&plugin["counts"][name]);
        let missing = ["origins", "secrets"].map(|kind| plugin["grants_missing"][kind].as_array().map_or(0, Vec::len));
        let missing: usize = missing.iter().sum();
        let error = match (plugin["load_error"]["summary"].as_str(), plugin["description_error"].as_str()) {
            (None, Some(_)) => format!("its description: {}", of("description_error")),
            _ => print::plain(&plugin["load_error"]["summary"]),
        };
        vec![
            of("name"),
            standing(plugin),
            revision,
            of("loaded_at"),
            count("available"),
            count("running"),
            count("later"),
            count("held"),
            if missing == 0 { String::new() } else { missing.to_string() },
            error,
        ]
    });
    let columns = [
        "name",
        "state",
        "revision",
        "loaded",
        "available",
        "running",
        "later",
        "held",
        "grants missing",
        "load error",
    ];
    print::out(&print::list(&columns, rows));
    print::out(&ignored(&document.value));
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
        print::json(&plugin.text);
        return Ok(ExitCode::Done);
    }
    let of = |name: &str| print::plain(&plugin[name]);
    print::out(&print::facts(&[
        ("plugin", of("name")),
        ("state", of("state")),
        ("next", progress(&plugin.value).unwrap_or_default()),
        ("revision", of("revision")),
        ("loaded", of("loaded_at")),
        ("load error", print::plain(&plugin["load_error"]["summary"])),
        ("what to do", print::plain(&plugin["load_error"]["help"])),
        ("description error", of("description_error")),
        ("title", print::plain(&plugin["asked"]["title"])),
        ("version", print::plain(&plugin["asked"]["version"])),
        ("downstream", of("downstream")),
        ("concurrency", of("concurrency")),
        ("rate", of("rate_per_second")),
        ("jobs", of("counts")),
        ("limits", limits(&plugin["limits"])),
    ]));
    print::out(&grants(&plugin.value));
    Ok(ExitCode::Done)
}

fn limits(limits: &Value) -> String {
    let each = limits.as_object().into_iter().flatten().map(|(name, value)| format!("{name} {}", print::plain(value)));
    each.collect::<Vec<_>>().join(", ")
}

/// What it asks for and what it is given, what it asked for in vain, and the lines to add.
fn grants(plugin: &Value) -> String {
    let mut text = String::new();
    let list = |name: &str| plugin[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let mark = |value: &Value, word: &str| if value == true { word.to_owned() } else { "-".to_owned() };
    let rows = list("grants").iter().map(|grant| {
        let (asked, given) = (&grant["asked"], &grant["given"]);
        let note = match (grant["kind"].as_str(), asked == true, given == true) {
            (Some("config"), true, false) => "optional",
            (_, true, false) => "missing",
            (_, false, true) => "not asked for",
            _ => "",
        };
        let (kind, name) = (print::plain(&grant["kind"]), print::plain(&grant["name"]));
        vec![kind, name, mark(asked, "asked"), mark(given, "given"), note.to_owned()]
    });
    if !list("grants").is_empty() {
        let _ = write!(text, "\n{}", print::table(&["grant", "name", "asked", "given", ""], rows));
    }
    let denied =
        list("denied").iter().map(|it| ["since", "count", "remedy"].map(|name| print::plain(&it[name])).to_vec());
    if !list("denied").is_empty() {
        let _ = write!(text, "\n{}", print::table(&["denied since", "times", "what to do"], denied));
    }
    if let Some(lines) = plugin["grants_missing"]["toml"].as_str() {
        let _ = write!(text, "\nadd to {}:\n\n{lines}", print::plain(&plugin["grants_missing"]["file"]));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn grants_stand_side_by_side_with_the_lines_to_add() {
        let text = grants(&json!({
            "grants": [
                {"kind": "origin", "name": "https://a.example", "asked": true, "given": true},
                {"kind": "config", "name": "currency", "asked": true, "given": false},
                {"kind": "secret", "name": "key", "asked": true, "given": false},
                {"kind": "secret", "name": "old", "asked": false, "given": true},
            ],
            "denied": [{"remedy": "do this", "since": "2026-01-01T00:00:00.000Z", "count": 3}],
            "grants_missing": {"file": "plugins/a.toml", "toml": "[secrets]\nkey = { env = \"A_KEY\" }\n"},
        }));
        for told in [
            "asked  given",
            "optional",
            "missing",
            "not asked for",
            "do this",
            "add to plugins/a.toml:\n\n[secrets]\nkey",
        ] {
            assert!(text.contains(told), "{told} is not in {text}");
        }
        assert_eq!(grants(&json!({})), "");
    }
}
