//! Clients that break off: whatever they leave half done, the host gets back what it gave them.

mod common;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use common::{Host, Setup, json, until};

/// Connections in all, and at once.
const ROUNDS: usize = 40;
const AT_ONCE: usize = 25;
/// What the allocator may keep of what a storm needed.
const KEPT_BYTES_MAX: u64 = 24 << 20;

/// A reader or two that the store opens only under load; a storm has a thousand connections.
const KEPT_DESCRIPTORS_MAX: usize = 16;

/// What a client sends before it breaks off.
const HALVES: [&[u8]; 10] = [
    b"",
    b"G",
    b"GET /v1/jobs HTTP/1.1\r\nHost: loc",
    b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{\"plugin\":",
    b"POST /v1/jobs/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
      ffff\r\n{\"jobs\":[",
    b"PUT /v1/plugins/half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000000\r\nExpect: 100-continue\r\n\r\n\0asm",
    b"GET /v1/jobs/00000000-0000-7000-8000-000000000000?wait=5m HTTP/1.1\r\nHost: localhost\r\n\r\nGET /met",
    b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\nGET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x40\x01\x04",
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0\0\0\0\0\0\0\0",
];

/// How a client breaks off.
fn break_off(mut stream: TcpStream, way: usize) {
    match way % 4 {
        // Closed with an answer unread: the system sends a reset.
        0 => drop(stream),
        1 => {
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read(&mut [0; 16]);
        }
        2 => {
            let _ = stream.shutdown(Shutdown::Both);
        }
        _ => {
            let _ = stream.set_read_timeout(Some(Duration::from_millis(5)));
            let _ = stream.read(&mut [0; 1 << 12]);
        }
    }
}

/// How many descriptors the host has, and how many of them are sockets.
fn descriptors(host: &Host) -> (usize, usize) {
    let folder = format!("/proc/{}/fd", host.pid().as_raw_nonzero());
    let entries = std::fs::read_dir(folder).expect("the host runs");
    // One that is closed in between has no target any more.
    let targets: Vec<_> = entries.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
    let sockets = targets.iter().filter(|target| target.to_string_lossy().starts_with("socket:")).count();
    (targets.len(), sockets)
}

fn resident_bytes(host: &Host) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", host.pid().as_raw_nonzero())).expect("the host runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// A storm of clients that each send a half and break off, on threads, as they block.
async fn storm(host: &Host, parked: &str) {
    let address = host.base.trim_start_matches("http://").to_owned();
    let parked = format!("GET /v1/jobs/{parked}?wait=5m HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let storm = (0..AT_ONCE).map(|client| {
        let (address, parked) = (address.clone(), parked.clone());
        tokio::task::spawn_blocking(move || {
            for round in 0..ROUNDS {
                let mut stream = TcpStream::connect(&address).expect("the host takes connections");
                let half = HALVES.get((client + round) % (HALVES.len() + 1)).copied().unwrap_or(parked.as_bytes());
                // A host that has refused and closed by now is in its right.
                let _ = stream.write_all(half);
                break_off(stream, client + round / 3);
            }
        })
    });
    for client in storm.collect::<Vec<_>>() {
        client.await.expect("the client broke off by itself");
    }
}

#[tokio::test]
async fn a_storm_of_clients_that_break_off_leaves_nothing_behind() {
    let host = Setup::default().guest("echo", "").start().await;
    let parked = host.enqueue(json!({"plugin": "echo", "payload": 1, "delay": "7d"})).await;
    let unfinished = host.get("/v1/jobs?state=available").await;
    let (_, sockets) = descriptors(&host);
    // The first storm warms what is kept for good: pools, buffers, threads, the store's readers.
    storm(&host, &parked).await;
    settled(&host, sockets).await;
    let (resident_before, (all, _)) = (resident_bytes(&host), descriptors(&host));
    storm(&host, &parked).await;
    settled(&host, sockets).await;

    let (all_after, _) = descriptors(&host);
    assert!(all_after <= all + KEPT_DESCRIPTORS_MAX, "the host has {all_after} descriptors; it had {all}");
    let grown_bytes = resident_bytes(&host).saturating_sub(resident_before);
    assert!(grown_bytes <= KEPT_BYTES_MAX, "the host holds {grown_bytes} bytes more after the second storm");
    assert_eq!(host.get("/v1/jobs?state=available").await, unfinished, "a half became a job");
    let id = host.enqueue(json!({"plugin": "echo", "payload": {"still": "well"}})).await;
    assert_eq!(host.ended(&id).await["result"], json!({"still": "well"}));
}

/// Waits until the connections of a storm are gone.
async fn settled(host: &Host, sockets: usize) {
    // The test's own client keeps a connection or two.
    until("the connections are gone", || async { (descriptors(host).1 <= sockets + 4).then_some(()) }).await;
}
