//! The program: parse, run, exit.

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    match windlass::cli::Cli::parse().run() {
        Ok(code) => code.into(),
        Err(error) => {
            windlass::cli::complain(&error);
            windlass::cli::ExitCode::Failed.into()
        }
    }
}
