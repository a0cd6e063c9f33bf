//! The program: parse, run, exit.

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    windlass::cli::Cli::parse().run().into()
}
