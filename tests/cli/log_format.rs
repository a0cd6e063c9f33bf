//! With `--log-format json` all that `serve` says on standard error is JSON, what ends it too.

use crate::common::{Setup, Value};
use crate::said;

#[tokio::test]
async fn what_ends_serve_is_told_in_json_where_the_log_is() {
    let host = Setup::default().start().await;
    let listen = host.base.trim_start_matches("http://").to_owned();
    for (args, code_expected, told) in [
        (&["--listen", &listen, "--data", "other"][..], 1, listen.as_str()),
        (&["--config", "missing.toml"], 2, "missing.toml"),
        (&["--listen", "0.0.0.0:0", "--data", "other"], 2, "server.listen"),
        (&["--listen", "nowhere"], 2, "--listen"),
        (&["--liste", "x"], 2, "--liste"),
    ] {
        for format in [&["--log-format", "json"][..], &["--log-format=json"]] {
            let args = [&["serve"], format, args].concat();
            let (code, stdout, stderr) = said(&host.command(&args).output().unwrap());
            assert_eq!((code, stdout.as_str()), (code_expected, ""), "{args:?}: {stderr}");
            let lines: Vec<Value> = stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
            let last = lines.last().unwrap();
            assert!(last["message"].as_str().unwrap().contains(told), "{args:?}: {stderr}");
            assert_eq!((&last["level"], last["timestamp"].is_string()), (&Value::from("ERROR"), true), "{stderr}");
            assert!(last["target"].is_string(), "{stderr}");
        }
    }
    let (_, _, stderr) = said(&host.command(&["serve", "--config", "missing.toml"]).output().unwrap());
    assert!(stderr.starts_with("windlass: "), "{stderr}");
}
