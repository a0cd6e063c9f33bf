//! What a plugin says of itself, and the schema by which payloads are checked before they become jobs.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::job::units::ByteSize;

pub(super) use super::Description;
use super::text;

mod cost;

/// One line of it.
const LINE_BYTES_MAX: usize = 4 << 10;
/// Entries of each list.
const NAMES_MAX: usize = 256;
/// What is told of a payload that does not fit.
const MISFIT_BYTES_MAX: usize = 512;

/// A pattern as it is compiled.
const PATTERN_BYTES_MAX: usize = 256 << 10;

/// A compiled schema of payloads.
#[derive(Debug)]
pub(super) struct PayloadSchema {
    validator: Validator,
    /// The schema itself, where what it costs is to be counted first.
    counted: Option<Value>,
}

/// Reads a description of at most so many bytes. A schema that cannot be used is left out and logged. It may take a
/// while: not for a thread that serves.
pub(super) fn read(answer: &str, most: ByteSize) -> Result<(Description, Option<PayloadSchema>), String> {
    if answer.len() > most.as_usize() {
        return Err(format!("it is {} bytes, the limit is {most} (limits.describe in windlass.toml)", answer.len()));
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
        let told = |why: String| text::line(&why, MISFIT_BYTES_MAX);
        cost::check_schema(schema).map_err(told)?;
        let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX);
        let options = jsonschema::options().with_pattern_options(patterns).offline();
        let validator = options.build(schema).map_err(|error| told(error.to_string()))?;
        Ok(Self { validator, counted: cost::refers(schema).then(|| schema.clone()) })
    }

    /// Checks a payload where it is JSON.
    pub(super) fn check(&self, content_type: &str, payload: &[u8]) -> Result<(), String> {
        if !is_json(content_type) {
            return Err(format!("the payload is {content_type:?}, the plugin wants JSON"));
        }
        let bytes = payload.len();
        let payload: Value =
            serde_json::from_slice(payload).map_err(|error| format!("the payload is no JSON: {error}"))?;
        if let Some(schema) = &self.counted {
            cost::check_payload(schema, &payload, bytes)?;
        }
        self.validator.validate(&payload).map_err(|misfit| {
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

    fn read(answer: &str) -> Result<(Description, Option<PayloadSchema>), String> {
        super::read(answer, ByteSize(64 << 10))
    }

    #[test]
    fn what_is_said_is_taken_up_to_the_limit() {
        let answer = |bytes: usize| format!("{{\"title\": \"{}\"}}", "x".repeat(bytes - 13));
        assert_eq!(answer(64 << 10).len(), 64 << 10);
        assert!(read(&answer(64 << 10)).is_ok());
        assert!(read(&answer((64 << 10) + 1)).unwrap_err().contains("limits.describe"));
    }

    #[test]
    fn what_is_said_is_cleaned() {
        let answer = r#"{"title": "a\u001b[2Jb", "version": "1\n2", "origins": ["https://a\u202e.example"],
            "secrets": ["k\u0000ey"], "config": ["\u009bname"], "description": "x\u200by"}"#;
        let (said, _) = read(answer).unwrap();
        assert_eq!((said.title.as_deref(), said.version.as_deref()), (Some("ab"), Some("1 2")));
        assert_eq!((said.origins[0].as_str(), said.secrets[0].as_str()), ("https://a.example", "key"));
        assert_eq!((said.config[0].as_str(), said.description.as_deref()), ("name", Some("xy")));
    }

    #[test]
    fn a_bomb_of_a_pattern_or_of_references_is_left_out() {
        for schema in [
            r#"{"pattern": "((a{1,1000}){1,1000}){1,1000}"}"#,
            r##"{"$ref": "#"}"##,
            r#"{"properties": {"a": {"$ref": "http://127.0.0.1:9/never-fetched"}}}"#,
        ] {
            let (said, compiled) = read(&format!("{{\"payload_schema\": {schema}}}")).unwrap();
            assert!(compiled.is_none() && said.payload_schema.is_none(), "{schema}");
        }
        let deep = format!("{{\"payload_schema\": {}1{}}}", "{\"not\":".repeat(5_000), "}".repeat(5_000));
        assert!(read(&deep).is_err());
    }

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
