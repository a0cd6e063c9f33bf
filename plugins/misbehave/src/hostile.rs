//! What only an attacker would do.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write as _;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::verb::{Form, Handle, HostCall};
use crate::wasi::clocks::{monotonic_clock, wall_clock};
use crate::wasi::http::types::{Fields, OutgoingRequest, OutgoingResponse};
use crate::wasi::random::random;
use crate::windlass::plugin::config;
use crate::windlass::plugin::http::{self, Header, Request};
use crate::windlass::plugin::log::{self, Level};

/// Makes that call to the host for ever.
pub fn spam(call: HostCall, url: Option<String>) {
    let request = Request {
        method: "GET".to_owned(),
        url: url.unwrap_or_else(|| "http://denied.example/".to_owned()),
        headers: Vec::new(),
        body: Vec::new(),
        timeout_ms: None,
    };
    loop {
        match call {
            HostCall::Log => log::log(Level::Error, "flood"),
            HostCall::Config => _ = black_box(config::get("nothing")),
            HostCall::Clock => _ = black_box((monotonic_clock::now(), wall_clock::now())),
            HostCall::Random => _ = black_box(random::get_random_bytes(65_536)),
            HostCall::Send => _ = black_box(http::send(&request)),
            HostCall::Poll => monotonic_clock::subscribe_duration(0).block(),
            HostCall::Print => _ = black_box(std::io::stderr().write(b"flood\n")),
        }
    }
}

/// Takes handles for ever and gives none back.
pub fn hoard(handle: Handle) {
    let long = "x".repeat(60_000);
    if matches!(handle, Handle::FullRequest | Handle::FullResponse) {
        // Most of its memory, so that it comes to the end of it soon.
        core::arch::wasm32::memory_grow::<0>(108);
    }
    loop {
        match handle {
            Handle::Pollable => std::mem::forget(monotonic_clock::subscribe_duration(1)),
            Handle::Stream => std::mem::forget(crate::wasi::cli::stdout::get_stdout()),
            Handle::Fields => std::mem::forget(Fields::new()),
            Handle::Request => std::mem::forget(OutgoingRequest::new(Fields::new())),
            Handle::EmptiedFields => {
                let fields = Fields::new();
                fields.set("x", &vec![Vec::new(); 10]).expect("headers");
                fields.delete("x").expect("none of them");
                assert!(fields.entries().is_empty());
                std::mem::forget(fields);
            }
            Handle::FullResponse => {
                let fields = Fields::new();
                fields.append(&long, b"x").expect("a header");
                std::mem::forget(OutgoingResponse::new(fields));
            }
            Handle::FullRequest => {
                let fields = Fields::new();
                fields.append(&long, b"x").expect("a header");
                let request = OutgoingRequest::new(fields);
                request.set_path_with_query(Some(&format!("/{long}"))).expect("a path");
                std::mem::forget(request);
            }
        }
    }
}

/// Builds headers for ever, by the standard interface.
pub fn pile_up_headers() -> Result<(), String> {
    let fields = Fields::new();
    for n in 0.. {
        let value = vec![b'x'; 1_000];
        fields.append(&format!("x-{n}"), &value).map_err(|error| format!("{n} headers: {error:?}"))?;
    }
    Ok(())
}

/// Sends a request with so many headers of so many bytes; what became of it.
pub fn flood_headers(url: String, count: usize, bytes: usize) -> Value {
    let headers = (0..count).map(|n| Header { name: format!("x-{n}"), value: "x".repeat(bytes) }).collect();
    let request = Request { method: "GET".to_owned(), url, headers, body: Vec::new(), timeout_ms: None };
    match http::send(&request) {
        Ok(response) => json!({ "status": response.status }),
        Err(error) => json!({ "error": format!("{error:?}") }),
    }
}

/// Says the value of that name in that form, everywhere.
pub fn reveal(name: &str, form: Form) -> String {
    let value = config::get(name).unwrap_or_default();
    let told = match form {
        Form::Plain => value,
        Form::Base64 => STANDARD.encode(value),
        Form::Base64Url => URL_SAFE_NO_PAD.encode(value),
        Form::Hex => value.bytes().fold(String::new(), |mut text, byte| {
            _ = write!(text, "{byte:02x}");
            text
        }),
        Form::Percent => value.chars().fold(String::new(), |mut text, char| {
            if char.is_ascii_alphanumeric() {
                text.push(char)
            } else {
                _ = write!(text, "%{:02X}", char as u32)
            }
            text
        }),
        Form::Json => json!(value).to_string(),
    };
    log::log(Level::Error, &told);
    println!("{told}");
    eprintln!("{told}");
    told
}
