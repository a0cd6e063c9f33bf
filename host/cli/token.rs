//! `windlass token …`: the tokens of a host. The commands work on the file in its data folder, whether it runs or not; a
//! host that runs takes a change up within a second.

use std::io::Write as _;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;

use super::place::PlaceArgs;
use super::{ExitCode, print, wrong_usage};
use crate::api::tokens::{Minted, Scope, Token, TokenFile};
use crate::clock::{Clock as _, SystemClock, UnixMs};
use crate::job::units::TimeSpan;

/// The longest name.
const NAME_CHARS_MAX: usize = 64;

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token; it is printed once, on standard output
    New(NewArgs),
    /// List the tokens
    List(ListArgs),
    /// Make a token void
    Revoke(RevokeArgs),
}

/// What `windlass token new` is told.
#[derive(Args, Debug)]
pub(super) struct NewArgs {
    /// What people call it
    #[arg(value_parser = name)]
    name: String,
    /// What it allows: read, enqueue, enqueue:PLUGIN, operate or admin; can be repeated
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',')]
    scopes: Vec<Scope>,
    /// How long it is valid, for example 90d [default: until it is revoked]
    #[arg(long, value_name = "DURATION")]
    expires: Option<TimeSpan>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What `windlass token list` is told.
#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Print one document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What `windlass token revoke` is told.
#[derive(Args, Debug)]
pub(super) struct RevokeArgs {
    /// The token's id, as `windlass token list` shows it
    id: String,
    #[command(flatten)]
    place: PlaceArgs,
}

fn name(text: &str) -> Result<String, String> {
    let is_sound = (1..=NAME_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    is_sound.then(|| text.to_owned()).ok_or_else(|| format!("a name has 1 to {NAME_CHARS_MAX} visible characters"))
}

/// Does it.
pub(super) fn run(command: TokenCommand) -> anyhow::Result<ExitCode> {
    let now = SystemClock::start().now();
    let place = match &command {
        TokenCommand::New(args) => &args.place,
        TokenCommand::List(args) => &args.place,
        TokenCommand::Revoke(args) => &args.place,
    };
    let file = match place.settings() {
        Ok(config) => TokenFile::in_folder(&config.data_dir()),
        Err(error) => return Ok(wrong_usage(&error)),
    };
    match command {
        TokenCommand::New(args) => new(args, &file, now),
        TokenCommand::List(args) => list(&args, &file, now),
        TokenCommand::Revoke(args) => revoke(&args, &file),
    }
}

fn new(args: NewArgs, file: &TokenFile, now: UnixMs) -> anyhow::Result<ExitCode> {
    let expires = match args.expires {
        Some(span) if span.as_ms() == 0 => return Ok(wrong_usage(&"--expires: a token of 0s would be void at once")),
        span => span.map(|span| now.after(span.0)),
    };
    let mut scopes = args.scopes;
    scopes.sort();
    scopes.dedup();
    let mut random = [0; 38];
    SystemRandom::new().fill(&mut random).map_err(|_| anyhow!("the system gives no randomness"))?;
    let minted = Minted::from_random(&random);
    let token = minted.kept(args.name, scopes, now, expires);
    let told = format!(
        "token {} ({}) allows {}, {}; it is shown only now: {} keeps no more than its digest",
        token.id,
        token.name,
        words(&token),
        token.expires.map_or_else(|| "until it is revoked".to_owned(), |end| format!("until {end}")),
        file.path().display()
    );
    file.add(token)?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", minted.text).and_then(|()| stdout.flush()).with_context(|| {
        format!("cannot print the token, which is lost; revoke it with `windlass token revoke {}`", minted.id)
    })?;
    print::complain(&told);
    Ok(ExitCode::Done)
}

fn list(args: &ListArgs, file: &TokenFile, now: UnixMs) -> anyhow::Result<ExitCode> {
    let tokens = file.read()?;
    if args.json {
        let tokens: Vec<_> = tokens.unwrap_or_default().iter().map(|token| document(token, now)).collect();
        print::document(&json!({"tokens": tokens}));
        return Ok(ExitCode::Done);
    }
    let Some(tokens) = tokens else {
        print::complain(&format!("there is no {}: a host on loopback asks for no tokens", file.path().display()));
        return Ok(ExitCode::Done);
    };
    let rows = tokens.iter().map(|token| {
        let state = if token.is_expired(now) { "expired" } else { "valid" };
        let end = token.expires.map_or_else(String::new, |end| end.to_string());
        vec![token.id.clone(), token.name.clone(), words(token), token.created.to_string(), end, state.to_owned()]
    });
    print::out(&print::table(&["id", "name", "scopes", "created", "expires", "state"], rows));
    Ok(ExitCode::Done)
}

fn revoke(args: &RevokeArgs, file: &TokenFile) -> anyhow::Result<ExitCode> {
    let token = file.remove(&args.id)?;
    print::out(&format!("token {} ({}) is revoked\n", token.id, token.name));
    Ok(ExitCode::Done)
}

fn words(token: &Token) -> String {
    token.scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn document(token: &Token, now: UnixMs) -> serde_json::Value {
    json!({
        "id": token.id,
        "name": token.name,
        "scopes": token.scopes,
        "created_at": token.created,
        "expires_at": token.expires,
        "expired": token.is_expired(now),
    })
}
