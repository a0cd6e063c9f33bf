//! What is counted, and what is refused for it.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A schema in which names are given by `id`.
const OLD: &str = "http://json-schema.org/draft-04/schema#";

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
        (
            json!({"$defs": {"a": {"$id": "http://127.0.0.1:1/", "$ref": "#/$defs/b"}, "b": {}}, "$ref": "#/$defs/a"}),
            "$id",
        ),
        (json!({"$ref": "#/$defs/%61", "$defs": {"a": false, "%61": true}}), "refers to"),
        (json!({"$defs": {"a": {"$schema": OLD, "id": "http://127.0.0.1:1/"}}}), "$schema"),
        (json!({"$schema": OLD, "allOf": [{"id": "http://127.0.0.1:1/", "allOf": [{"$ref": "#"}]}]}), "an id"),
        (json!({"allOf": vec![json!({"pattern": "a"}); 257]}), "patterns"),
    ] {
        assert!(check_schema(&schema).unwrap_err().contains(told), "{schema}");
    }
}

/// The steps of a payload, where they are as many as it may take.
fn counted(schema: &Value, payload: &Value) -> Option<usize> {
    assert_eq!(check_schema(schema), Ok(()));
    CheckSteps::for_jobs(1).take(schema, payload, payload.to_string().len())
}

#[test]
fn recursion_that_follows_the_payload_is_used() {
    let tree = json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "n": {"type": "integer"}}});
    let mut payload = json!({"n": 1});
    for _ in 0..100 {
        payload = json!({"left": payload, "right": {"n": 2}});
    }
    assert!(counted(&tree, &payload).is_some());
}

#[test]
fn a_payload_that_makes_a_schema_explode_is_refused_at_once() {
    let twice = json!({"properties": {"a": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}});
    let mut payload = json!(1);
    for _ in 0..60 {
        payload = json!({ "a": payload });
    }
    assert_eq!(counted(&twice, &payload), None);
    let asked_again = |inner, _| json!({"unevaluatedProperties": false, "allOf": [inner]});
    let nested = (0..30).fold(json!({"properties": {"a": true}}), asked_again);
    assert!(check_schema(&nested).is_err(), "each level asks all below it twice");
}

#[test]
fn what_is_looked_at_is_counted_whether_the_schema_refers_or_not() {
    let many = |one: Value, count: usize| json!({ "allOf": vec![one; count] });
    let of_one = |one: Value| json!({"allOf": vec![json!({"$ref": "#/$defs/one"}); 1_000], "$defs": {"one": one}});
    let (zeros, words) = (json!(vec![0; 20_000]), json!(vec!["a"; 1_000]));
    let (long, objects) = (json!("a".repeat(100_000)), json!(vec![json!({"b": 1}); 1_000]));
    for (schema, payload) in [
        (json!({"items": many(json!({"not": {"const": 1}}), 1_000)}), &zeros),
        (of_one(json!({"pattern": "b"})), &long),
        (json!({"pattern": "[ab]*a[ab]{500}c"}), &long),
        (of_one(json!({ "const": zeros })), &zeros),
        (json!({"items": many(json!({"not": {"enum": vec!["b"; 1_000]}}), 100)}), &words),
        (of_one(json!({"uniqueItems": true})), &words),
        (json!({"items": {"required": vec!["a"; 5_000]}}), &objects),
        (json!({"items": {"dependentRequired": {"b": vec!["a"; 5_000]}}}), &objects),
        (
            json!({"items": {"properties": (0..5_000).map(|n| (n.to_string(), json!(true))).collect::<Value>()}}),
            &objects,
        ),
        (
            json!({"items": of_one(json!({"patternProperties": {"c": true}}))["allOf"][0], "$defs": {"one": many(json!({"patternProperties": {"c": true}}), 250)}}),
            &objects,
        ),
        (json!({"items": {"propertyNames": many(json!({"pattern": "c"}), 250)}}), &objects),
        (
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "allOf": vec![json!({"format": "uri"}); 500]}),
            &long,
        ),
    ] {
        let told = schema.to_string();
        assert_eq!(counted(&schema, payload), None, "{}", &told[..told.len().min(80)]);
    }
}

#[test]
fn usual_schemas_take_large_payloads() {
    let uuid = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
    let countries: Vec<_> = (0..250).map(|n| format!("{n:02x}")).collect();
    let order = json!({
        "type": "object", "required": ["id", "country", "lines"], "additionalProperties": false,
        "properties": {
            "id": {"type": "string", "pattern": uuid},
            "country": {"enum": countries},
            "note": {"type": "string", "maxLength": 10_000, "pattern": "^[^<>]*$"},
            "lines": {"type": "array", "uniqueItems": true, "minItems": 1, "items": {"$ref": "#/$defs/line"}},
        },
    });
    let line = json!({
        "type": "object", "required": ["sku", "count"],
        "properties": {
            "sku": {"type": "string", "pattern": "^[A-Z0-9-]{1,40}$"},
            "count": {"type": "integer", "minimum": 1},
            "price": {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^\d+\.\d\d$"}]},
        },
        "patternProperties": {"^x-": {"type": "string"}},
    });
    let schema = json!({"type": "array", "items": order, "$defs": {"line": line}});
    let lines = vec![json!({"sku": "AB-1234-XYZ", "count": 3, "price": "12.50", "x-colour": "red"}); 5];
    let id = "0af76519-16cd-43dd-8448-eb211c80319c";
    let one = json!({"id": id, "country": "f9", "note": "please ".repeat(20), "lines": lines});
    assert!(counted(&schema, &json!(vec![one.clone(); 1_500])).is_some(), "a megabyte");
    let steps = counted(&schema, &json!([one])).expect("few");
    assert!(steps < 1_500, "{steps}");
}

#[test]
fn the_payloads_of_one_request_share_their_steps() {
    let schema = json!({ "allOf": vec![json!({"type": "integer"}); 50_000] });
    let mut left = CheckSteps::for_jobs(1);
    assert!(left.take(&schema, &json!(1), 1).is_some());
    assert_eq!(left.take(&schema, &json!(1), 1), None, "nothing is left of it");
    let (schema, mut left) = (json!({ "allOf": vec![json!({"type": "integer"}); 900] }), CheckSteps::for_jobs(10_000));
    assert!((0..10_000).all(|_| left.take(&schema, &json!(1), 1).is_some()));
}

proptest! {
    /// What a reference refers to is the same for who counts and for who validates, whatever stands around it.
    #[test]
    fn a_reference_leads_where_the_validation_goes(
        names in prop::sample::subsequence(vec!["a", "%61", "%2561", "~", "~0", "/", "~1", "0", "é"], 1..9),
        reference in prop::sample::select(vec!["a", "%61", "%2561", "~", "~0", "~01", "%7E0", "~1", "%2F", "0", "+0", "é"]),
        draft in prop::sample::select(vec!["", OLD, "http://json-schema.org/draft-06/schema#",
            "http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2019-09/schema",
            "https://json-schema.org/draft/2020-12/schema"]),
        own in prop::sample::select(vec!["", "id", "$id", "$anchor", "$schema", "title"]),
    ) {
        let definitions = |from: usize| -> Value {
            names.iter().enumerate().map(|(n, name)| ((*name).to_owned(), json!({"enum": [from + n]}))).collect()
        };
        let inner = json!({"$ref": format!("#/definitions/{reference}")});
        let mut part = json!({"allOf": [inner], "definitions": definitions(100)});
        let mut schema = json!({"definitions": definitions(0)});
        if !own.is_empty() {
            part[own] = json!(if own == "$schema" { OLD } else { "http://127.0.0.1:1/part" });
        }
        if !draft.is_empty() {
            schema["$schema"] = json!(draft);
        }
        schema["allOf"] = json!([part]);
        if check_schema(&schema).is_ok() && let Ok(validator) = jsonschema::options().offline().build(&schema) {
            let meant = target(&schema, &format!("#/definitions/{reference}")).expect("it was checked");
            for n in (0..names.len()).flat_map(|n| [n, 100 + n]) {
                prop_assert_eq!(validator.is_valid(&json!(n)), meant["enum"] == json!([n]), "{} in {}", n, schema);
            }
        }
    }
}
