//! What a component says of itself and is of no use: it serves all the same, and whoever looks is told.

use crate::common::{Host, Setup, guests, json};
use crate::support::{plugin_when, put, ready};
use reqwest::Method;

/// How a job is answered that its schema would refuse.
async fn misfit(host: &Host) -> u16 {
    let job = json!({"plugin": "http", "payload": {"nonsense": 1}});
    host.ask(Method::POST, "/v1/jobs", Some(&job)).await.status().as_u16()
}

#[tokio::test]
async fn a_description_of_no_use_is_told_with_its_plugin_and_its_revision() {
    let good = guests::shipped();
    let host = Setup::default().plugin("http", good.clone(), "").start().await;
    let described = ready(&host, "http").await;
    assert!(described["description_error"].is_null() && !described["asked"].is_null(), "{described:#}");
    assert_eq!(misfit(&host).await, 422);

    let (title, spoilt) = (b"\"title\": \"HTTP request\"", b"\"title\"; \"HTTP request\"");
    let at = good.windows(title.len()).position(|part| part == title).expect("its description is text");
    let mut bad = good.clone();
    bad[at..at + title.len()].copy_from_slice(spoilt);
    put(&host, "http.wasm", &bad);
    let digest = windlass::plugin::component_digest(&bad);
    let plugin = plugin_when(&host, "http", "the other one serves", |plugin| plugin["revision"] == json!(digest)).await;
    let why = plugin["description_error"].as_str().expect("it is told").to_owned();
    assert!(
        why.contains("it is not right") && plugin["load_error"].is_null() && plugin["asked"].is_null(),
        "{plugin:#}"
    );
    assert_eq!((&plugin["state"], misfit(&host).await), (&json!("ready"), 202));
    let log = host.log();
    let line = log.lines().find(|line| line.contains("metadata.describe is of no use")).expect("it is logged");
    assert!(line.contains("\"http\"") && line.contains(&digest) && line.contains("it is not right"), "{line}");
    for args in [&["plugin", "show", "http"][..], &["plugin", "list"]] {
        let shown = String::from_utf8(host.command(args).output().unwrap().stdout).unwrap();
        assert!(shown.contains(&why), "{shown}");
    }

    put(&host, "http.wasm", &good);
    plugin_when(&host, "http", "it is told no more", |plugin| plugin["description_error"].is_null()).await;
    assert_eq!(misfit(&host).await, 422);
}
