//! A plugin whose compiled code is kept: how soon it is ready, beside its first compilation.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use windlass::clock::{Clock, SystemClock};
use windlass::config::Config;
use windlass::plugin::{Loader, PluginHost};

use crate::machine::now;
use crate::table::{Series, line, note, number};
use crate::{api, folder, guest};

/// How many components are loaded, unless `BENCH_ROUNDS` says otherwise.
const COMPONENTS: usize = 20;
/// How many of them are dropped into a folder.
const DROPPED: usize = 5;

/// Measures and prints.
pub async fn report() {
    let (folder, config) = (folder(), Config::default());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let cache = folder.path().join("compiled");
    let components: Vec<_> = (0..number("BENCH_ROUNDS").unwrap_or(COMPONENTS)).map(variant).collect();
    let first = load_all(&api::plugin_host(&config, &cache, &clock), &components).await;
    // As after a start of the host.
    let again = load_all(&api::plugin_host(&config, &cache, &clock), &components).await;
    let ms = |series: &Series| format!("{:.2} ms", series.median(0));
    let name = "plugin read to ready, its code in the cache | compiled";
    line(name, &ms(&again), &ms(&first), Some(again.ratio(&first, 0)), "<= 5 ms");
    line("  of it the trial start", &format!("{:.2} ms", again.median(1)), "", None, "");

    let plugins = folder.path().join("plugins");
    std::fs::create_dir(&plugins).expect("a folder");
    let (loader, _changes) =
        Loader::new(api::plugin_host(&config, &cache, &clock), plugins.clone(), clock).expect("a folder");
    let mut dropped = Series::default();
    for (n, component) in components.iter().take(DROPPED).enumerate() {
        dropped.push(vec![drop_ms(&loader, &plugins, &format!("p{n}"), component).await]);
    }
    note("  dropped into the folder to ready, 100 ms at rest", &ms(&dropped), "<= 1000 ms");
}

/// The shipped component with another digest each time.
fn variant(n: usize) -> Bytes {
    let (mut component, name) = (guest::shipped().to_vec(), format!("bench:{n:04}"));
    let length = |bytes: usize| u8::try_from(bytes).expect("a short name");
    component.extend([0, length(name.len() + 1), length(name.len())]);
    component.extend(name.as_bytes());
    component.into()
}

/// Milliseconds of each loading, and of the trial start in it.
async fn load_all(host: &Arc<PluginHost>, components: &[Bytes]) -> Series {
    let mut times = Series::default();
    for component in components {
        let started = now();
        let revision = host.load(component.clone()).await.expect("it loads");
        times.push(vec![started.elapsed().as_secs_f64() * 1e3, revision.start_time.as_secs_f64() * 1e3]);
    }
    times
}

async fn drop_ms(loader: &Loader, plugins: &Path, name: &str, component: &[u8]) -> f64 {
    let started = now();
    std::fs::write(plugins.join(format!("{name}.wasm")), component).expect("a file");
    while loader.registry.get(name).is_none_or(|plugin| plugin.revision.is_none()) {
        loader.look().await;
    }
    started.elapsed().as_secs_f64() * 1e3
}
