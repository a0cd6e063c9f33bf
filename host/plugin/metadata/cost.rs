//! What a schema would cost over a payload. A schema of a few lines can ask more questions than there is time for in the
//! world, by references or by lists of its own over lists of the payload, and a validation cannot be called off; so it is
//! counted before it is begun.

use std::collections::BTreeMap;

use jsonschema::Draft;
use serde_json::Value;

use super::pattern::places;

/// The steps that any payload may take.
const STEPS: usize = 100_000;
/// And those for each of its bytes.
const STEPS_PER_BYTE: usize = 8;
/// Those that each further job of a request adds to what all may take: many small payloads take no longer than a large one.
const STEPS_PER_JOB: usize = 1_000;
/// So many glances are one step. A step is a schema that is asked about a value; a glance is a keyword or a scalar that is
/// looked at, a few bytes of a text, or one byte at one place of a pattern.
const GLANCES: usize = 16;
/// To look a name up among the members of a value takes so many glances.
const NAME: usize = 4;
/// So many bytes of a text are one glance.
const TEXT_BYTES: usize = 16;
/// How deep references, applicators and the payload may lie within each other.
const DEPTH_MAX: usize = 512;
/// How many patterns a schema may have: each is compiled.
const PATTERNS_MAX: usize = 256;

/// What keeps a schema from being used at all: too many patterns, references that lead out of it or in a circle.
pub(super) fn check_schema(schema: &Value) -> Result<(), String> {
    let patterns = patterns(schema);
    if patterns > PATTERNS_MAX {
        return Err(format!("it has {patterns} patterns, the limit is {PATTERNS_MAX}"));
    }
    check_references(schema)?;
    let told = || "its references lead in a circle, or multiply".to_owned();
    steps(schema, &Value::Null, STEPS).map(drop).ok_or_else(told)
}

/// What the payloads of one request may take in steps, beside those that each may take for its bytes.
#[derive(Debug)]
pub struct CheckSteps(usize);

impl CheckSteps {
    /// Those of a request of so many jobs.
    #[must_use]
    pub const fn for_jobs(jobs: usize) -> Self {
        Self(STEPS.saturating_add(jobs.saturating_sub(1).saturating_mul(STEPS_PER_JOB)))
    }

    /// The steps that a payload of so many bytes takes at the worst; none where they are more than are left.
    pub(super) fn take(&mut self, schema: &Value, payload: &Value, payload_bytes: usize) -> Option<usize> {
        let of_bytes = payload_bytes.saturating_mul(STEPS_PER_BYTE);
        let steps = steps(schema, payload, of_bytes.saturating_add(self.0.min(STEPS)))?;
        self.0 = self.0.saturating_sub(steps.saturating_sub(of_bytes));
        Some(steps)
    }
}

/// How many steps a payload takes at the worst; none where they are more than `most`. To count takes no longer than they
/// would.
pub(super) fn steps(schema: &Value, payload: &Value, most: usize) -> Option<usize> {
    let glances = most.saturating_mul(GLANCES);
    let mut walk = Walk { root: schema, left: glances, places: BTreeMap::new() };
    walk.step(schema, payload, 0).ok()?;
    Some((glances - walk.left).div_ceil(GLANCES))
}

fn patterns(schema: &Value) -> usize {
    match schema {
        Value::Object(members) => {
            let own = |(name, value): (&String, &Value)| match name.as_str() {
                "pattern" => 1,
                "patternProperties" => value.as_object().map_or(0, serde_json::Map::len),
                _ => 0,
            };
            members.iter().map(|member| own(member) + patterns(member.1)).sum()
        }
        Value::Array(values) => values.iter().map(patterns).sum(),
        _ => 0,
    }
}

fn check_references(schema: &Value) -> Result<(), String> {
    fn check(value: &Value, root: &Value, names: &[&str]) -> Result<(), String> {
        let is_root = std::ptr::eq(value, root);
        match value {
            Value::Object(members) => members.iter().try_for_each(|(name, value)| match (name.as_str(), value) {
                // A part with a name of its own would be the root of the references within it.
                (name, Value::String(_)) if names.contains(&name) && !is_root => {
                    Err(format!("a part of it has an {name}: only the whole can have one"))
                }
                ("$ref", Value::String(reference)) if target(root, reference).is_none() => {
                    Err(format!("it refers to {reference:?}: only \"#\" and \"#/…\" that is there can be referred to"))
                }
                ("$dynamicRef" | "$recursiveRef", Value::String(_)) => Err(format!("it uses {name}: use $ref")),
                _ => check(value, root, names),
            }),
            Value::Array(values) => values.iter().try_for_each(|value| check(value, root, names)),
            _ => Ok(()),
        }
    }
    let is_old = Draft::default().detect(schema).id_keyword() == "id";
    // What else a part says it is written in may have other names again.
    check(schema, schema, if is_old { &["$id", "$schema", "id"] } else { &["$id", "$schema"] })
}

/// What a reference refers to: the same as for whoever validates. It takes some characters for others (RFC 3986, section
/// 2.1), so that a name that has such ones is no more than not found.
fn target<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let is_itself = |byte: u8| byte.is_ascii_alphanumeric() || b"/~_-.$:@".contains(&byte);
    root.pointer(reference.strip_prefix('#').filter(|pointer| pointer.bytes().all(is_itself))?)
}

/// There are too many steps.
struct TooCostly;

type Counted = Result<(), TooCostly>;

/// Goes where a validation would go at the worst, and only counts.
struct Walk<'a> {
    root: &'a Value,
    /// How many glances are left.
    left: usize,
    /// The places of each pattern that was met, by where its text lies.
    places: BTreeMap<*const u8, usize>,
}

impl<'a> Walk<'a> {
    fn glance(&mut self, glances: usize) -> Counted {
        self.left = self.left.checked_sub(glances).ok_or(TooCostly)?;
        Ok(())
    }

    fn step(&mut self, schema: &'a Value, instance: &Value, depth: usize) -> Counted {
        self.glance(GLANCES)?;
        if depth > DEPTH_MAX {
            return Err(TooCostly);
        }
        let Value::Object(members) = schema else { return Ok(()) };
        for (keyword, value) in members {
            self.glance(2)?;
            self.beside(keyword, value, instance, depth + 1, false)?;
            self.children(keyword, value, instance, depth + 1)?;
            self.looks(keyword, value, instance)?;
        }
        // To find what nothing else has looked at, all that stands beside is asked again.
        if members.contains_key("unevaluatedProperties") || members.contains_key("unevaluatedItems") {
            return self.again(schema, instance, depth + 1);
        }
        Ok(())
    }

    /// Asks the schemas that look at the same value again, and each of them again for those within it.
    fn again(&mut self, schema: &'a Value, instance: &Value, depth: usize) -> Counted {
        self.glance(GLANCES)?;
        if depth > DEPTH_MAX {
            return Err(TooCostly);
        }
        let Value::Object(members) = schema else { return Ok(()) };
        for (keyword, value) in members {
            self.glance(1)?;
            self.beside(keyword, value, instance, depth + 1, true)?;
            match (keyword.as_str(), value, instance) {
                ("unevaluatedProperties" | "unevaluatedItems" | "contains", ..) => {
                    self.children(keyword, value, instance, depth + 1)?;
                }
                ("patternProperties", Value::Object(schemas), Value::Object(members)) => {
                    let both = schemas.keys().flat_map(|pattern| members.keys().map(move |name| (pattern, name)));
                    both.into_iter().try_for_each(|(pattern, name)| self.search(pattern, name))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The schemas within one that look at the same value.
    fn beside(&mut self, keyword: &str, value: &'a Value, instance: &Value, depth: usize, again: bool) -> Counted {
        let each = |walk: &mut Self, schema: &'a Value| {
            walk.step(schema, instance, depth)?;
            if again { walk.again(schema, instance, depth) } else { Ok(()) }
        };
        match (keyword, value) {
            ("allOf" | "anyOf" | "oneOf", Value::Array(schemas)) => {
                schemas.iter().try_for_each(|schema| each(self, schema))
            }
            ("not" | "if" | "then" | "else", schema) => each(self, schema),
            ("dependentSchemas" | "dependencies", Value::Object(schemas)) => {
                schemas.values().try_for_each(|schema| each(self, schema))
            }
            ("$ref", Value::String(reference)) => {
                // The way to what it refers to is gone each time.
                self.glance(reference.split('/').count() + reference.len() / TEXT_BYTES)?;
                target(self.root, reference).map_or(Ok(()), |schema| each(self, schema))
            }
            _ => Ok(()),
        }
    }

    /// The schemas within one that look at what the value holds.
    fn children(&mut self, keyword: &str, value: &'a Value, instance: &Value, depth: usize) -> Counted {
        match (keyword, value, instance) {
            ("properties", Value::Object(schemas), Value::Object(members)) => {
                schemas.iter().try_for_each(|(name, schema)| {
                    self.glance(NAME + name.len() / TEXT_BYTES)?;
                    members.get(name).map_or(Ok(()), |member| self.step(schema, member, depth))
                })
            }
            ("patternProperties", Value::Object(schemas), Value::Object(members)) => {
                schemas.iter().try_for_each(|(pattern, schema)| {
                    members.iter().try_for_each(|(name, member)| {
                        self.search(pattern, name)?;
                        self.step(schema, member, depth)
                    })
                })
            }
            ("additionalProperties" | "unevaluatedProperties", schema, Value::Object(members)) => {
                members.values().try_for_each(|member| self.step(schema, member, depth))
            }
            ("propertyNames", schema, Value::Object(members)) => members.keys().try_for_each(|name| {
                self.glance(name.len() / TEXT_BYTES)?;
                self.step(schema, &Value::String(name.clone()), depth)
            }),
            ("items" | "prefixItems", Value::Array(schemas), Value::Array(items)) => {
                schemas.iter().zip(items).try_for_each(|(schema, item)| self.step(schema, item, depth))
            }
            ("items" | "additionalItems" | "unevaluatedItems" | "contains", schema, Value::Array(items)) => {
                items.iter().try_for_each(|item| self.step(schema, item, depth))
            }
            _ => Ok(()),
        }
    }

    /// What a keyword looks at by itself.
    fn looks(&mut self, keyword: &str, value: &'a Value, instance: &Value) -> Counted {
        match (keyword, value, instance) {
            ("pattern", Value::String(pattern), Value::String(text)) => self.search(pattern, text),
            ("const", value, instance) => self.compare(value, instance),
            ("enum", Value::Array(values), instance) => {
                values.iter().try_for_each(|value| self.compare(value, instance))
            }
            ("required", Value::Array(names), Value::Object(_)) => self.glance(names.len().saturating_mul(NAME)),
            ("dependentRequired" | "dependencies", Value::Object(lists), Value::Object(_)) => {
                lists.values().try_for_each(|list| self.glance(NAME * (1 + list.as_array().map_or(0, Vec::len))))
            }
            ("minLength" | "maxLength", _, Value::String(text)) => self.glance(text.len() / TEXT_BYTES),
            // Whatever it is, it reads the text once, and may take it to pieces.
            ("format" | "contentEncoding" | "contentMediaType", _, Value::String(text)) => {
                self.glance(GLANCES.saturating_add(text.len().saturating_mul(GLANCES / 2)))
            }
            ("uniqueItems", Value::Bool(true), Value::Array(items)) => {
                items.iter().try_for_each(|item| self.compare_with_all(item))
            }
            _ => Ok(()),
        }
    }

    /// A pattern over a text: each of its places over each byte.
    fn search(&mut self, pattern: &'a str, text: &str) -> Counted {
        let places = *self.places.entry(pattern.as_ptr()).or_insert_with(|| places(pattern));
        self.glance(text.len().saturating_mul(places).saturating_add(1))
    }

    /// Whether two values are the same: as far as they are alike.
    fn compare(&mut self, one: &Value, other: &Value) -> Counted {
        self.glance(1)?;
        match (one, other) {
            (Value::String(one), Value::String(other)) if one.len() == other.len() => {
                self.glance(one.len() / TEXT_BYTES)
            }
            (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
                one.iter().zip(other).try_for_each(|(one, other)| self.compare(one, other))
            }
            (Value::Object(one), Value::Object(other)) if one.len() == other.len() => {
                one.iter().try_for_each(|(name, value)| {
                    self.glance(NAME + name.len() / TEXT_BYTES)?;
                    other.get(name).map_or(Ok(()), |other| self.compare(value, other))
                })
            }
            _ => Ok(()),
        }
    }

    /// An item beside all others: compared with each of them in a short list, and read once in a long one.
    fn compare_with_all(&mut self, item: &Value) -> Counted {
        self.glance(GLANCES)?;
        match item {
            Value::String(text) => self.glance(text.len()),
            Value::Array(items) => items.iter().try_for_each(|item| self.compare_with_all(item)),
            Value::Object(members) => members.iter().try_for_each(|(name, member)| {
                self.glance(name.len())?;
                self.compare_with_all(member)
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
