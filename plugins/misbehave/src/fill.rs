//! Values of the operator in the texts of a payload: `${NAME}`, or `${FORM:NAME}` in another form. So the plugin says a
//! secret that no payload holds.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::windlass::plugin::config;

/// Fills in every text.
pub fn fill(value: &mut Value) {
    match value {
        Value::String(text) if text.contains("${") => *text = filled(text),
        Value::Array(items) => items.iter_mut().for_each(fill),
        Value::Object(members) => members.values_mut().for_each(fill),
        _ => {}
    }
}

fn filled(text: &str) -> String {
    let mut parts = text.split("${");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap_or((part, ""));
        let (form, name) = name.split_once(':').unwrap_or(("", name));
        filled.push_str(&in_form(form, &config::get(name).unwrap_or_default()));
        filled.push_str(rest);
    }
    filled
}

fn in_form(form: &str, value: &str) -> String {
    let each = |one: fn(u8) -> String| value.bytes().map(one).collect();
    match form {
        "base64" => STANDARD.encode(value),
        "basic" => STANDARD.encode(format!("user:{value}")),
        "base64url" => URL_SAFE_NO_PAD.encode(format!("ab{value}c")),
        "hex" => each(|byte| format!("{byte:02x}")),
        "percent" => each(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        }),
        "json" => Value::from(value).to_string(),
        // As Go writes it, and .NET.
        "json-go" => {
            Value::from(value).to_string().replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
        }
        "json-dotnet" => {
            value.replace('\\', "\\\\").replace('"', "\\u0022").replace('+', "\\u002B").replace('>', "\\u003E")
        }
        "html" => value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;"),
        // A percent-encoded path, as Python writes it.
        "path" => in_form("percent", value).replace("%2F", "/"),
        // Its halves, to be said one after the other.
        "first" => value[..value.len() / 2].to_owned(),
        "rest" => value[value.len() / 2..].to_owned(),
        // With so much before it that it stands across a limit.
        "after" => format!("{}{value}", "x".repeat(2_040)),
        _ => value.to_owned(),
    }
}
