//! How often things are instantiated, by way of whatever names them.

use wasmparser::Parser;

use super::super::{Stop, Survey};
use super::*;

fn whole(text: &str) -> Result<Holdings, String> {
    let bytes = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"));
    let mut survey = Survey::default();
    let counted = Parser::new(0).parse_all(&bytes).try_for_each(|payload| survey.count(&payload?));
    counted.and_then(|()| survey.whole(false)).map_err(|stop| match stop {
        Stop::Broken(error) => error.to_string(),
        Stop::Refused(error) => error.to_string(),
    })
}

fn bytes(text: &str) -> u64 {
    whole(text).unwrap().bytes
}

/// A module whose instances take so many elements.
fn module(elements: usize) -> String {
    format!("(core module $m (elem funcref {}))", "(ref.null func)".repeat(elements))
}

/// A component that is made so often of one that is made so often of an empty one.
fn nested(outer: usize, inner: usize) -> String {
    let inner = "(instance (instantiate $empty))".repeat(inner);
    let outer = "(instance (instantiate $some))".repeat(outer);
    format!(
        "(component (component $empty) (component $some (alias outer 1 $empty (component $empty)) {inner}) {outer})"
    )
}

#[test]
fn elements_that_the_guest_copies_itself_count_as_often_as_their_module() {
    let with = |elements, times: usize| {
        bytes(&format!("(component {} {})", module(elements), "(core instance (instantiate $m))".repeat(times)))
    };
    assert_eq!(with(1_000, 0), COMPONENT_BYTES, "what is not instantiated takes nothing");
    assert_eq!(with(1_001, 7) - with(1_000, 7), 7 * ELEMENT_BYTES);
    assert!(with(1_000_000, 44) > 700_000_000);
    let segments = |elem: &str| {
        bytes(&format!(
            "(component (core module $m (table 9 funcref) (func $f) {elem}) (core instance (instantiate $m)))"
        ))
    };
    let none = segments("");
    assert_eq!(segments("(elem func)") - none, SEGMENT_BYTES, "one without elements takes room all the same");
    assert_eq!(segments("(elem (i32.const 0) func $f $f)") - none, ENTRY_BYTES, "a function that is pointed to");
    assert_eq!(segments("(elem declare func $f $f)") - none, ENTRY_BYTES);
}

#[test]
fn what_has_an_index_counts() {
    let with = |items: &str| bytes(&format!("(component (core module $m {items}) (core instance (instantiate $m)))"));
    let globals = "(global i32 (i32.const 0))".repeat(100);
    assert_eq!(with(&globals) - with(""), 100 * ENTRY_BYTES);
    assert_eq!(with(&"(func)".repeat(100)) - with(""), 0, "nothing points to them");
    assert_eq!(with(&"(data \"x\")".repeat(100)) - with(""), 100 * DATA_BYTES);
}

#[test]
fn instances_within_instances_multiply() {
    assert_eq!(whole(&nested(0, 36)).unwrap().components, 1);
    assert_eq!(whole(&nested(27, 36)).unwrap().components, 1_000);
    let above = nested(27, 36).replacen("(component ", "(component (component $one) (instance (instantiate $one)) ", 1);
    let error = whole(&above).unwrap_err();
    assert!(error.contains("1001 instances of components; 1000 are the most"), "{error}");
    let error = whole(&nested(400, 800)).unwrap_err();
    assert!(error.contains("320401 instances of components"), "{error}");
}

#[test]
fn what_multiplies_beyond_all_numbers_is_refused() {
    let mut text = "(component $c)".to_owned();
    for _ in 0..6 {
        text = format!("(component $c {text} {})", "(instance (instantiate $c))".repeat(2_000));
    }
    let error = whole(&format!("(component {text} {})", "(instance (instantiate $c))".repeat(2_000))).unwrap_err();
    assert!(error.contains("instances of components"), "{error}");
}

#[test]
fn a_module_counts_by_whatever_name_it_is_instantiated() {
    let plain = bytes(&format!("(component {} (core instance (instantiate $m)))", module(1_000)));
    let exported = format!(
        "(component {} (export $again \"m\" (core module $m)) (core instance (instantiate $again)))",
        module(1_000)
    );
    assert_eq!(bytes(&exported), plain);
    let outer = format!(
        "(component {} (component $c (alias outer 1 $m (core module $n)) (core instance (instantiate $n))
           (core instance (instantiate $n))) (instance (instantiate $c)) (instance (instantiate $c)))",
        module(1_000)
    );
    let of_modules = plain - COMPONENT_BYTES;
    assert_eq!(bytes(&outer), 4 * of_modules + 3 * COMPONENT_BYTES);
}

#[test]
fn a_module_that_is_handed_over_counts_as_the_largest() {
    let (small, large) = (module(1), module(1_000).replace("$m", "$large"));
    let plain = bytes(&format!("(component {large} (core instance (instantiate $large)))")) - COMPONENT_BYTES;
    let imported = format!(
        "(component {small} {large}
           (component $c (import \"m\" (core module $n)) (core instance (instantiate $n)))
           (instance (instantiate $c (with \"m\" (core module $m)))))"
    );
    assert_eq!(bytes(&imported), plain + 2 * COMPONENT_BYTES);
    let aliased = format!(
        "(component {large} (component $c {small} (export \"m\" (core module $m))) (instance $c (instantiate $c))
           (alias export $c \"m\" (core module $n)) (core instance (instantiate $n)) (core instance (instantiate $n)))"
    );
    assert_eq!(bytes(&aliased), 2 * plain + 2 * COMPONENT_BYTES);
}

#[test]
fn a_component_that_is_handed_over_is_not_instantiated() {
    for text in [
        "(component (component $c (import \"c\" (component $d)) (instance (instantiate $d))))",
        "(component (component $c (component $d) (export \"d\" (component $d))) (instance $c (instantiate $c))
           (alias export $c \"d\" (component $d)) (instance (instantiate $d)))",
        "(component (component $c (import \"c\" (component $d))
           (component $e (alias outer 1 $d (component $f)) (instance (instantiate $f)))))",
    ] {
        let error = whole(text).unwrap_err();
        assert!(error.contains("instantiates a component that it is handed"), "{error}");
    }
    // Who only passes it on makes nothing of it.
    assert!(whole("(component (component $c (import \"c\" (component $d)) (export \"e\" (component $d))))").is_ok());
}

#[test]
fn what_can_be_called_is_counted_by_itself() {
    let lifting = "(component $l (core module $m (func (export \"f\"))) (core instance $i (instantiate $m))
        (func (export \"f\") (canon lift (core func $i \"f\"))))";
    let text = format!(
        "(component (component $shim) {lifting} {} (instance (instantiate $shim)))",
        "(instance (instantiate $l))".repeat(5)
    );
    let whole = whole(&text).unwrap();
    assert_eq!((whole.components, whole.callable), (7, 5));
}
