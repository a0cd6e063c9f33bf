//! What a schema would cost over a payload. References let a schema of a few lines ask the same question more often than
//! there is time in the world, and a validation cannot be called off; so it is counted before it is begun.

use serde_json::Value;

/// The steps that any payload may take.
const STEPS: usize = 100_000;
/// And those for each of its bytes.
const STEPS_PER_BYTE: usize = 8;
/// How deep references, applicators and the payload may lie within each other.
const DEPTH_MAX: usize = 512;
/// How many patterns a schema may have: each is compiled.
const PATTERNS_MAX: usize = 256;

/// Whether anything in a schema refers to another part: without that, no step can come twice.
pub(super) fn refers(schema: &Value) -> bool {
    const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];
    match schema {
        Value::Object(members) => {
            members.iter().any(|(name, value)| REFERENCES.contains(&name.as_str()) || refers(value))
        }
        Value::Array(values) => values.iter().any(refers),
        _ => false,
    }
}

/// What keeps a schema from being used at all: too many patterns, references that lead out of it or in a circle.
pub(super) fn check_schema(schema: &Value) -> Result<(), String> {
    let patterns = patterns(schema);
    if patterns > PATTERNS_MAX {
        return Err(format!("it has {patterns} patterns, the limit is {PATTERNS_MAX}"));
    }
    check_references(schema)?;
    let mut walk = Walk { root: schema, left: STEPS };
    walk.step(schema, &Value::Null, 0).map_err(|TooCostly| "its references lead in a circle, or multiply".to_owned())
}

/// Whether a payload of so many bytes can be checked in reasonable time.
pub(super) fn check_payload(schema: &Value, payload: &Value, payload_bytes: usize) -> Result<(), String> {
    let left = STEPS.saturating_add(payload_bytes.saturating_mul(STEPS_PER_BYTE));
    let mut walk = Walk { root: schema, left };
    walk.step(schema, payload, 0)
        .map_err(|TooCostly| "the plugin's schema takes too long over this payload: it cannot be checked".to_owned())
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
    fn check(value: &Value, root: &Value) -> Result<(), String> {
        match value {
            Value::Object(members) => members.iter().try_for_each(|(name, value)| match (name.as_str(), value) {
                ("$ref", Value::String(reference)) if target(root, reference).is_none() => {
                    Err(format!("it refers to {reference:?}: only \"#\" and \"#/…\" that is there can be referred to"))
                }
                ("$dynamicRef" | "$recursiveRef", Value::String(_)) => Err(format!("it uses {name}: use $ref")),
                _ => check(value, root),
            }),
            Value::Array(values) => values.iter().try_for_each(|value| check(value, root)),
            _ => Ok(()),
        }
    }
    check(schema, schema)
}

fn target<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    // A pointer whose names need escapes is rare, and no more than not found.
    root.pointer(reference.strip_prefix('#')?)
}

/// There are too many steps.
struct TooCostly;

/// Goes where a validation would go at the worst, and only counts.
struct Walk<'a> {
    root: &'a Value,
    left: usize,
}

impl Walk<'_> {
    fn step(&mut self, schema: &Value, instance: &Value, depth: usize) -> Result<(), TooCostly> {
        self.left = self.left.checked_sub(1).ok_or(TooCostly)?;
        if depth > DEPTH_MAX {
            return Err(TooCostly);
        }
        let Value::Object(members) = schema else { return Ok(()) };
        for (keyword, value) in members {
            self.keyword(keyword, value, instance, depth + 1)?;
        }
        Ok(())
    }

    fn keyword(&mut self, keyword: &str, value: &Value, instance: &Value, depth: usize) -> Result<(), TooCostly> {
        match (keyword, value) {
            ("$ref", Value::String(reference)) => match target(self.root, reference) {
                Some(target) => self.step(target, instance, depth),
                None => Ok(()),
            },
            ("allOf" | "anyOf" | "oneOf", Value::Array(each)) => {
                each.iter().try_for_each(|each| self.step(each, instance, depth))
            }
            ("not" | "if" | "then" | "else", each) => self.step(each, instance, depth),
            ("dependentSchemas" | "dependencies", Value::Object(each)) => {
                each.values().try_for_each(|each| self.step(each, instance, depth))
            }
            _ => self.children(keyword, value, instance, depth),
        }
    }

    fn children(&mut self, keyword: &str, value: &Value, instance: &Value, depth: usize) -> Result<(), TooCostly> {
        match (keyword, value, instance) {
            ("properties", Value::Object(schemas), Value::Object(members)) => {
                let both = schemas.iter().filter_map(|(name, schema)| Some((schema, members.get(name)?)));
                both.into_iter().try_for_each(|(schema, member)| self.step(schema, member, depth))
            }
            ("patternProperties", Value::Object(schemas), Value::Object(members)) => schemas
                .values()
                .try_for_each(|schema| members.values().try_for_each(|member| self.step(schema, member, depth))),
            ("additionalProperties" | "unevaluatedProperties", schema, Value::Object(members)) => {
                members.values().try_for_each(|member| self.step(schema, member, depth))
            }
            ("propertyNames", schema, Value::Object(members)) => {
                members.keys().try_for_each(|_| self.step(schema, &Value::Null, depth))
            }
            ("items" | "prefixItems", Value::Array(schemas), Value::Array(items)) => {
                schemas.iter().zip(items).try_for_each(|(schema, item)| self.step(schema, item, depth))
            }
            ("items" | "additionalItems" | "unevaluatedItems" | "contains", schema, Value::Array(items)) => {
                items.iter().try_for_each(|item| self.step(schema, item, depth))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Each definition asks the one before it twice, by `twice`.
    fn doubling(levels: usize, twice: impl Fn(Value) -> Value) -> Value {
        let definitions = (1..=levels).map(|n| (n.to_string(), twice(json!({"$ref": format!("#/$defs/{}", n - 1)}))));
        let mut definitions: serde_json::Map<_, _> = definitions.collect();
        definitions.insert("0".to_owned(), json!({"type": "integer"}));
        json!({"$ref": format!("#/$defs/{levels}"), "$defs": definitions})
    }

    #[test]
    fn references_in_a_circle_and_those_that_multiply_are_not_used() {
        for schema in [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"not": {"$ref": "#/$defs/a"}}}}),
            doubling(40, |one| json!({"allOf": [one.clone(), one]})),
        ] {
            assert!(check_schema(&schema).unwrap_err().contains("circle"), "{schema}");
        }
        for (schema, told) in [
            (json!({"$ref": "http://127.0.0.1:1/s"}), "refers to"),
            (json!({"properties": {"a": {"$ref": "other.json#/a"}}}), "refers to"),
            (json!({"$ref": "#/$defs/none"}), "refers to"),
            (json!({"$dynamicRef": "#a"}), "$dynamicRef"),
            (json!({"allOf": vec![json!({"pattern": "a"}); 257]}), "patterns"),
        ] {
            assert!(check_schema(&schema).unwrap_err().contains(told), "{schema}");
        }
    }

    #[test]
    fn recursion_that_follows_the_payload_is_used() {
        let tree = json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "n": {"type": "integer"}}});
        assert!(refers(&tree));
        assert_eq!(check_schema(&tree), Ok(()));
        let mut payload = json!({"n": 1});
        for _ in 0..100 {
            payload = json!({"left": payload, "right": {"n": 2}});
        }
        let bytes = payload.to_string().len();
        assert_eq!(check_payload(&tree, &payload, bytes), Ok(()));
        assert!(!refers(&json!({"properties": {"a": {"type": "string"}}})));
    }

    #[test]
    fn a_payload_that_makes_a_schema_explode_is_refused_at_once() {
        let twice = json!({"properties": {"a": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}});
        assert_eq!(check_schema(&twice), Ok(()));
        let mut payload = json!(1);
        for _ in 0..60 {
            payload = json!({ "a": payload });
        }
        assert!(check_payload(&twice, &payload, 400).unwrap_err().contains("too long"));
    }
}
