//! A result, as it is told.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use super::super::request::depth_within;
use crate::job::Completion;
use crate::job::spec::is_json;

/// How deeply a result that is told as JSON may be nested: with the job around it a reader of JSON takes it that goes no
/// deeper than 127, as serde_json does.
const RESULT_DEPTH_MAX: usize = 126;

/// One named value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Attribute {
    /// What the value is.
    pub name: String,
    /// The value.
    pub value: String,
}

/// A result in the form in which it can be told.
#[derive(Clone, Debug, Default)]
pub struct ToldResult {
    /// JSON as JSON, text as a string.
    pub value: Option<Box<RawValue>>,
    /// What is neither, in base64.
    pub base64: Option<String>,
    /// Its media type.
    pub content_type: Option<String>,
    /// What the plugin wanted kept beside it.
    pub attributes: Vec<Attribute>,
}

impl ToldResult {
    /// As that is told.
    #[must_use]
    pub fn of(result: Completion) -> Self {
        let attributes = result.attributes.into_iter().map(|(name, value)| Attribute { name, value }).collect();
        if result.content_type.is_empty() && result.body.is_empty() {
            return Self { attributes, ..Self::default() };
        }
        let json = json(&result.content_type, &result.body, RESULT_DEPTH_MAX);
        let value = json.or_else(|| text(&result.content_type, &result.body));
        let base64 = value.is_none().then(|| STANDARD.encode(&result.body));
        Self { value, base64, content_type: Some(result.content_type), attributes }
    }
}

/// The bytes as JSON, where they are said to be and are, and no more than so deep.
pub(super) fn json(content_type: &str, bytes: &[u8], depth_max: usize) -> Option<Box<RawValue>> {
    let json: Option<Box<RawValue>> = if is_json(content_type) { serde_json::from_slice(bytes).ok() } else { None };
    json.filter(|json| depth_within(json.get(), depth_max))
}

/// The bytes as a JSON string, where they are said to be text and are.
fn text(content_type: &str, bytes: &[u8]) -> Option<Box<RawValue>> {
    let is_text = content_type.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("text/"));
    let text = std::str::from_utf8(bytes).ok().filter(|_| is_text)?;
    serde_json::value::to_raw_value(text).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::JobDocument;
    use super::*;
    use crate::api::testing::{Api, json, view};
    use crate::store::JobView;

    fn told(result: Completion) -> serde_json::Value {
        let view = JobView { result: Some(result), ..view("echo") };
        serde_json::to_value(JobDocument::of(&Api::new().state, view)).unwrap()
    }

    fn completion(content_type: &str, body: impl Into<Bytes>) -> Completion {
        Completion { content_type: content_type.into(), body: body.into(), ..Completion::default() }
    }

    #[test]
    fn a_result_is_told_in_the_form_that_it_has() {
        let value = told(completion("application/json", &b"{\"a\": 1.50}"[..]));
        assert_eq!(
            (&value["result"], &value["result_content_type"]),
            (&json!({"a": 1.50}), &json!("application/json"))
        );
        assert_eq!(told(completion("text/html", "é".as_bytes()))["result"], "é");
        let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert!(told(completion("application/json", nested(126)))["result"].is_array());
        for (content_type, body) in [
            ("application/json", b"{".to_vec()),
            ("application/json", nested(127)),
            ("text/plain", vec![0xff]),
            ("image/png", b"x".to_vec()),
        ] {
            let value = told(completion(content_type, body.clone()));
            assert_eq!(value["result"], json!(null));
            assert_eq!(value["result_base64"], json!(STANDARD.encode(body)));
            assert_eq!(value["result_content_type"], json!(content_type));
        }
        let value = told(completion("", ""));
        assert_eq!((&value["result"], &value["result_content_type"]), (&json!(null), &json!(null)));
        assert!(value.get("result_base64").is_none());
    }

    #[test]
    fn attributes_stay_beside_the_result() {
        let attributes = vec![("status".to_owned(), "200".to_owned())];
        let value = told(Completion { attributes, ..Completion::default() });
        assert_eq!(value["result_attributes"], json!([{"name": "status", "value": "200"}]));
    }
}
