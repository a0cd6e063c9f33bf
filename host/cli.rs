//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::telemetry::LogFormat;

mod demo;
mod serve;

/// tmp
#[derive(Debug, Parser)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(ServeArgs),
    Demo(DemoArgs),
}

/// tmp
#[derive(Args, Debug)]
pub struct ServeArgs {
    #[arg(long)]
    config: Option<PathBuf>,
    #[arg(long)]
    listen: Option<SocketAddr>,
    #[arg(long)]
    data: Option<PathBuf>,
    #[arg(long)]
    plugins: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

/// tmp
#[derive(Args, Debug)]
pub struct DemoArgs {
    #[arg(long)]
    listen: Option<SocketAddr>,
    #[arg(long)]
    once: bool,
}

/// tmp
#[derive(Clone, Copy, Debug)]
pub enum ExitCode {
    Done,
    WrongUsage,
}

fn wrong_usage(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("windlass: {error}");
    ExitCode::WrongUsage
}

/// tmp
pub fn run() -> anyhow::Result<i32> {
    let code = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args)?,
        Command::Demo(args) => demo::run(&args)?,
    };
    Ok(if matches!(code, ExitCode::WrongUsage) { 2 } else { 0 })
}
