//! What a plugin says of itself, and the schema by which payloads are checked before they become jobs.

use jsonschema::{PatternOptions, Validator};
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::job::spec::is_json;
use crate::job::units::ByteSize;

pub(super) use super::Description;
use super::{Revision, text};
pub use cost::CheckSteps;

mod cost;
mod pattern;

/// One line of it.
const LINE_BYTES_MAX: usize = 4 << 10;
/// Entries of each list.
const NAMES_MAX: usize = 256;
/// What is told of a payload that does not fit.
const MISFIT_BYTES_MAX: usize = 512;
/// What is told of why it is of no use.
const FAULT_BYTES_MAX: usize = 1 << 10;

/// A pattern as it is compiled.
const PATTERN_BYTES_MAX: usize = 256 << 10;

/// A payload that is checked at once is no larger.
const SMALL_BYTES: usize = 16 << 10;
/// And takes no more steps.
const SMALL_STEPS: usize = 5_000;
/// Where a schema has alternatives, a payload that takes more steps is told no more than that it does not fit: to find the
/// place takes memory for each of them.
const PLACED_STEPS: usize = 20_000;

/// A compiled schema of payloads.
#[derive(Debug)]
pub(super) struct PayloadSchema {
    validator: Validator,
    /// The schema itself: what it costs is counted before it is asked.
    schema: Value,
    has_alternatives: bool,
}

/// What a plugin says of itself, as far as it is of use.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// All of it but what is of no use; none where it says nothing.
    pub(super) description: Option<Description>,
    /// Its schema, ready to be asked.
    pub(super) schema: Option<PayloadSchema>,
    /// Why the whole, or the schema, is of no use.
    pub(super) fault: Option<String>,
}

impl Said {
    /// Nothing of it is of use.
    pub(super) fn useless(why: &str) -> Self {
        Self { fault: Some(told(why)), ..Self::default() }
    }
}

/// Told to people: a component may have made it.
fn told(why: &str) -> String {
    text::line(why, FAULT_BYTES_MAX)
}

/// Reads a description of at most so many bytes. A schema that cannot be used is left out. It may take a while: not for a
/// thread that serves.
pub(super) fn read(answer: &str, most: ByteSize) -> Result<Said, String> {
    if answer.len() > most.as_usize() {
        return Err(format!("it is {} bytes, the limit is {most} (limits.describe in windlass.toml)", answer.len()));
    }
    let mut description: Description =
        serde_json::from_str(answer).map_err(|error| format!("it is not right: {error}"))?;
    clean(&mut description);
    let schema = description.payload_schema.as_ref().map(PayloadSchema::compile).transpose();
    let (schema, fault) = match schema {
        Ok(schema) => (schema, None),
        Err(why) => {
            description.payload_schema = None;
            (None, Some(told(&format!("its payload_schema cannot be used: {why}"))))
        }
    };
    Ok(Said { description: Some(description), schema, fault })
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
        Ok(Self { validator, schema: schema.clone(), has_alternatives: has_alternatives(schema) })
    }

    /// Checks a payload where it is JSON. It may take a second for each megabyte: not for a thread that serves.
    pub(super) fn check(&self, content_type: &str, payload: &[u8], left: &mut CheckSteps) -> Result<(), String> {
        let value = parse(content_type, payload)?;
        let steps = left.take(&self.schema, &value, payload.len());
        let steps = steps.ok_or("the plugin's schema takes too long over this payload: it cannot be checked")?;
        self.judge(&value, steps)
    }

    /// The same where it is a small matter, of a millisecond at the most; none where it is not.
    fn check_small(&self, content_type: &str, payload: &[u8]) -> Option<Result<(), String>> {
        if payload.len() > SMALL_BYTES {
            return None;
        }
        let value = match parse(content_type, payload) {
            Ok(value) => value,
            Err(why) => return Some(Err(why)),
        };
        let steps = cost::steps(&self.schema, &value, SMALL_STEPS)?;
        Some(self.judge(&value, steps))
    }

    fn judge(&self, payload: &Value, steps: usize) -> Result<(), String> {
        if self.has_alternatives && steps > PLACED_STEPS {
            let told = || "the payload does not fit the plugin's schema; it is too much to say where".to_owned();
            return self.validator.is_valid(payload).then_some(()).ok_or_else(told);
        }
        self.validator.validate(payload).map_err(|misfit| {
            let place = misfit.instance_path().to_string();
            let place = if place.is_empty() { "the payload".to_owned() } else { format!("the payload at {place}") };
            text::line(&format!("{place}: {misfit}"), MISFIT_BYTES_MAX)
        })
    }
}

impl Revision {
    /// Checks a JSON payload against the plugin's own schema, where it has one, with the steps that are left for the
    /// payloads of the request. It may take a second for each megabyte: not for a thread that serves.
    ///
    /// # Errors
    /// Names the place in the payload and what is wrong there.
    pub fn check_payload(&self, content_type: &str, payload: &[u8], left: &mut CheckSteps) -> Result<(), String> {
        self.code.payload_schema.as_ref().map_or(Ok(()), |schema| schema.check(content_type, payload, left))
    }

    /// Checks a payload as [`Self::check_payload`] does, where that is a small matter; none where it is not, and belongs
    /// on a thread that serves nobody.
    pub fn check_small_payload(&self, content_type: &str, payload: &[u8]) -> Option<Result<(), String>> {
        let schema = self.code.payload_schema.as_ref();
        schema.map_or(Some(Ok(())), |schema| schema.check_small(content_type, payload))
    }
}

fn has_alternatives(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            members.iter().any(|(name, value)| matches!(name.as_str(), "anyOf" | "oneOf") || has_alternatives(value))
        }
        Value::Array(values) => values.iter().any(has_alternatives),
        _ => false,
    }
}

fn parse(content_type: &str, payload: &[u8]) -> Result<Value, String> {
    if !is_json(content_type) {
        return Err(format!("the payload is {content_type:?}, the plugin wants JSON"));
    }
    serde_json::from_slice(payload).map_err(|error| {
        // Numbers beyond all bounds, halves of characters and 128 levels are JSON, and have no value here.
        let is_json = serde_json::from_slice::<IgnoredAny>(payload).is_ok();
        let what = if is_json { "cannot be held against the plugin's schema" } else { "is no JSON" };
        format!("the payload {what}: {error}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: &str) -> Result<(Description, Option<PayloadSchema>), String> {
        let said = super::read(answer, ByteSize(64 << 10))?;
        let description = said.description.expect("it says something");
        assert_eq!(said.fault.is_some(), description.payload_schema.is_none() && answer.contains("payload_schema"));
        Ok((description, said.schema))
    }

    #[test]
    fn what_is_said_is_taken_up_to_the_limit() {
        let answer = |bytes: usize| format!("{{\"title\": \"{}\"}}", "x".repeat(bytes - 13));
        assert_eq!(answer(64 << 10).len(), 64 << 10);
        assert!(read(&answer(64 << 10)).is_ok());
        assert!(read(&answer((64 << 10) + 1)).unwrap_err().contains("limits.describe"));
    }

    #[test]
    fn json_that_has_no_value_here_is_not_called_none() {
        let deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
        for payload in ["{\"a\": 1e400}", "\"\\ud800\"", &deep] {
            let told = parse("application/json", payload.as_bytes()).unwrap_err();
            assert!(told.starts_with("the payload cannot be held against the plugin's schema: "), "{told}");
        }
        assert!(parse("application/json", b"{").unwrap_err().starts_with("the payload is no JSON: "));
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
        assert_eq!(schema.check("application/json", br#"{"url": "https://a"}"#, &mut CheckSteps::for_jobs(1)), Ok(()));
        for (payload, told) in [
            (&br#"{"url": "https://a", "n": "x"}"#[..], "/n"),
            (br"{}", "url"),
            (br#"{"url": "ftp://a"}"#, "/url"),
            (br"{", "no JSON"),
        ] {
            let error =
                schema.check("application/json; charset=utf-8", payload, &mut CheckSteps::for_jobs(1)).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
        assert!(schema.check("text/plain", b"{}", &mut CheckSteps::for_jobs(1)).is_err());
    }

    #[test]
    fn what_takes_too_long_is_refused_whether_the_schema_refers_or_not() {
        let (zeros, long) = (format!("[{}]", ["0"; 20_000].join(",")), format!("\"{}\"", "a".repeat(100_000)));
        let all_of = |one: &str| format!(r#"{{"allOf": [{}]"#, [one; 1_000].join(","));
        for (schema, payload) in [
            (format!(r#"{{"items": {}}}}}"#, all_of(r#"{"not": {"const": 1}}"#)), &zeros),
            (format!(r##"{}, "$defs": {{"p": {{"pattern": "b"}}}}}}"##, all_of(r##"{"$ref": "#/$defs/p"}"##)), &long),
            (r#"{"pattern": "[ab]*a[ab]{500}c"}"#.to_owned(), &long),
        ] {
            let schema = read(&format!("{{\"payload_schema\": {schema}}}")).unwrap().1.expect("it can be used");
            let told = schema.check("application/json", payload.as_bytes(), &mut CheckSteps::for_jobs(1));
            assert!(told.clone().is_err_and(|why| why.contains("too long")), "{told:?}");
            assert_eq!(schema.check_small("application/json", payload.as_bytes()), None);
        }
    }

    #[test]
    fn a_small_payload_is_checked_at_once_and_a_large_misfit_has_no_place() {
        let schema = r#"{"payload_schema": {"items": {"anyOf": [{"const": 1}, {"const": 2}]}}}"#;
        let schema = read(schema).unwrap().1.unwrap();
        let numbers = |last: &str, count: usize| format!("[{}{last}]", "1,".repeat(count));
        let small = |payload: &str| schema.check_small("application/json", payload.as_bytes());
        assert_eq!(small(&numbers("2", 9)), Some(Ok(())));
        assert!(small(&numbers("3", 9)).unwrap().unwrap_err().starts_with("the payload at /9: "));
        assert!(small("[").unwrap().unwrap_err().contains("no JSON"));
        assert_eq!(small(&numbers("3", 5_000)), None);
        let large = |payload: &str| schema.check("application/json", payload.as_bytes(), &mut CheckSteps::for_jobs(1));
        assert_eq!(large(&numbers("2", 50_000)), Ok(()));
        assert!(large(&numbers("3", 5_000)).unwrap_err().starts_with("the payload at /5000: "));
        assert!(large(&numbers("3", 50_000)).unwrap_err().contains("does not fit"));
        let schema = read(r#"{"payload_schema": {"items": {"const": 1}}}"#).unwrap().1.unwrap();
        let large = |payload: &str| schema.check("application/json", payload.as_bytes(), &mut CheckSteps::for_jobs(1));
        assert!(large(&numbers("3", 50_000)).unwrap_err().starts_with("the payload at /50000: "));
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
