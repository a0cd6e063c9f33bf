//! A server that says nothing, or no end of it, is given up.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use rustix::process::Signal;

use crate::common::Setup;
use crate::said;

const ID: &str = "01990000-0000-7000-8000-000000000000";

/// Begins to answer each request with the next of these, on a connection of its own, and says no more. Returns its address.
pub fn server(begun: &[&[u8]]) -> String {
    let begun: Vec<_> = begun.iter().map(|begun| begun.to_vec()).collect();
    serving(move |listener| {
        let mut kept = Vec::new();
        for begun in begun {
            let mut stream = asked(&listener);
            stream.write_all(&begun).unwrap();
            kept.push(stream);
        }
        // Until the test ends.
        std::thread::park();
    })
}

/// Answers one request with a document that has no end. Returns its address.
fn endless_server() -> String {
    serving(|listener| {
        let mut stream = asked(&listener);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n[").unwrap();
        let part = "1,".repeat(32 << 10);
        while stream.write_all(part.as_bytes()).is_ok() {}
    })
}

fn serving(serve: impl FnOnce(TcpListener) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || serve(listener));
    address
}

/// The next connection, once something was asked on it.
fn asked(listener: &TcpListener) -> TcpStream {
    let mut stream = listener.accept().unwrap().0;
    assert!(stream.read(&mut [0; 4 << 10]).unwrap() > 0);
    stream
}

async fn ended(mut command: Command) -> (i32, String, String) {
    said(&tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap())
}

#[tokio::test]
async fn a_server_that_stands_still_is_given_up() {
    let host = Setup::default().guest("echo", "").start().await;
    let host_name = host.base.clone();
    host.signal(Signal::STOP);
    std::fs::write(host.dir().join("small.wasm"), "a large one would have more time to be sent").unwrap();
    for (args, asked, may_be_done) in [
        (&["jobs", "list"][..], "GET /v1/jobs ", false),
        (&["jobs", "show", ID], ID, false),
        (&["plugin", "list"], "GET /v1/plugins ", false),
        (&["downstreams"], "GET /v1/downstreams ", false),
        (&["enqueue", "echo", "--wait", "1h"], "POST /v1/jobs ", true),
        (&["jobs", "cancel", ID, ID], ID, true),
        (&["plugin", "put", "other", "small.wasm"], "PUT /v1/plugins/other ", true),
    ] {
        let (code, stdout, stderr) = ended(host.command(&[args, &["--timeout", "300ms"]].concat())).await;
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (1, "", 1), "{args:?}: {stderr}");
        for told in [&host_name, asked, "for 300ms", "--timeout"] {
            assert!(stderr.contains(told), "{args:?}: {told} is not in {stderr}");
        }
        assert_eq!(stderr.contains("may be done all the same"), may_be_done, "{args:?}: {stderr}");
    }
    host.signal(Signal::CONT);
    let (code, _, stderr) = ended(host.command(&["jobs", "list"])).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
}

#[tokio::test]
async fn who_waits_for_a_job_hears_of_silence_beyond_the_time_asked_for() {
    let host = Setup::default().start().await;
    let job = format!(r#"{{"id":"{ID}","state":"available"}}"#);
    let accepted = format!("HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{job}", job.len());
    let base = format!("http://{}", server(&[accepted.as_bytes(), b""]));
    let args = ["enqueue", "echo", "--wait", "200ms", "--timeout", "300ms", "--server", &base];
    let (code, stdout, stderr) = ended(host.command(&args)).await;
    assert_eq!((code, stdout.as_str(), stderr.lines().count()), (1, "", 1), "{stderr}");
    assert!(stderr.contains("is accepted") && stderr.contains(ID) && stderr.contains(&base), "{stderr}");
    // The last question may be one for less than all of the time.
    let most = stderr.split("for ").filter_map(|rest| rest.split_once("ms:")?.0.parse::<u32>().ok()).next();
    assert!(matches!(most, Some(301..=500)), "{stderr}");
}

#[tokio::test]
async fn an_answer_that_stops_or_never_ends_is_given_up() {
    let host = Setup::default().start().await;
    let stops = server(&[b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"jobs\":"]);
    for (address, told) in [
        (stops, "no more of its answer to GET /v1/jobs for 300ms"),
        (endless_server(), "GET /v1/jobs with more than 128MiB"),
    ] {
        let base = format!("http://{address}");
        let (code, stdout, stderr) =
            ended(host.command(&["jobs", "list", "--timeout", "300ms", "--server", &base])).await;
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (1, "", 1), "{stderr}");
        assert!(stderr.contains(told) && stderr.contains(&base), "{stderr}");
    }
}
