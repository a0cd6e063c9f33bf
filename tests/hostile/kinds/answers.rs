//! Answers that are none, and the functions that the host calls to read them.

use super::super::component::Parts;
use super::Attack::{Component, Verb};
use super::Expect::Outcome;
use super::Kind;

const ABI: &str = "the canonical ABI's checks";
const CPU: &str = "`limits.cpu`";

macro_rules! run {
    ($run:expr) => {
        Component(|| Parts { run: $run, ..Parts::default() }.build())
    };
}
macro_rules! realloc {
    ($realloc:expr) => {
        Component(|| Parts { realloc: $realloc, ..Parts::default() }.build())
    };
}

/// An error whose message has so many bytes, all zero, at 64 KiB.
fn error_of(bytes: usize) -> Vec<u8> {
    let run = format!(
        "(drop (memory.grow (i32.const 100))) (i32.store8 (i32.const 1024) (i32.const 1))
         (memory.fill (i32.const 65536) (i32.const 27) (i32.const {bytes}))
         (i32.store (i32.const 1032) (i32.const 65536)) (i32.store (i32.const 1036) (i32.const {bytes}))"
    );
    Parts { run: &run, ..Parts::default() }.build()
}

/// A function whose name is an escape sequence and a line of log.
fn forged_name() -> Vec<u8> {
    let name = r#"$"x\0a{\22level\22:\22ERROR\22,\22fields\22:{\22message\22:\22forged\22}}\0a\1b[31m""#;
    let (items, run) = (format!("(func {name} unreachable)"), format!("(call {name})"));
    Parts { items: &items, run: &run, ..Parts::default() }.build()
}

/// A function whose name, as a C++ compiler writes them, stands for one of 50^10 letters.
fn exploding_name() -> Vec<u8> {
    let many = |of: &str| of.repeat(50);
    let deeper = (0..10).map(|level| format!("S_I{}E", many(&format!("S{level}_"))));
    let name = format!("_Z1f1AI{}E{}", many("i"), deeper.collect::<String>());
    let (items, run) = (format!("(func ${name} unreachable)"), format!("(call ${name})"));
    Parts { items: &items, run: &run, ..Parts::default() }.build()
}

/// What a compiler would say of inlined functions, 100,000 of them each within the one before, and a trap.
pub(super) fn nested_debug_information() -> String {
    let bytes = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\{byte:02x}")).collect::<String>();
    // A unit, a function in it, and an inlined one, each with others within it.
    let abbreviations =
        bytes(&[1, 0x11, 1, 0x11, 1, 0x12, 6, 0, 0, 2, 0x2e, 1, 0x11, 1, 0x12, 6, 0, 0, 3, 0x1d, 1, 0, 0, 0]);
    let code = [0, 0, 0, 0, 0, 0, 0x10, 0];
    let depth = 100_000;
    let tree = [&[1][..], &code, &[2], &code, &vec![3; depth], &vec![0; depth + 2]].concat();
    let unit = [&[4, 0][..], &[0; 4], &[4], &tree].concat();
    let length = u32::try_from(unit.len()).expect("short").to_le_bytes();
    let information = bytes(&[&length[..], &unit].concat());
    format!("(@custom \".debug_abbrev\" \"{abbreviations}\") (@custom \".debug_info\" \"{information}\")")
}

pub fn kinds() -> Vec<Kind> {
    vec![
        Kind::new(
            "aliased-list",
            "answers a list of 2,000 texts that are all the same 256 KiB",
            run!(
                "(drop (memory.grow (i32.const 8)))
                  (loop $again
                    (i32.store (i32.add (i32.const 393216) (i32.mul (local.get $n) (i32.const 16))) (i32.const 65536))
                    (i32.store (i32.add (i32.const 393220) (i32.mul (local.get $n) (i32.const 16))) (i32.const 262144))
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (br_if $again (i32.lt_u (local.get $n) (i32.const 2000))))
                  (i32.store (i32.const 1044) (i32.const 393216)) (i32.store (i32.const 1048) (i32.const 2000))"
            ),
            Outcome("result-too-large"),
            "what one call may hand over: the larger of `limits.request` and `limits.result`, and 1 MiB",
        ),
        Kind::new(
            "error-long",
            "fails with 100,000 escape characters",
            Component(|| error_of(100_000)),
            Outcome("try-again"),
            "texts are cleaned and cut: `limits.error_text`",
        ),
        Kind::new(
            "error-huge",
            "fails with a message of 5 MiB",
            Component(|| error_of(5 << 20)),
            Outcome("try-again"),
            "texts are cleaned and cut: `limits.error_text`",
        ),
        Kind::new(
            "error-garbage",
            "rejects with newlines, escape sequences and NUL",
            Verb(r#"{"do": "garbage-error", "bytes": 100000}"#),
            Outcome("reject"),
            "texts are cleaned and cut: `limits.error_text`",
        ),
        Kind::new(
            "result-huge",
            "completes with a megabyte",
            Verb(r#"{"do": "result", "bytes": 1000000}"#),
            Outcome("result-too-large"),
            "`limits.result`",
        ),
        Kind::new(
            "forged-name",
            "traps in a function named like a line of log",
            Component(forged_name),
            Outcome("trap"),
            "texts are cleaned and cut: `limits.error_text`",
        ),
        Kind::new(
            "name-explodes",
            "traps in a function whose name would be endless if it were made readable",
            Component(exploding_name),
            Outcome("trap"),
            "names are shown as they are, and cut",
        ),
        Kind::new(
            "debug-nested",
            "traps, with debug information that is nested 100,000 times",
            Component(|| Parts { items: &nested_debug_information(), run: "unreachable", ..Parts::default() }.build()),
            Outcome("trap"),
            "debug information is not read",
        ),
        Kind::new(
            "realloc-loops",
            "never gives the memory that the host asks for",
            realloc!("(loop $again (br $again))"),
            Outcome("cpu-budget"),
            CPU,
        ),
        Kind::new(
            "realloc-traps",
            "traps where the host asks for memory",
            realloc!("unreachable"),
            Outcome("trap"),
            "the sandbox",
        ),
        Kind::new(
            "realloc-beyond",
            "gives memory that it does not have",
            realloc!("(return (i32.const -16))"),
            Outcome("trap"),
            ABI,
        ),
        Kind::new(
            "realloc-grows",
            "grows for ever where the host asks for memory",
            realloc!("(loop $again (drop (memory.grow (i32.const 1))) (br $again))"),
            Outcome("memory"),
            "`limits.memory`",
        ),
        Kind::new(
            "list-beyond",
            "answers a list that lies beyond its memory",
            run!("(i32.store (i32.const 1036) (i32.const 0xfff00000)) (i32.store (i32.const 1040) (i32.const 1000))"),
            Outcome("trap"),
            ABI,
        ),
        Kind::new(
            "list-endless",
            "answers a list of four billion elements",
            run!("(i32.store (i32.const 1044) (i32.const 8192)) (i32.store (i32.const 1048) (i32.const -1))"),
            Outcome("trap"),
            ABI,
        ),
        Kind::new(
            "answer-beyond",
            "answers from beyond its memory",
            run!("(return (i32.const -64))"),
            Outcome("trap"),
            ABI,
        ),
        Kind::new(
            "answer-unaligned",
            "answers from a place that is not aligned",
            run!("(return (i32.const 1025))"),
            Outcome("trap"),
            ABI,
        ),
        Kind::new(
            "not-utf8",
            "answers a text that is not UTF-8",
            run!(
                "(i32.store8 (i32.const 2048) (i32.const 0xff))
                  (i32.store (i32.const 1028) (i32.const 2048)) (i32.store (i32.const 1032) (i32.const 1))"
            ),
            Outcome("trap"),
            ABI,
        ),
        Kind::new(
            "not-a-result",
            "answers neither success nor failure",
            run!("(i32.store8 (i32.const 1024) (i32.const 7))"),
            Outcome("trap"),
            ABI,
        ),
        Kind::new(
            "not-a-failure",
            "fails in a way that there is not",
            run!("(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store8 (i32.const 1028) (i32.const 9))"),
            Outcome("trap"),
            ABI,
        ),
        Kind::new(
            "post-return-traps",
            "traps after its answer was read",
            Component(|| Parts { post_return: POST_TRAPS, items: FLAG, run: SET_FLAG, ..Parts::default() }.build()),
            Outcome("trap"),
            "the sandbox",
        ),
        Kind::new(
            "post-return-loops",
            "computes for ever after its answer was read",
            Component(|| Parts { post_return: POST_LOOPS, items: FLAG, run: SET_FLAG, ..Parts::default() }.build()),
            Outcome("cpu-budget"),
            CPU,
        ),
        Kind::new(
            "destructor-traps",
            "traps in a destructor",
            Component(|| {
                Parts {
                    before: RESOURCE,
                    host: RESOURCE_EXPORTS,
                    items: RESOURCE_IMPORTS,
                    run: RESOURCE_RUN,
                    ..Parts::default()
                }
                .build()
            }),
            Outcome("trap"),
            "the sandbox",
        ),
    ]
}

const POST_TRAPS: &str = "(if (global.get $flag) (then unreachable))";
const POST_LOOPS: &str = "(if (global.get $flag) (then (loop $again (br $again))))";
const FLAG: &str = "(global $flag (mut i32) (i32.const 0))";
const SET_FLAG: &str = "(global.set $flag (i32.const 1))";
const RESOURCE: &str = r#"
(core module $dtor (func (export "dtor") (param i32) unreachable))
(core instance $dtor (instantiate $dtor))
(alias core export $dtor "dtor" (core func $dtor))
(type $resource (resource (rep i32) (dtor (core func $dtor))))
(core func $new (canon resource.new $resource))
(core func $drop (canon resource.drop $resource))"#;
const RESOURCE_EXPORTS: &str = r#"(export "new" (func $new)) (export "drop" (func $drop))"#;
const RESOURCE_IMPORTS: &str =
    r#"(import "host" "new" (func $new (param i32) (result i32))) (import "host" "drop" (func $drop (param i32)))"#;
const RESOURCE_RUN: &str = "(call $drop (call $new (i32.const 1)))";
