//! The figures that matter, each beside its limit, measured in the same run: `cargo bench`.
//!
//! `cargo bench --bench figures -- fairness` measures that part alone.
//!
//! Ratios come from rounds that alternate between the two sides, and are medians. CPU time is the operating system's.
//! Servers run as processes of their own: this program again, in another role.

mod enqueue;
mod fairness;
mod life;
mod machine;
mod null_store;
mod role;
mod serve;

use machine::Folder;

/// The same as the program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many rounds each comparison has.
const ROUNDS: usize = 5;

fn main() {
    if role::play() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        println!("{} processors; sync to disk in {}\n", machine::processors(), std::env::temp_dir().display());
        println!("{:<58} {:>12} {:>12} {:>8} {:>8}", "figure", "measured", "limit", "ratio", "goal");
        let only: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
        let is_wanted = |name: &str| only.is_empty() || only.iter().any(|wanted| wanted == name);
        if is_wanted("enqueue") {
            enqueue::report(64, None).await;
            enqueue::report(256, Some(0.5)).await;
        }
        if is_wanted("life") {
            life::report().await;
        }
        if is_wanted("serve") {
            serve::report().await;
        }
        if is_wanted("fairness") {
            fairness::report().await;
        }
    });
}

/// One line of the table.
fn line(name: &str, measured: &str, limit: &str, ratio: Option<f64>, goal: &str) {
    let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
    println!("{name:<58} {measured:>12} {limit:>12} {ratio:>8} {goal:>8}");
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A new folder on the disk that is measured.
fn folder() -> Folder {
    Folder::new().expect("a temporary folder")
}
