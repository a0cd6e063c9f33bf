//! The program: parse, run, exit.

use clap::Parser as _;

fn main() -> std::process::ExitCode {
    match windlass::cli::Cli::parse().run() {
        Ok(code) => code.into(),
        Err(error) => {
            windlass::cli::complain(&error);
            windlass::cli::ExitCode::Failed.into()
        }
    }
}
