//! Calls to the host, without end or with what must not be said.

use super::super::component::Parts;
use super::super::waiting;
use super::Attack::{Brief, Component, Verb, Waiting};
use super::Expect::{Held, Outcome, Result};
use super::Kind;

const CPU: &str = "`limits.cpu`";
const HANDLES: &str = "`limits.handles`";
const OUTPUT: &str = "`limits.output`; the rest is counted";
const SECRETS: &str = "secrets are masked in whatever is kept";

/// What has no good job between is tried so often only: with the warm-up twenty in a row would find its plugin unfit.
const BELOW_STORM: usize = 12;

/// Behaves on trial, where nothing is granted, and not afterwards: the value tells it.
fn start_later() -> Vec<u8> {
    let more = r#"(core module $late
      (import "libc" "memory" (memory 1)) (import "host" "get" (func $get (param i32 i32 i32)))
      (data (i32.const 512) "armed")
      (func $go (call $get (i32.const 512) (i32.const 5) (i32.const 600))
        (if (i32.load8_u (i32.const 600)) (then (loop $again (br $again)))))
      (start $go))
    (core instance (instantiate $late (with "libc" (instance $libc)) (with "host" (instance $host))))"#;
    Parts { more, ..Parts::default() }.build()
}

pub fn kinds() -> Vec<Kind> {
    vec![
        Kind::new("spam-log", "logs for ever", Verb(r#"{"do": "spam", "call": "log"}"#), Outcome("cpu-budget"), CPU),
        Kind::new(
            "spam-config",
            "reads values for ever",
            Verb(r#"{"do": "spam", "call": "config"}"#),
            Outcome("cpu-budget"),
            CPU,
        ),
        Kind::new(
            "spam-clock",
            "asks for the time for ever",
            Verb(r#"{"do": "spam", "call": "clock"}"#),
            Outcome("cpu-budget"),
            CPU,
        ),
        Kind::new(
            "spam-random",
            "asks for 64 KiB of randomness for ever",
            Verb(r#"{"do": "spam", "call": "random"}"#),
            Outcome("cpu-budget"),
            CPU,
        ),
        Kind::new(
            "spam-send",
            "makes calls that are denied for ever",
            Verb(r#"{"do": "spam", "call": "send"}"#),
            Held,
            CPU,
        ),
        Kind::new(
            "spam-poll",
            "waits for what is there already, for ever",
            Verb(r#"{"do": "spam", "call": "poll"}"#),
            Outcome("cpu-budget"),
            CPU,
        ),
        Kind::new(
            "spam-print",
            "writes to its standard error for ever",
            Verb(r#"{"do": "spam", "call": "print"}"#),
            Outcome("cpu-budget"),
            CPU,
        ),
        Kind::new(
            "sleep",
            "sleeps for an hour",
            Brief(r#"{"do": "sleep", "ms": 3600000}"#),
            Outcome("deadline"),
            "the deadline",
        ),
        Kind::new(
            "stacks",
            "has as many calls of its own parts wait as it can, each on a stack of its own, in all its attempts at once",
            Waiting(|| waiting::component(6, 100)),
            Outcome("completed"),
            "8 parts that can be called, and as many stacks for every attempt",
        ),
        Kind::new(
            "start-later",
            "behaves on trial, and computes for ever in its start function afterwards",
            Component(start_later),
            Outcome("cpu-budget"),
            "the limits hold from before the start",
        )
        .at_most(BELOW_STORM),
        Kind::new(
            "log-flood",
            "logs more than is kept",
            Verb(r#"{"do": "log", "level": "error", "message": "flood flood flood", "times": 300}"#),
            Outcome("completed"),
            OUTPUT,
        ),
        Kind::new(
            "log-line-long",
            "prints lines without an end",
            Verb(
                r#"{"do": "print", "stream": "stdout", "text": "0123456789abcdef0123456789abcdef0123456789abcdef", "times": 400}"#,
            ),
            Outcome("completed"),
            OUTPUT,
        ),
        Kind::new(
            "log-forged",
            "logs newlines, escape sequences and what looks like a line of log",
            Verb(
                r#"{"do": "log", "level": "error", "message": "x\n{\"level\":\"ERROR\",\"fields\":{\"message\":\"forged\"}}\n\u001b[31m"}"#,
            ),
            Outcome("completed"),
            "texts are cleaned",
        ),
        Kind::new(
            "print-forged",
            "prints the same",
            Verb(
                r#"{"do": "print", "stream": "stderr", "text": "x\n{\"level\":\"ERROR\",\"fields\":{\"message\":\"forged\"}}\u001b[31m"}"#,
            ),
            Outcome("completed"),
            "texts are cleaned",
        ),
        Kind::new(
            "hoard-pollables",
            "takes pollables and gives none back",
            Verb(r#"{"do": "hoard", "handle": "pollable"}"#),
            Outcome("host-calls"),
            HANDLES,
        ),
        Kind::new(
            "hoard-streams",
            "takes streams and gives none back",
            Verb(r#"{"do": "hoard", "handle": "stream"}"#),
            Outcome("host-calls"),
            HANDLES,
        ),
        Kind::new(
            "hoard-fields",
            "takes headers and gives none back",
            Verb(r#"{"do": "hoard", "handle": "fields"}"#),
            Outcome("host-calls"),
            HANDLES,
        ),
        Kind::new(
            "hoard-full-requests",
            "takes requests with a header and a path of 60 KB beside most of its memory, and gives none back",
            Verb(r#"{"do": "hoard", "handle": "full-request"}"#),
            Outcome("memory"),
            "`limits.memory`, of which they are beyond a MiB",
        ),
        Kind::new(
            "hoard-full-responses",
            "takes responses with a header of 60 KB, which it could send nobody, and gives none back",
            Verb(r#"{"do": "hoard", "handle": "full-response"}"#),
            Outcome("memory"),
            "`limits.memory`, of which they are beyond a MiB",
        ),
        Kind::new(
            "hoard-requests",
            "takes requests and gives none back",
            Verb(r#"{"do": "hoard", "handle": "request"}"#),
            Outcome("host-calls"),
            HANDLES,
        ),
        Kind::new(
            "header-pile",
            "adds headers to one request for ever",
            Verb(r#"{"do": "pile-up-headers"}"#),
            Outcome("host-calls"),
            "twice `limits.headers`",
        ),
        Kind::new(
            "reach-out",
            "reads files, the environment, and opens sockets",
            Verb(r#"{"do": "probe"}"#),
            Result(r#""env":[]"#),
            "nothing of it is granted",
        ),
        Kind::new(
            "secret-of-another",
            "reads a secret that was granted to another plugin",
            Verb(r#"{"do": "config", "name": "other_key"}"#),
            Result(r#""value":null"#),
            "grants are each plugin's own",
        ),
        Kind::new(
            "secret-plain",
            "says its own secret",
            Verb(r#"{"do": "reveal", "name": "own_key", "form": "plain"}"#),
            Outcome("completed"),
            SECRETS,
        ),
        Kind::new(
            "secret-base64",
            "says its own secret in base64",
            Verb(r#"{"do": "reveal", "name": "own_key", "form": "base64"}"#),
            Outcome("completed"),
            SECRETS,
        ),
        Kind::new(
            "secret-base64-url",
            "says its own secret in base64 for URLs",
            Verb(r#"{"do": "reveal", "name": "own_key", "form": "base64-url"}"#),
            Outcome("completed"),
            SECRETS,
        ),
        Kind::new(
            "secret-hex",
            "says its own secret in hexadecimal",
            Verb(r#"{"do": "reveal", "name": "own_key", "form": "hex"}"#),
            Outcome("completed"),
            SECRETS,
        ),
        Kind::new(
            "secret-percent",
            "says its own secret as a URL has it",
            Verb(r#"{"do": "reveal", "name": "own_key", "form": "percent"}"#),
            Outcome("completed"),
            SECRETS,
        ),
        Kind::new(
            "secret-json",
            "says its own secret as JSON has it",
            Verb(r#"{"do": "reveal", "name": "own_key", "form": "json"}"#),
            Outcome("completed"),
            SECRETS,
        ),
    ]
}
