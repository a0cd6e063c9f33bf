//! What an enqueue takes and what it refuses, member by member.

use serde_json::Value;

use super::*;
use crate::api::request::object;
use crate::api::testing::{Api, FakePlugin, NOW, json};
use crate::job::Jitter;

fn read_for(plugin: FakePlugin, job: &str) -> Result<JobSpec, Problem> {
    let api = Api::new();
    api.plugins.put(plugin);
    let envelope = Envelope { caller: Caller::Anybody, now: NOW, traceparent: None, idempotency_key: None };
    super::read(&api.state, &object(job.as_bytes())?, &envelope, &mut CheckSteps::for_jobs(1))
}

fn read(job: &Value) -> Result<JobSpec, Problem> {
    read_for(FakePlugin::named("echo"), &job.to_string())
}

/// A job of the plugin `echo` with these members beside.
fn echo(more: &Value) -> Value {
    let mut job = json!({"plugin": "echo", "payload": 1});
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    job
}

#[test]
fn the_least_job_has_defaults() {
    let spec = read(&echo(&json!({}))).unwrap();
    assert_eq!((spec.plugin.as_str(), spec.downstream.as_str()), ("echo", "echo"));
    assert_eq!((spec.content_type.as_str(), &spec.payload[..]), ("application/json", &b"1"[..]));
    assert_eq!((spec.run_at, spec.priority, spec.deadline), (NOW, 0, None));
    assert!(spec.retry.is_empty() && spec.labels.is_empty());
}

#[test]
fn every_member_is_heard() {
    let job = echo(&json!({
        "delay": "10s", "priority": -7, "downstream": "erp", "deadline": "5s", "labels": {"order": "42"},
        "retry": {"base": "1s", "factor": 1.5, "cap": "1m", "jitter": "none", "max_attempts": 3},
    }));
    let spec = read(&job).unwrap();
    assert_eq!(spec.run_at, NOW.after(std::time::Duration::from_secs(10)));
    assert_eq!((spec.priority, spec.downstream.as_str()), (-7, "erp"));
    assert_eq!(spec.deadline, Some(TimeSpan::from_secs(5)));
    assert_eq!((spec.retry.jitter, spec.retry.max_attempts), (Some(Jitter::None), Some(3)));
    assert_eq!(spec.labels["order"], "42");
}

#[test]
fn a_payload_keeps_its_bytes() {
    let spec = read_for(FakePlugin::named("echo"), r#"{"plugin":"echo","payload":{"b" : 1.00, "a":"\u00e9"}}"#);
    assert_eq!(spec.unwrap().payload, r#"{"b" : 1.00, "a":"\u00e9"}"#);
    assert_eq!(read(&json!({"plugin": "echo", "payload": null})).unwrap().payload, "null");
}

#[test]
fn a_label_is_there_once() {
    let job = r#"{"plugin":"echo","payload":1,"labels":{"a":"1","a":"2"}}"#;
    let problem = read_for(FakePlugin::named("echo"), job).unwrap_err();
    assert!(problem.detail.starts_with("labels: the member \"a\" is there twice"), "{problem:?}");
}

#[test]
fn other_bytes_come_in_base64() {
    let spec = read(&json!({"plugin": "echo", "payload_base64": "AP8="})).unwrap();
    assert_eq!((spec.content_type.as_str(), &spec.payload[..]), ("application/octet-stream", &[0, 255][..]));
    let spec = read(&json!({"plugin": "echo", "payload_base64": "", "content_type": "text/plain; charset=utf-8"}));
    assert_eq!(spec.unwrap().content_type, "text/plain; charset=utf-8");
}

#[test]
fn the_plugins_file_names_the_downstream_where_the_job_does_not() {
    let mut plugin = FakePlugin::named("echo");
    plugin.file.downstream = Some(crate::config::DownstreamRule::Key("erp".into()));
    assert_eq!(read_for(plugin, r#"{"plugin":"echo","payload":1}"#).unwrap().downstream, "erp");
}

#[test]
fn a_past_moment_is_now() {
    assert_eq!(read(&echo(&json!({"run_at": "1999-01-01T00:00:00Z"}))).unwrap().run_at, NOW);
}

#[test]
fn null_is_as_if_the_member_were_not_there() {
    let nothing = json!({"delay": null, "run_at": null, "labels": null, "retry": null, "payload_base64": null});
    assert_eq!(read(&echo(&nothing)), read(&echo(&json!({}))));
}

#[test]
fn each_invalid_member_is_named() {
    let many: BTreeMap<_, _> = (0..33).map(|n| (format!("l{n}"), "x")).collect();
    for (job, told) in [
        (json!({"payload": 1}), "plugin: it is missing"),
        (json!({"plugin": "echo"}), "payload: it is missing"),
        (json!({"plugin": 7, "payload": 1}), "plugin: "),
        (echo(&json!({"colour": "red"})), "colour"),
        (echo(&json!({"payload_base64": "AA=="})), "payload_base64: it stands beside payload"),
        (echo(&json!({"content_type": "a/b"})), "content_type: it belongs to payload_base64"),
        (json!({"plugin": "echo", "payload_base64": "!"}), "payload_base64: it is not base64"),
        (json!({"plugin": "echo", "payload_base64": "AA==", "content_type": "x"}), "content_type"),
        (json!({"plugin": "echo", "payload_base64": "AA==", "content_type": "a/\n"}), "content_type"),
        (echo(&json!({"run_at": "tomorrow"})), "run_at: \"tomorrow\""),
        (echo(&json!({"delay": "soon"})), "delay: \"soon\""),
        (echo(&json!({"delay": 10})), "delay: "),
        (echo(&json!({"delay": "1s", "run_at": "2030-01-01T00:00:00Z"})), "delay: it stands beside run_at"),
        (echo(&json!({"priority": 40_000})), "priority: "),
        (echo(&json!({"priority": 1.5})), "priority: "),
        (echo(&json!({"downstream": ""})), "downstream: "),
        (echo(&json!({"downstream": "x".repeat(201)})), "downstream: "),
        (echo(&json!({"deadline": "1h"})), "deadline: 1h is above the plugin's ceiling of 30s"),
        (echo(&json!({"deadline": "0s"})), "deadline: "),
        (echo(&json!({"labels": {"a": 1}})), "labels: "),
        (echo(&json!({"labels": {"": "x"}})), "labels: "),
        (echo(&json!({"labels": {"a:b": "x"}})), "labels: \"a:b\""),
        (echo(&json!({"labels": {"a": "x".repeat(257)}})), "labels: \"a\""),
        (echo(&json!({"labels": {"a": "x\ny"}})), "labels: \"a\": its value holds a control character"),
        (echo(&json!({"labels": many})), "labels: there are 33"),
        (echo(&json!({"retry": {"factor": 0.1}})), "retry.factor"),
        (echo(&json!({"retry": {"max_attempts": 0}})), "retry.max_attempts"),
        (echo(&json!({"retry": {"tries": 1}})), "retry: unknown field `tries`"),
        (echo(&json!({"retry": ["1s", 2.0, "1m", "none", 3]})), "retry: it is not an object"),
        (echo(&json!({"payload": nested(129)})), "payload: it is nested more than 128 deep"),
    ] {
        let problem = read(&job).expect_err(&format!("{job} was taken"));
        assert_eq!(problem.kind, ProblemKind::MemberInvalid, "{job}: {problem:?}");
        assert!(problem.detail.contains(told), "{job} was refused with {:?}", problem.detail);
    }
    assert!(read(&echo(&json!({"payload": nested(128)}))).is_ok());
}

fn nested(depth: usize) -> Value {
    (1..depth).fold(json!([]), |inner, _| json!([inner]))
}

#[test]
fn an_unknown_plugin_is_not_found() {
    let problem = read(&json!({"plugin": "nobody", "payload": 1})).unwrap_err();
    assert_eq!(problem.kind, ProblemKind::PluginUnknown);
    assert!(problem.detail.contains("\"nobody\""), "{problem:?}");
}

#[test]
fn a_payload_may_be_as_large_as_the_limit_and_no_larger() {
    let plugin = || {
        let mut plugin = FakePlugin::named("echo");
        plugin.limits.payload = ByteSize(6);
        plugin
    };
    for fits in [r#"{"plugin":"echo","payload":"1234"}"#, r#"{"plugin":"echo","payload_base64":"AAAAAAAA"}"#] {
        assert!(read_for(plugin(), fits).is_ok(), "{fits}");
    }
    for over in [r#"{"plugin":"echo","payload":"12345"}"#, r#"{"plugin":"echo","payload_base64":"AAAAAAAAAA=="}"#] {
        let problem = read_for(plugin(), over).unwrap_err();
        assert_eq!(problem.kind, ProblemKind::TooLarge);
        assert!(problem.detail.contains("7 bytes") && problem.detail.contains("6B"), "{problem:?}");
    }
}

#[test]
fn the_plugins_schema_can_refuse() {
    let plugin = FakePlugin { refuses: Some("/url: it is missing".into()), ..FakePlugin::named("echo") };
    let problem = read_for(plugin, r#"{"plugin":"echo","payload":{}}"#).unwrap_err();
    assert_eq!(problem.kind, ProblemKind::PayloadRefused);
    assert_eq!(problem.detail, "payload: /url: it is missing");
    assert_eq!(misfit("the payload at /url: no"), "payload at /url: no");
}

#[test]
fn the_documented_members_are_the_ones_that_are_read() {
    let job = JobRequest {
        payload: Some(RawValue::from_string("1".into()).unwrap()),
        payload_base64: Some(String::new()),
        content_type: Some(String::new()),
        run_at: Some(String::new()),
        delay: Some(String::new()),
        priority: Some(0),
        downstream: Some(String::new()),
        limit_key: Some(String::new()),
        retry: Some(RetryOverride::default()),
        deadline: Some(String::new()),
        labels: [(String::new(), String::new())].into(),
        ..JobRequest::default()
    };
    let written = serde_json::to_value(job).unwrap();
    let mut members = MEMBERS;
    members.sort_unstable();
    assert_eq!(written.as_object().unwrap().keys().collect::<Vec<_>>(), members);
}
