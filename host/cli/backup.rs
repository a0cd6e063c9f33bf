//! `windlass backup`: a copy of the store as it is at this moment, whether a host uses it or not.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::place::PlaceArgs;
use super::{ExitCode, interrupt, print, wrong_usage};
use crate::store::sqlite;

/// What `windlass backup` is told.
#[derive(Args, Debug)]
pub(super) struct BackupArgs {
    /// The copy; it must not be there yet
    file: PathBuf,
    /// Print one document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Does it.
pub(super) fn run(args: &BackupArgs) -> anyhow::Result<ExitCode> {
    let store = match args.place.settings() {
        Ok(config) => config.store.file(),
        Err(error) => return Ok(wrong_usage(&error)),
    };
    interrupt::leave_nothing_behind()?;
    let made = sqlite::backup(&store, &args.file)?;
    if args.json {
        print::document(&json!(made));
    } else {
        let sqlite::BackedUp { file, bytes, jobs, unfinished } = made;
        print::out(&format!(
            "{} holds {jobs} jobs, {unfinished} of them unfinished, in {bytes} bytes\n",
            file.display()
        ));
    }
    Ok(ExitCode::Done)
}
