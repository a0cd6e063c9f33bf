//! The command line: what can be typed, and what the program exits with.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::config::listen_address;
use crate::plugin::{COMPILE_SUBCOMMAND, compile_component};
use crate::telemetry::LogFormat;

mod backup;
mod client;
mod demo;
mod doctor;
mod downstreams;
mod end;
mod enqueue;
mod interrupt;
mod jobs;
mod place;
mod plugin;
mod print;
mod serve;
mod signals;
mod token;
mod typed;
mod usage;

use end::WrongUsage;

/// After so many turns of tasks a busy thread looks for what came from outside. With the usual 61, guests that each take
/// a tenth of a millisecond would keep a request waiting for six.
const EVENT_INTERVAL: u32 = 8;

/// A durable job runner for calls to systems that are slow, limited or down.
#[derive(Debug, Parser)]
#[command(name = "windlass", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(ServeArgs),
    /// Hand a job to a running server.
    Enqueue(enqueue::EnqueueArgs),
    /// Look at jobs, cancel them, try them again.
    #[command(subcommand)]
    Jobs(jobs::JobsCommand),
    /// See how the systems that jobs call are; hold, release, probe and bound them.
    Downstreams(downstreams::DownstreamsArgs),
    /// Look at plugins, check and change them.
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// How the host compiles one component; of no use by hand.
    #[command(name = COMPILE_SUBCOMMAND, hide = true)]
    Compile,
    /// Make tokens, list them, make them void.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Copy the store into a new file, beside a running server too.
    Backup(backup::BackupArgs),
    /// Look over a store that may be damaged, and take what is whole into a new one.
    Doctor(doctor::DoctorArgs),
    /// Watch the main job: a server, a plugin, a downstream that fails at first, and a few jobs.
    Demo(DemoArgs),
}

/// What `windlass serve` is told.
#[derive(Args, Debug)]
pub struct ServeArgs {
    #[command(flatten)]
    place: place::PlaceArgs,
    /// The address and the port to listen on [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    listen: Option<SocketAddr>,
    /// The folder of the plugins [default: plugins]
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// How log lines are written to standard error
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
}

/// What `windlass demo` is told.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// The address and the port to listen on [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    listen: Option<SocketAddr>,
    /// End when every job is completed
    #[arg(long)]
    once: bool,
}

/// What the program exits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// 0: done.
    Done,
    /// 1: not done.
    Failed,
    /// 2: wrong usage or settings.
    WrongUsage,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        match code {
            ExitCode::Done => Self::SUCCESS,
            ExitCode::Failed => Self::from(1),
            ExitCode::WrongUsage => Self::from(2),
        }
    }
}

impl Cli {
    /// Carries out what was typed. Where that cannot be done, or cannot be read, it says why in one line.
    #[must_use]
    pub fn run_typed() -> ExitCode {
        let typed: Vec<_> = std::env::args_os().collect();
        match Self::try_parse_from(&typed) {
            Ok(cli) => cli.run(),
            Err(asked) if !asked.use_stderr() => {
                // The help or the version.
                print::note(asked.print());
                end::told(Ok(ExitCode::Done), LogFormat::Text)
            }
            Err(error) => {
                let why = WrongUsage::new(&usage::told(&error, &typed));
                end::refused(&why.into(), usage::log_format(&typed))
            }
        }
    }

    fn run(self) -> ExitCode {
        let log_format = match &self.command {
            Command::Serve(args) => args.log_format,
            _ => LogFormat::Text,
        };
        end::told(self.carry_out(), log_format)
    }

    fn carry_out(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(args) => serve::run(&args),
            Command::Compile => compile_component().map(|()| ExitCode::Done),
            Command::Demo(args) => demo::run(&args),
            Command::Enqueue(args) => block_on(enqueue::run(args)),
            Command::Jobs(command) => block_on(jobs::run(command)),
            Command::Downstreams(args) => block_on(downstreams::run(args)),
            Command::Plugin(command) => plugin::run(command),
            Command::Token(command) => token::run(command),
            Command::Backup(args) => backup::run(&args),
            Command::Doctor(args) => doctor::run(&args),
        }
    }
}

/// What runs a host: a thread for each processor.
///
/// # Errors
/// Where the system gives no threads or descriptors.
pub fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .event_interval(EVENT_INTERVAL)
        .enable_all()
        .build()
        .context("cannot start the async runtime")
}

fn block_on(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(command)
}

/// Says in one line what is wrong with what was typed or set.
fn wrong_usage(error: &dyn std::fmt::Display) -> ExitCode {
    print::complain(&format!("windlass: {error}"));
    ExitCode::WrongUsage
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }
}
