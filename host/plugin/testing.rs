//! What the tests of this module share: a host in a temporary folder, and components made from text.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::clock::{SystemClock, UnixMs};
use crate::config::{Limits, Network, PluginFile};
use crate::job::units::{ByteSize, TimeSpan};
use crate::job::{Evidence, JobId, Outcome};

use super::{Call, HostSettings, LoadError, Plugin, PluginHost, Revision};

pub(super) mod stub;
#[path = "../../tests/hostile/waiting.rs"]
pub(super) mod waiting;

/// What such a component imports of the world.
const TYPES: &str = r#"
(import "windlass:plugin/types@0.1.0" (instance $types
  (type $a (record (field "name" string) (field "value" string)))
  (export "attribute" (type $attribute (eq $a)))
  (type $j (record (field "id" string) (field "attempt" u32) (field "max-attempts" u32)
    (field "idempotency-key" string) (field "content-type" string) (field "payload" (list u8))
    (field "enqueued-at" string) (field "remaining-ms" u32) (field "attributes" (list $attribute))))
  (export "job" (type $job (eq $j)))
  (type $c (record (field "content-type" string) (field "body" (list u8)) (field "attributes" (list $attribute))))
  (export "completion" (type $completion (eq $c)))
  (type $s (record (field "message" string) (field "code" (option string)) (field "delay-ms" (option u32))))
  (export "setback" (type $setback (eq $s)))
  (type $f (record (field "message" string) (field "code" (option string))))
  (export "fault" (type $fault (eq $f)))
  (type $x (variant (case "try-again" $setback) (case "rate-limited" $setback) (case "reject" $fault)
    (case "unknown-outcome" $fault)))
  (export "failure" (type $failure (eq $x)))))
(alias export $types "job" (type $job))
(alias export $types "completion" (type $completion))
(alias export $types "failure" (type $failure))
(import "windlass:plugin/log@0.1.0" (instance $log
  (type $l (enum "debug" "info" "warn" "error"))
  (export "level" (type $level (eq $l)))
  (export "log" (func (param "level" $level) (param "message" string)))))
(import "windlass:plugin/http@0.1.0" (instance $http
  (type $h (record (field "name" string) (field "value" string)))
  (export "header" (type $header (eq $h)))
  (type $r (record (field "method" string) (field "url" string) (field "headers" (list $header))
    (field "body" (list u8)) (field "timeout-ms" (option u32))))
  (export "request" (type $request (eq $r)))
  (type $p (record (field "status" u16) (field "headers" (list $header)) (field "body" (list u8))))
  (export "response" (type $response (eq $p)))
  (type $e (variant (case "denied" string) (case "invalid" string) (case "unreachable" string)
    (case "unanswered" string) (case "too-large" string)))
  (export "send-error" (type $send-error (eq $e)))
  (export "send" (func (param "request" $request) (result (result $response (error $send-error)))))
  (type $b (record (field "response" $response) (field "headers-truncated" bool) (field "body-truncated" bool)))
  (export "bounded-response" (type $bounded (eq $b)))
  (export "send-bounded" (func (param "request" $request) (result (result $bounded (error $send-error)))))))
(import "wasi:cli/exit@0.2.0" (instance $exit (export "exit" (func (param "status" (result))))))
"#;
/// The memory of such a component, and what it calls.
const LIBC: &str = include_str!("../../tests/hostile/libc.wat");
const LOWERED: &str = r#"
(core func $log (canon lower (func $log "log") (memory (core memory $libc "memory"))))
(core func $send (canon lower (func $http "send") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
(core func $send-bounded (canon lower (func $http "send-bounded")
  (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
(core func $exit (canon lower (func $exit "exit")))
"#;

/// A plugin whose `run` executes `body` (core WebAssembly) and then completes with its payload. `body` may return the
/// address of another answer. Locals 8 and 9 are the payload's address and length; addresses below 8192 are free.
pub(super) fn component(module_items: &str, body: &str, more: &str) -> Bytes {
    importing("", "", module_items, body, more)
}

/// The same, with more `imports`, of which its module gets those `exports`.
pub(super) fn importing(imports: &str, exports: &str, module_items: &str, body: &str, more: &str) -> Bytes {
    let text = format!(
        r#"(component {TYPES} {LIBC} {LOWERED} {imports}
(core module $main
  (import "libc" "memory" (memory 1))
  (import "host" "log" (func $log (param i32 i32 i32)))
  (import "host" "send" (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "host" "send-bounded" (func $send-bounded (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "host" "exit" (func $exit (param i32)))
  {module_items}
  (func $run (export "run")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    {body}
    (i32.store (i32.const 1036) (local.get 8))
    (i32.store (i32.const 1040) (local.get 9))
    (i32.const 1024)))
(core instance $host (export "log" (func $log)) (export "send" (func $send))
  (export "send-bounded" (func $send-bounded)) (export "exit" (func $exit)) {exports})
(core instance $main (instantiate $main (with "libc" (instance $libc)) (with "host" (instance $host))))
{more}
(func $run (param "job" $job) (result (result $completion (error $failure)))
  (canon lift (core func $main "run") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
(instance $handler (export "run" (func $run)))
(export "windlass:plugin/handler@0.1.0" (instance $handler)))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}")).into()
}

/// Completes with its payload.
pub(super) fn echo() -> Bytes {
    component("", "", "")
}

/// Calls the URL in its payload and completes with the answer. Where there is none, it asks to be tried again, with the
/// message of the error, and with the number of its case as the delay.
pub(super) fn caller(method: &str, timeout_ms: Option<u32>) -> Bytes {
    calling("send", "", method, timeout_ms)
}

/// The same by `send-bounded`. The attributes are the answer's headers, and the media type says of headers and body with
/// 0 or 1 whether they were cut.
pub(super) fn bounded_caller(method: &str) -> Bytes {
    let told = "(i32.store8 (i32.const 600) (i32.add (i32.const 48) (i32.load8_u (i32.const 2072))))
           (i32.store8 (i32.const 601) (i32.add (i32.const 48) (i32.load8_u (i32.const 2073))))
           (i32.store (i32.const 1028) (i32.const 600)) (i32.store (i32.const 1032) (i32.const 2))
           (i32.store (i32.const 1044) (i32.load (i32.const 2056)))
           (i32.store (i32.const 1048) (i32.load (i32.const 2060)))";
    calling("send-bounded", told, method, None)
}

fn calling(function: &str, told: &str, method: &str, timeout_ms: Option<u32>) -> Bytes {
    let (has_timeout, timeout_ms) = (u32::from(timeout_ms.is_some()), timeout_ms.unwrap_or(0));
    let module_items = format!(r#"(data (i32.const 512) "{method}")"#);
    let body = format!(
        r#"(call ${function} (i32.const 512) (i32.const {}) (local.get 8) (local.get 9) (i32.const 0) (i32.const 0)
             (i32.const 0) (i32.const 0) (i32.const {has_timeout}) (i32.const {timeout_ms}) (i32.const 2048))
           (if (i32.load8_u (i32.const 2048)) (then
             (i32.store8 (i32.const 1024) (i32.const 1))
             (i32.store (i32.const 1032) (i32.load (i32.const 2056)))
             (i32.store (i32.const 1036) (i32.load (i32.const 2060)))
             (i32.store8 (i32.const 1052) (i32.const 1))
             (i32.store (i32.const 1056) (i32.load8_u (i32.const 2052)))
             (return (i32.const 1024))))
           {told}
           (local.set 8 (i32.load (i32.const 2064)))
           (local.set 9 (i32.load (i32.const 2068)))"#,
        method.len()
    );
    component(&module_items, &body, "")
}

/// Limits that a test can reach.
pub(super) fn small_limits() -> Limits {
    Limits {
        deadline: TimeSpan::from_secs(20),
        cpu: TimeSpan::from_ms(200),
        memory: ByteSize(4 << 20),
        response: ByteSize(64 << 10),
        output: ByteSize(1 << 10),
        payload: ByteSize(128 << 10),
        concurrency: 8,
        ..Limits::default()
    }
}

/// What was logged.
#[derive(Clone, Default)]
pub(super) struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    /// Keeps what this thread logs, for as long as the guard lives.
    pub(super) fn log() -> (Self, tracing::subscriber::DefaultGuard) {
        let kept = Self::default();
        let writer = kept.clone();
        let lines = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false);
        (kept, tracing::subscriber::set_default(lines.finish()))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A host of its own, and the folder that it lives in.
pub(super) struct Bench {
    pub(super) host: Arc<PluginHost>,
    pub(super) dir: tempfile::TempDir,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(small_limits(), Network::default())
    }

    pub(super) fn with(limits: Limits, network: Network) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = HostSettings::new(limits, network, dir.path().join("cache"));
        let host = PluginHost::start(settings, Arc::new(SystemClock::start())).unwrap();
        Self { host, dir }
    }

    pub(super) async fn load(&self, component: Bytes) -> Result<Revision, LoadError> {
        self.host.load(component).await
    }

    /// A plugin of that component, with these origins.
    pub(super) async fn plugin(&self, component: Bytes, origins: &[&str]) -> Plugin {
        let origins = origins.iter().map(|origin| origin.parse().unwrap()).collect();
        let file = PluginFile { origins, ..PluginFile::default() };
        let revision = Arc::new(self.load(component).await.unwrap());
        self.host.plugin("test", "plugins/test.toml", revision, file).unwrap()
    }

    /// Runs one attempt of that component, with nothing granted.
    pub(super) async fn run(&self, component: Bytes, payload: &[u8]) -> (Outcome, Evidence) {
        self.plugin(component, &[]).await.run(call(payload), &CancellationToken::new()).await
    }
}

/// The patience of who does not look whether a compiler starves: on a busy machine each that stands back may.
pub(super) const UNHURRIED: Duration = Duration::from_secs(3_600);

/// A program that is that script. Another process writes it: one that is open for writing cannot be run, and a test beside
/// this one may be starting a process that would hold it open.
pub(super) fn program(dir: &Path, script: &str) -> PathBuf {
    let path = dir.join("program");
    let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod 700 "$2""#;
    let written = Command::new("/bin/sh").args(["-c", write, "sh", script]).arg(&path).status().unwrap();
    assert!(written.success());
    path
}

/// A job's first attempt.
pub(super) fn call(payload: &[u8]) -> Call {
    Call {
        job: JobId::from_parts(1, 1),
        attempt: 1,
        max_attempts: 3,
        idempotency_key: "key".to_owned(),
        content_type: "application/json".to_owned(),
        payload: Bytes::copy_from_slice(payload),
        enqueued_at: UnixMs(1_767_323_045_007),
        attributes: vec![("label:a".to_owned(), "b".to_owned())],
        deadline: None,
    }
}

/// A call that may take so long.
pub(super) fn call_within(payload: &[u8], deadline: Duration) -> Call {
    Call { deadline: Some(deadline), ..call(payload) }
}
