//! Using up time and memory.

use super::super::component::Parts;
use super::Attack::{Component, Reused, Verb};
use super::Expect::{Outcome, Result};
use super::Kind;

const CPU: &str = "`limits.cpu`";
const MEMORY: &str = "`limits.memory`, over all memories and tables";

macro_rules! run {
    ($run:expr) => {
        Component(|| Parts { run: $run, ..Parts::default() }.build())
    };
    ($items:expr, $run:expr) => {
        Component(|| Parts { items: $items, run: $run, ..Parts::default() }.build())
    };
}

/// All memory that there is, and its size in bytes.
const WHOLE: &str = "(drop (memory.grow (i32.const 100)))";
const SIZE: &str = "(i32.mul (memory.size) (i32.const 65536))";

fn bulk(operation: &str) -> Vec<u8> {
    let run = format!("{WHOLE} (loop $again {operation} (br $again))").replace("SIZE", SIZE);
    Parts { run: &run, ..Parts::default() }.build()
}

/// Instances with so many elements that the guest may copy into tables, which lie in the host's memory until then.
fn elements(instances: usize, each: usize) -> String {
    let instances = "(core instance (instantiate $elements))".repeat(instances);
    format!("(core module $elements (func $f) (elem func {})) {instances}", "$f ".repeat(each))
}

/// 256 KiB of elements beyond what is free, which the globals take: an element takes its time too, a global hardly any.
fn elements_and_memory() -> Vec<u8> {
    let globals = "(global i32 (i32.const 0))".repeat(32_768);
    let more = elements(1, 16_384).replace("(func $f)", &format!("(func $f) {globals}"));
    Parts { more: &more, run: "(drop (memory.grow (i32.const 125)))", ..Parts::default() }.build()
}

/// 134 MiB of elements in a file of a few hundred KiB.
pub(super) fn many_elements() -> Vec<u8> {
    Parts { more: &elements(44, 200_000), ..Parts::default() }.build()
}

pub fn kinds() -> Vec<Kind> {
    vec![
        Kind::new("loop", "computes for ever", run!("(loop $again (br $again))"), Outcome("cpu-budget"), CPU),
        Kind::new("loop-rust", "the same, from Rust", Verb(r#"{"do": "spin"}"#), Outcome("cpu-budget"), CPU),
        Kind::new(
            "memory-fill",
            "fills its whole memory in a loop",
            Component(|| bulk("(memory.fill (i32.const 0) (i32.const 7) SIZE)")),
            Outcome("cpu-budget"),
            "`limits.cpu`, and `limits.memory` for each operation",
        ),
        Kind::new(
            "memory-copy",
            "copies its whole memory in a loop",
            Component(|| bulk("(memory.copy (i32.const 0) (i32.const 1) (i32.sub SIZE (i32.const 1)))")),
            Outcome("cpu-budget"),
            "`limits.cpu`, and `limits.memory` for each operation",
        ),
        Kind::new(
            "table-fill",
            "fills a table of 100,000 elements in a loop",
            run!(
                "(table $t 100000 funcref) (func $f) (elem declare func $f)",
                "(loop $again (table.fill $t (i32.const 0) (ref.func $f) (i32.const 100000)) (br $again))"
            ),
            Outcome("cpu-budget"),
            CPU,
        ),
        Kind::new(
            "table-init",
            "copies a segment into a table in a loop",
            run!(
                "(table $t 1000 funcref) (func $f) (elem $e func $f $f $f $f $f $f $f $f)",
                "(loop $again (table.init $t $e (i32.const 0) (i32.const 0) (i32.const 8)) (br $again))"
            ),
            Outcome("cpu-budget"),
            CPU,
        ),
        Kind::new("recursion", "calls itself for ever", Verb(r#"{"do": "recurse"}"#), Outcome("trap"), "the stack"),
        Kind::new(
            "recursion-narrow",
            "calls itself for ever, with the smallest frames",
            run!(
                "(func $deep (param i32) (result i32) (i32.add (call $deep (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))",
                "(drop (call $deep (i32.const 0)))"
            ),
            Outcome("trap"),
            "the stack",
        ),
        Kind::new(
            "memory-at-once",
            "asks for 4 GiB at once",
            run!("(drop (memory.grow (i32.const 65535)))"),
            Outcome("memory"),
            MEMORY,
        ),
        Kind::new(
            "memory-by-pages",
            "asks for one page after the other, and writes to each",
            run!("(loop $again (drop (memory.grow (i32.const 1)))
                  (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4)) (i32.const 1)) (br $again))"),
            Outcome("memory"),
            MEMORY,
        ),
        Kind::new(
            "memory-rust",
            "allocates and touches 64 MiB",
            Verb(r#"{"do": "allocate", "bytes": 67108864}"#),
            Outcome("memory"),
            MEMORY,
        ),
        Kind::new(
            "memories",
            "grows several memories, each within the limit",
            Component(|| {
                let before = r#"(core module $m (memory 1) (func (export "grow") (drop (memory.grow (i32.const 60)))))
                    (core instance $a (instantiate $m)) (core instance $b (instantiate $m)) (core instance $c (instantiate $m))
                    (alias core export $a "grow" (core func $ga)) (alias core export $b "grow" (core func $gb))
                    (alias core export $c "grow" (core func $gc))"#;
                let host = r#"(export "ga" (func $ga)) (export "gb" (func $gb)) (export "gc" (func $gc))"#;
                let items = r#"(import "host" "ga" (func $ga)) (import "host" "gb" (func $gb)) (import "host" "gc" (func $gc))"#;
                let run = "(call $ga) (call $gb) (call $gc)";
                Parts { before, host, items, run, ..Parts::default() }.build()
            }),
            Outcome("memory"),
            MEMORY,
        ),
        Kind::new(
            "memory-of-elements",
            "has a MiB of globals and elements that are in no table, and asks for the rest of its memory",
            Component(elements_and_memory),
            Outcome("memory"),
            "`limits.memory`, of which they are",
        ),
        Kind::new(
            "table-growth",
            "grows a table for ever",
            run!(
                "(table $t 0 funcref)",
                "(loop $again (drop (table.grow $t (ref.null func) (i32.const 1000))) (br $again))"
            ),
            Outcome("cpu-budget"),
            "100,000 elements a table, `limits.memory`, `limits.cpu`",
        ),
        Kind::new("trap", "executes `unreachable`", run!("unreachable"), Outcome("trap"), "the sandbox"),
        Kind::new("panic", "panics", Verb(r#"{"do": "panic", "message": "no"}"#), Outcome("trap"), "the sandbox"),
        Kind::new(
            "division-overflow",
            "divides the smallest integer by minus one",
            run!("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))"),
            Outcome("trap"),
            "the sandbox",
        ),
        Kind::new(
            "conversion-overflow",
            "makes an integer of a number that is none",
            run!("(drop (i32.trunc_f64_s (f64.const nan)))"),
            Outcome("trap"),
            "the sandbox",
        ),
        Kind::new(
            "out-of-bounds",
            "reads beyond its memory",
            run!("(drop (i32.load (i32.const 0xfffffff0)))"),
            Outcome("trap"),
            "the sandbox",
        ),
        Kind::new(
            "wrong-signature",
            "calls a function by another signature",
            run!(
                "(table 1 funcref) (elem (i32.const 0) $f) (func $f) (type $t (func (param i64)))",
                "(call_indirect (type $t) (i64.const 1) (i32.const 0))"
            ),
            Outcome("trap"),
            "the sandbox",
        ),
        Kind::new("exit", "exits as a program would", Verb(r#"{"do": "exit", "code": 0}"#), Outcome("exit"), "the sandbox"),
        Kind::new(
            "carried-state",
            "looks for what an earlier job left in it",
            Verb(r#"{"do": "count"}"#),
            Result(r#""count":1"#),
            "a fresh instance for every attempt",
        ),
        Kind::new(
            "carried-wasm",
            "traps where it finds its own mark in its memory, its table or its globals",
            run!(
                "(global $mark (mut i32) (i32.const 0)) (table $t 1 funcref) (func $f) (elem declare func $f)",
                "(if (global.get $mark) (then unreachable))
                 (if (i32.load (i32.const 60000)) (then unreachable))
                 (if (i32.eqz (ref.is_null (table.get $t (i32.const 0)))) (then unreachable))
                 (global.set $mark (i32.const 1)) (i32.store (i32.const 60000) (i32.const 1))
                 (table.set $t (i32.const 0) (ref.func $f))"
            ),
            Outcome("completed"),
            "a fresh instance for every attempt",
        ),
        Kind::new(
            "carried-on-purpose",
            "counts its jobs where its operator lets its instances go on",
            Reused(r#"{"do": "count"}"#),
            Outcome("completed"),
            "never to another plugin, nor to another revision or other grants",
        ),
        Kind::new(
            "carried-trap",
            "traps where its instance goes on from job to job",
            Reused(r#"{"do": "trap"}"#),
            Outcome("trap"),
            "what trapped is not used again",
        ),
    ]
}
