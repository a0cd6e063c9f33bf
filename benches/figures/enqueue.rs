//! Durable enqueue over HTTP, beside the same server storing nothing, and beside one that acknowledges before the disk
//! has synced.

use std::net::SocketAddr;
use std::time::Duration;

use windlass::config::SyncMode;

use crate::api::Server;
use crate::jobs::as_json;
use crate::load::{self, Load, Sent};
use crate::role::Player;
use crate::table::{CPU_US, RATE, Series, line, per_second, rounds, three};

/// How long each side of a round is loaded.
const ROUND: Duration = Duration::from_millis(1_000);
/// Over how many connections, and the goal there.
const CONNECTIONS: [(usize, &str); 5] = [(1, ""), (8, ""), (64, ""), (256, ">= 0.7"), (512, "")];
const SERVERS: [Server; 3] = [Server::Null, Server::Durable(SyncMode::Full), Server::Durable(SyncMode::Normal)];

/// Measures and prints.
pub async fn report() {
    for (connections, goal) in CONNECTIONS {
        let mut sides: Vec<_> = SERVERS.into_iter().map(Side::start).collect();
        let sent = Sent { path: "/v1/jobs", body: as_json("http://localhost").into() };
        for _ in 0..rounds() {
            for side in &mut sides {
                let load = load::run(side.address, side.player.pid(), connections, &sent, ROUND).await;
                side.take(load);
            }
        }
        print(&sides, connections, goal);
    }
}

/// One of the servers, and what it brought.
struct Side {
    player: Player,
    address: SocketAddr,
    series: Series,
    latencies_ms: Vec<f64>,
}

impl Side {
    fn start(server: Server) -> Self {
        let mut player = server.start();
        Self { address: player.address(), player, series: Series::default(), latencies_ms: Vec::new() }
    }

    fn take(&mut self, load: Load) {
        self.series.push(vec![load.rate, load.cpu_us]);
        self.latencies_ms.extend(load.latencies_ms);
    }

    fn rate(&self) -> String {
        per_second(self.series.median(RATE))
    }

    fn cpu_of_1000(&self) -> String {
        format!("{:.4} s", self.series.median(CPU_US) / 1e3)
    }
}

fn print(sides: &[Side], connections: usize, goal: &str) {
    let [null, durable, relaxed] = sides else { unreachable!("there are three servers") };
    let name = format!("durable enqueue, {connections} connections | storing nothing");
    let ratio = |side: &Side| Some(side.series.ratio(&null.series, RATE));
    line(&name, &durable.rate(), &null.rate(), ratio(durable), goal);
    line("  latency, p50/p99/p99.9", &three(&durable.latencies_ms), &three(&null.latencies_ms), None, "");
    line("  CPU of the server for 1,000 jobs", &durable.cpu_of_1000(), &null.cpu_of_1000(), None, "");
    let name = "  relaxed: store.sync = \"normal\" | storing nothing";
    line(name, &relaxed.rate(), &null.rate(), ratio(relaxed), "");
    line("  relaxed: latency, p50/p99/p99.9", &three(&relaxed.latencies_ms), &three(&null.latencies_ms), None, "");
}
