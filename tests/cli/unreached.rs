//! Why a server cannot be reached is told as it is.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::common::Setup;
use crate::said;

/// Takes one connection, says that on it, and then keeps it. Returns its address.
fn listener(says: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.read(&mut [0; 4 << 10]).unwrap();
        stream.write_all(says).unwrap();
        // Until the test ends.
        std::thread::park();
    });
    address
}

#[tokio::test]
async fn what_is_wrong_with_the_way_to_a_server_is_told_with_what_to_do() {
    let host = Setup::default().start().await;
    let plain = host.base.replace("http://", "https://");
    // What no resolver asks anybody for.
    let nowhere = format!("http://{}.invalid:7070", "x".repeat(64));
    let (mute, alert) = (listener(b""), listener(b"\x15\x03\x03\x00\x02\x02\x0a"));
    let (mute, tls) = (format!("https://{mute}"), format!("http://{alert}"));
    for (server, told, help) in [
        (&plain, "does not speak TLS", host.base.as_str()),
        (&nowhere, "cannot be reached: failed to lookup", "--server"),
        (&mute, "cannot be reached: no connection came about within 300ms", "--server"),
        (&tls, "gave no answer", &tls.replace("http://", "https://")),
        (&"http://127.0.0.1:9".to_owned(), "no windlass answers at", "windlass serve"),
    ] {
        let mut command = host.command(&["jobs", "list", "--timeout", "300ms", "--server", server]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let (code, stdout, stderr) = said(&output);
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (1, "", 1), "{stderr}");
        assert!(stderr.contains(server) && stderr.contains(told) && stderr.contains(help), "{stderr}");
        assert_eq!(stderr.contains("--ca") || stderr.contains("start one"), help == "windlass serve", "{stderr}");
    }
}
