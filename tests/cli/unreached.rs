//! Why a server cannot be reached is told as it is.

use crate::common::Setup;
use crate::said;
use crate::silence::server as silent;

#[tokio::test]
async fn what_is_wrong_with_the_way_to_a_server_is_told_with_what_to_do() {
    let host = Setup::default().start().await;
    let plain = host.base.replace("http://", "https://");
    // What no resolver asks anybody for.
    let nowhere = format!("http://{}.invalid:7070", "x".repeat(64));
    let mute = format!("https://{}", silent(&[b""]));
    // An alert is what TLS makes of a request that is not TLS.
    let tls = format!("http://{}", silent(&[b"\x15\x03\x03\x00\x02\x02\x0a"]));
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
