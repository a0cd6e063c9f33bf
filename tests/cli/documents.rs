//! Payloads and documents pass the command line as they are: no number and no order of members is changed.

use crate::common::{Setup, Value, until};
use crate::said;

/// What a reader that knows only 64 bits would change, and one that sorts.
const PAYLOAD: &str = r#"{"z":12345678901234567890.12,"a":[98765432109876543210,1.0,1e400],"m":"\u001b"}"#;

#[tokio::test]
async fn payloads_and_documents_keep_their_numbers_and_their_order() {
    let host = Setup::default().guest("echo", "").start().await;
    let run = |args: &[&str]| {
        let (code, stdout, stderr) = said(&host.command(args).output().unwrap());
        assert_eq!(code, 0, "{args:?}: {stderr}");
        stdout
    };
    let accepted = run(&["enqueue", "echo", "--payload", PAYLOAD, "--wait", "--json"]);
    let both = [format!("\"payload\":{PAYLOAD}"), format!("\"result\":{PAYLOAD}")];
    assert!(both.iter().all(|member| accepted.contains(member)), "{accepted}");
    let start = accepted.find("\"id\":\"").unwrap() + 6;
    let id = &accepted[start..start + 36];
    let text = async |path: &str| {
        let answer = host.client.get(format!("{}{path}", host.base)).send().await.unwrap();
        format!("{}\n", answer.text().await.unwrap())
    };
    for (args, path) in [
        (&["jobs", "show", id][..], format!("/v1/jobs/{id}")),
        (&["jobs", "show", id, "--attempt", "1"], format!("/v1/jobs/{id}/attempts/1")),
        (&["plugin", "show", "echo"], "/v1/plugins/echo".to_owned()),
        (&["plugin", "list"], "/v1/plugins".to_owned()),
        (&["jobs", "list"], "/v1/jobs".to_owned()),
        (&["downstreams"], "/v1/downstreams".to_owned()),
        (&["downstreams", "show", "echo"], "/v1/downstreams/echo".to_owned()),
    ] {
        // Counts may still change when the job has ended.
        until(&format!("{args:?} prints what the server says"), || async {
            (run(&[args, &["--json"]].concat()) == text(&path).await).then_some(())
        })
        .await;
    }
    let shown = run(&["jobs", "show", id]);
    assert!(shown.contains("12345678901234567890.12") && shown.contains("98765432109876543210"), "{shown}");
    // What a file holds goes the same way, line breaks and all.
    std::fs::write(host.dir().join("p.json"), "{\r\n\t\"b\": 98765432109876543210,\r\n \"a\": 2 }\n").unwrap();
    let job = run(&["enqueue", "echo", "--payload", "@p.json", "--wait", "--json", "--delay", "0s"]);
    assert!(job.find("98765432109876543210") < job.find("\"a\":") && job.contains("\"b\":"), "{job}");
    assert!(serde_json::from_str::<Value>(&job).is_ok(), "{job}");
    let (code, _, stderr) = said(&host.command(&["enqueue", "echo", "--payload", "{\"a\":}"]).output().unwrap());
    assert!(code == 2 && stderr.contains("--payload") && stderr.lines().count() == 1, "{stderr}");
}
