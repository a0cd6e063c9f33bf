//! What a plugin says of itself, and the schema by which payloads are checked before they become jobs.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

pub(super) use super::Description;
use super::text;

/// The whole description.
const DESCRIPTION_BYTES_MAX: usize = 256 << 10;
/// One line of it.
const LINE_BYTES_MAX: usize = 4 << 10;
/// Entries of each list.
const NAMES_MAX: usize = 256;
/// What is told of a payload that does not fit.
const MISFIT_BYTES_MAX: usize = 512;

/// A compiled schema of payloads.
#[derive(Debug)]
pub(super) struct PayloadSchema(Validator);

/// Reads a description. A schema that cannot be used is left out and logged.
pub(super) fn read(answer: &str) -> Result<(Description, Option<PayloadSchema>), String> {
    if answer.len() > DESCRIPTION_BYTES_MAX {
        return Err(format!("it is larger than {DESCRIPTION_BYTES_MAX} bytes"));
    }
    let mut description: Description =
        serde_json::from_str(answer).map_err(|error| format!("it is not right: {error}"))?;
    clean(&mut description);
    let schema = description.payload_schema.as_ref().map(PayloadSchema::compile).transpose();
    let schema = schema.unwrap_or_else(|why| {
        tracing::warn!(why, "a plugin's payload_schema is of no use: payloads are not checked");
        description.payload_schema = None;
        None
    });
    Ok((description, schema))
}

fn clean(description: &mut Description) {
    for line in [&mut description.title, &mut description.description, &mut description.version].into_iter().flatten() {
        *line = text::line(line, LINE_BYTES_MAX);
    }
    for names in [&mut description.origins, &mut description.config, &mut description.secrets] {
        names.truncate(NAMES_MAX);
        names.iter_mut().for_each(|name| *name = text::line(name, LINE_BYTES_MAX));
    }
}

impl PayloadSchema {
    /// Patterns run on the engine that cannot be made to take for ever. References lead nowhere but into the schema.
    fn compile(schema: &Value) -> Result<Self, String> {
        let options = jsonschema::options().with_pattern_options(PatternOptions::regex()).offline();
        options.build(schema).map(Self).map_err(|error| text::line(&error.to_string(), MISFIT_BYTES_MAX))
    }

    /// Checks a payload where it is JSON.
    pub(super) fn check(&self, content_type: &str, payload: &[u8]) -> Result<(), String> {
        if !is_json(content_type) {
            return Err(format!("the payload is {content_type:?}, the plugin wants JSON"));
        }
        let payload: Value =
            serde_json::from_slice(payload).map_err(|error| format!("the payload is no JSON: {error}"))?;
        self.0.validate(&payload).map_err(|misfit| {
            let place = misfit.instance_path().to_string();
            let place = if place.is_empty() { "the payload".to_owned() } else { format!("the payload at {place}") };
            text::line(&format!("{place}: {misfit}"), MISFIT_BYTES_MAX)
        })
    }
}

fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type == "application/json" || media_type.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_names_the_place_of_a_misfit() {
        let answer = r#"{"title": "A\u001b[31m", "payload_schema": {"type": "object", "required": ["url"],
            "properties": {"url": {"type": "string", "pattern": "^https:"}, "n": {"type": "integer"}}}, "other": 1}"#;
        let (description, schema) = read(answer).unwrap();
        assert_eq!(description.title.as_deref(), Some("A"));
        let schema = schema.unwrap();
        assert_eq!(schema.check("application/json", br#"{"url": "https://a"}"#), Ok(()));
        for (payload, told) in [
            (&br#"{"url": "https://a", "n": "x"}"#[..], "/n"),
            (br"{}", "url"),
            (br#"{"url": "ftp://a"}"#, "/url"),
            (br"{", "no JSON"),
        ] {
            let error = schema.check("application/json; charset=utf-8", payload).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
        assert!(schema.check("text/plain", b"{}").is_err());
    }

    #[test]
    fn a_schema_that_refers_elsewhere_is_not_used() {
        let (description, schema) = read(r#"{"payload_schema": {"$ref": "http://127.0.0.1:1/schema"}}"#).unwrap();
        assert!(schema.is_none() && description.payload_schema.is_none());
    }

    #[test]
    fn garbage_is_an_error() {
        for answer in ["", "[]x", "\"text\"", r#"{"origins": 1}"#] {
            assert!(read(answer).is_err(), "{answer}");
        }
    }
}
