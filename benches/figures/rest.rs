//! The real binary at rest: what it costs to do nothing.

use std::time::Duration;

use crate::guest;
use crate::host::{Dropped, Host};
use crate::machine::{cpu, resident_kib};
use crate::table::note;

/// How long the host is watched doing nothing.
const REST: Duration = Duration::from_secs(5);

/// Measures and prints.
pub async fn report() {
    let http = guest::shipped();
    let mut host = Host::start("", &[Dropped::calling("http", &http, "http://localhost:9")]);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    host.ready(&client).await;
    tokio::time::sleep(REST / 5).await;
    let before = cpu(host.pid());
    tokio::time::sleep(REST).await;
    let idle = (cpu(host.pid()) - before).as_secs_f64() / REST.as_secs_f64() * 100.0;
    let resident_mib = resident_kib(host.pid()) / 1_024.0;
    note("resident memory, idle, one Rust plugin", &format!("{resident_mib:.1} MiB"), "<= 60");
    note("CPU, idle", &format!("{idle:.1} %"), "");
}
