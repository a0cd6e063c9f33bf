//! The figures that matter, each beside its limit, measured in the same run: `cargo bench`.
//!
//! `cargo bench --bench figures -- queue http` measures these parts alone; the first argument that is none names all.
//! `BENCH_ROWS=10000000` asks for more jobs where there are many, `BENCH_ROUNDS` for more rounds.
//!
//! Ratios come from rounds that alternate between the two sides, and are medians. CPU time is the operating system's.
//! Servers run as processes of their own: this program again, in another role.

mod api;
mod backlog;
mod bare;
mod cache;
mod downstream;
mod enqueue;
mod enqueue_batch;
mod fairness;
mod flat;
mod guest;
mod host;
mod http;
mod jobs;
mod life;
mod load;
mod machine;
mod null_store;
mod pick_up;
mod pipeline;
mod queue;
mod reschedule;
mod rest;
mod role;
mod start;
mod suspended;
mod table;
mod threads;
mod timers;

use std::path::Path;
use std::sync::Arc;

use machine::Folder;
use windlass::clock::Chance;
use windlass::store::sqlite::{SqliteOptions, SqliteStore};

/// The same as the program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What can be measured alone, in the order in which it is measured.
const PARTS: [&str; 14] = [
    "enqueue",
    "batch",
    "queue",
    "flat",
    "reschedule",
    "start",
    "timers",
    "http",
    "threads",
    "cache",
    "life",
    "serve",
    "suspended",
    "fairness",
];

fn main() {
    if role::play() {
        return;
    }
    let only: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let Some(unknown) = only.iter().find(|wanted| !PARTS.contains(&wanted.as_str())) {
        eprintln!("there is no part {unknown}; the parts are {}", PARTS.join(", "));
        std::process::exit(2);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!("{} processors; sync to disk in {}\n", machine::processors(), std::env::temp_dir().display());
    table::head();
    for part in PARTS.into_iter().filter(|part| only.is_empty() || only.iter().any(|wanted| wanted == part)) {
        runtime.block_on(measure(part));
    }
}

async fn measure(part: &str) {
    match part {
        "enqueue" => enqueue::report().await,
        "batch" => enqueue_batch::report().await,
        "queue" => queue::report(),
        "flat" => flat::report(),
        "reschedule" => reschedule::report().await,
        "start" => start::report().await,
        "timers" => timers::report(),
        "http" => http::report(),
        "threads" => threads::report(),
        "cache" => cache::report().await,
        "life" => life::report(),
        "serve" => {
            pick_up::report().await;
            rest::report().await;
        }
        "suspended" => suspended::report().await,
        "fairness" => fairness::report().await,
        other => unreachable!("{other} is in the list of parts and nowhere else"),
    }
}

/// The store in that file.
fn store(path: &Path, options: SqliteOptions) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(path, options, Arc::new(Chance::seeded(1))).expect("a store"))
}

/// A new folder on the disk that is measured.
fn folder() -> Folder {
    Folder::new().expect("a temporary folder")
}
