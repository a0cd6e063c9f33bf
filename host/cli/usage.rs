//! What was typed and cannot be read, told in one line.

use std::ffi::{OsStr, OsString};

use clap::error::ErrorKind;
use clap::{Command, CommandFactory as _};

use super::Cli;
use crate::job::text;
use crate::telemetry::LogFormat;

/// What is wrong, where the mistake lies, and where to look it up.
pub(super) fn told(error: &clap::Error, typed: &[OsString]) -> String {
    let help = format!("`{} --help`", command(typed));
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return format!("a command is missing; {help} lists them");
    }
    let rendered = error.to_string();
    let mut paragraphs = rendered.split("\n\n").take_while(|part| !is_general(part)).map(one_line);
    let first = paragraphs.next().unwrap_or_default();
    let tips: String = paragraphs.map(|tip| format!("; {tip}")).collect();
    let told = format!("{}{tips}; see {help}", first.trim_start_matches("error: "));
    text::line(&without_users(&told), usize::MAX)
}

/// Without what stands before the host in URLs: it may be a password. Of the URL of a server that is none, nothing is told
/// that has an `@`: what is meant to stand where cannot be seen.
fn without_users(told: &str) -> String {
    const BEGIN: &str = "invalid value '";
    if let (Some(begin), Some(end)) = (told.find(BEGIN), told.rfind("' for '--server"))
        && told.get(begin + BEGIN.len()..end).is_some_and(|value| value.contains('@'))
    {
        return format!("{}…{}", &told[..begin + BEGIN.len()], &told[end..]);
    }
    let mut parts = told.split("://");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(['\'', '"', ' ']).unwrap_or(part.len());
        let from = part[..end].rfind('@').map_or(0, |at| at + 1);
        clean.push_str("://");
        clean.push_str(&part[from..]);
    }
    clean
}

/// What is not of this mistake.
fn is_general(paragraph: &str) -> bool {
    paragraph.starts_with("Usage: ") || paragraph.starts_with("For more information")
}

fn one_line(paragraph: &str) -> String {
    let lines: Vec<_> = paragraph.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ")
}

/// The command as far as it can be read.
fn command(typed: &[OsString]) -> String {
    let (mut path, mut command) = ("windlass".to_owned(), Cli::command());
    for word in typed.iter().skip(1) {
        let Some(next) = command.find_subcommand(word) else { break };
        path = format!("{path} {}", next.get_name());
        command = Command::clone(next);
    }
    path
}

/// How `serve` was asked to write its log, where the rest cannot be read. All other commands write text.
pub(super) fn log_format(typed: &[OsString]) -> LogFormat {
    let is_serve = typed.get(1).is_some_and(|word| word == "serve");
    let is_json = |pair: &[OsString]| pair[0] == "--log-format" && pair[1] == "json";
    let is_said = typed.iter().any(|word| word == OsStr::new("--log-format=json")) || typed.windows(2).any(is_json);
    if is_serve && is_said { LogFormat::Json } else { LogFormat::Text }
}
