//! Components that should not come to serve, and what a component says of itself.

use super::super::component::{Parts, bulky, described, describing, importing};
use super::super::waiting;
use super::Attack::Load;
use super::Expect::{Bounded, Refused, Undescribed};
use super::Kind;
use super::answers::nested_debug_information;
use super::computing::many_elements;

const CHECK: &str = "the check before anything is compiled";
const TRIAL: &str = "the trial start: a second of CPU time, nothing granted";
const COMPILE: &str = "`plugins.compile`: CPU time, memory and wall time of a process of its own";
/// So often what takes a second each.
const SLOW: usize = 3;

fn starting(body: &str) -> Vec<u8> {
    starting_with("", body)
}

/// The same, with these items in the module.
fn starting_with(items: &str, body: &str) -> Vec<u8> {
    let more = format!(
        "(core module $late (import \"libc\" \"memory\" (memory 1)) {items} (func $go {body}) (start $go))
         (core instance (instantiate $late (with \"libc\" (instance $libc))))"
    );
    Parts { more: &more, ..Parts::default() }.build()
}

/// Traps at its start, in a module and a function that are named like lines of log.
fn forged() -> Vec<u8> {
    let name = r#"$"x\0a{\22level\22:\22ERROR\22,\22fields\22:{\22message\22:\22forged\22}}\0a\1b[31m""#;
    let more = format!(
        "(core module {name} (func {name} unreachable) (start {name}))
         (core instance (instantiate {name}))"
    );
    Parts { more: &more, ..Parts::default() }.build()
}

fn many(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect()
}

/// One function with 20,000 locals, all of them alive over many blocks.
fn locals() -> Vec<u8> {
    let add = |n: usize| {
        let (a, b) = ((n * 7_919) % 20_000, (n * 104_729) % 20_000);
        format!("(if (i32.eqz (local.get {a})) (then (local.set {b} (i32.add (local.get {b}) (local.get {a})))))")
    };
    bulky(&format!("(func (local {}) {})", "i32 ".repeat(20_000), many(2_000, add)))
}

/// A branch to one of 60,000 places.
fn branches() -> Vec<u8> {
    bulky(&format!(
        "(func (param i32) (block (block (br_table {} (local.get 0)))))",
        many(60_000, |n| format!("{} ", n % 2))
    ))
}

/// Blocks within blocks.
fn nested() -> Vec<u8> {
    let depth = 5_000;
    bulky(&format!("(func {} {})", "block ".repeat(depth), "end ".repeat(depth)))
}

fn functions() -> Vec<u8> {
    bulky(&"(func)".repeat(100_000))
}

fn data() -> Vec<u8> {
    let chunk = "x".repeat(1 << 20);
    bulky(&many(20, |_| format!("(data \"{chunk}\")")))
}

fn memories() -> Vec<u8> {
    let more = "(core module $m (memory 1))".to_owned() + &"(core instance (instantiate $m))".repeat(40);
    Parts { more: &more, ..Parts::default() }.build()
}

fn instances() -> Vec<u8> {
    let more = "(core module $m)".to_owned() + &"(core instance (instantiate $m))".repeat(2_000);
    Parts { more: &more, ..Parts::default() }.build()
}

/// An empty component 800 times within one that is there 400 times.
fn nested_instances() -> Vec<u8> {
    let more = format!(
        "(component $empty) (component $many (alias outer 1 $empty (component $empty)) {}) {}",
        "(instance (instantiate $empty))".repeat(800),
        "(instance (instantiate $many))".repeat(400)
    );
    Parts { more: &more, ..Parts::default() }.build()
}

fn tables() -> Vec<u8> {
    bulky(&"(table 1 funcref)".repeat(99))
}

fn echo() -> Vec<u8> {
    Parts::default().build()
}

fn wrong_run() -> Vec<u8> {
    wat::parse_str(
        r#"(component (core module $m (func (export "run") (param i32) (result i32) (local.get 0)))
        (core instance $m (instantiate $m))
        (func $run (param "job" u32) (result u32) (canon lift (core func $m "run")))
        (instance $handler (export "run" (func $run)))
        (export "windlass:plugin/handler@0.1.0" (instance $handler)))"#,
    )
    .expect("it is well-formed")
}

fn command() -> Vec<u8> {
    wat::parse_str(
        r#"(component (core module $m (func (export "run") (result i32) (i32.const 0)))
        (core instance $m (instantiate $m))
        (func $run (result (result)) (canon lift (core func $m "run")))
        (instance $command (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $command)))"#,
    )
    .expect("it is well-formed")
}

/// Each level refers twice to the next: two to the thirtieth in all.
fn branching_schema() -> String {
    let level = |n: usize| {
        format!(r##""l{n}": {{"allOf": [{{"$ref": "#/$defs/l{m}"}}, {{"$ref": "#/$defs/l{m}"}}]}},"##, m = n + 1)
    };
    format!(r##"{{"payload_schema": {{"$ref": "#/$defs/l0", "$defs": {{{} "l12": {{}}}}}}}}"##, many(12, level))
}

pub fn kinds() -> Vec<Kind> {
    vec![
        Kind::new(
            "not-wasm",
            "is random bytes",
            Load(|| (0..5_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()),
            Refused(""),
            CHECK,
        ),
        Kind::new("empty", "is empty", Load(Vec::new), Refused(""), CHECK),
        Kind::new("cut-short", "is cut short", Load(|| echo()[..600].to_vec()), Refused("cut short"), CHECK),
        Kind::new(
            "module",
            "is a core module",
            Load(|| wat::parse_str("(module)").expect("it is well-formed")),
            Refused("module"),
            CHECK,
        ),
        Kind::new(
            "precompiled",
            "is native code",
            Load(|| [b"\x7fELF\x02\x01\x01\x00".as_slice(), &[0; 500]].concat()),
            Refused(""),
            CHECK,
        ),
        Kind::new("other-world", "is a command", Load(command), Refused("does not export"), CHECK),
        Kind::new(
            "wrong-run",
            "exports a `run` of another type",
            Load(wrong_run),
            Refused("right type"),
            "the check of types",
        ),
        Kind::new(
            "unknown-import",
            "imports what there is not",
            Load(|| importing(r#"(import "evil:host/process@1.0.0" (instance (export "spawn" (func))))"#)),
            Refused("does not have"),
            CHECK,
        ),
        Kind::new(
            "unfit-import",
            "imports a function by another type",
            Load(|| {
                importing(r#"(import "wasi:cli/exit@0.2.0" (instance (export "exit" (func (param "status" string)))))"#)
            }),
            Refused("does not fit"),
            "the check of types",
        ),
        Kind::new(
            "start-loops",
            "computes for ever in its start function",
            Load(|| starting("(loop $again (br $again))")),
            Refused("does not start"),
            TRIAL,
        )
        .at_most(SLOW),
        Kind::new(
            "start-traps",
            "traps in its start function",
            Load(|| starting("unreachable")),
            Refused("does not start"),
            TRIAL,
        ),
        Kind::new(
            "start-debug-nested",
            "traps in its start function, with debug information that is nested 100,000 times",
            Load(|| starting_with(&nested_debug_information(), "unreachable")),
            Refused("does not start"),
            "debug information is not read",
        ),
        Kind::new(
            "forged-module",
            "traps at its start in a module named like a line of log",
            Load(forged),
            Refused("does not start"),
            "texts are cleaned and cut",
        ),
        Kind::new(
            "start-allocates",
            "asks for 4 GiB in its start function",
            Load(|| starting("(drop (memory.grow (i32.const 65535)))")),
            Refused("does not start"),
            "`limits.memory`",
        ),
        Kind::new(
            "many-memories",
            "has 41 memories",
            Load(memories),
            Refused("more than this host gives"),
            "4 memories a component",
        ),
        Kind::new(
            "many-instances",
            "has 2,000 core instances",
            Load(instances),
            Refused("more than this host gives"),
            "64 core instances a component",
        ),
        Kind::new(
            "many-elements",
            "has 44 instances of 200,000 elements that are in no table",
            Load(many_elements),
            Refused("an instance takes 135 MiB beside its memories and tables"),
            "`limits.memory`, of which they are",
        )
        .at_most(SLOW),
        Kind::new(
            "nested-instances",
            "instantiates a component 800 times within one that is instantiated 400 times",
            Load(nested_instances),
            Refused("instances of components; 1000 are the most"),
            CHECK,
        ),
        Kind::new(
            "many-stacks",
            "is asynchronous, and has 160 parts that can each have a call wait on a stack of its own",
            Load(|| waiting::component(160, 1)),
            Refused("162 parts that can be called, being asynchronous; 8 are the most"),
            CHECK,
        ),
        Kind::new(
            "many-tables",
            "has 99 tables",
            Load(tables),
            Refused("more than this host gives"),
            "48 tables a component",
        ),
        Kind::new(
            "memory-minimum",
            "begins with a memory of 4 GiB",
            Load(|| {
                Parts { more: "(core module $m (memory 65536)) (core instance (instantiate $m))", ..Parts::default() }
                    .build()
            }),
            Refused("more than this host gives"),
            "`limits.memory`",
        ),
        Kind::new("bomb-locals", "has a function with 20,000 locals", Load(locals), Bounded, COMPILE).at_most(1),
        Kind::new("bomb-branches", "has a branch to 60,000 places", Load(branches), Bounded, COMPILE).at_most(1),
        Kind::new("bomb-nested", "has 5,000 blocks within each other", Load(nested), Bounded, COMPILE).at_most(1),
        Kind::new("bomb-functions", "has 100,000 functions", Load(functions), Bounded, COMPILE).at_most(1),
        Kind::new("bomb-data", "has 20 MiB of data", Load(data), Bounded, COMPILE).at_most(1),
        Kind::new(
            "describe-loops",
            "computes for ever where it is asked what it is",
            Load(|| described("(loop $again (br $again)) (i32.const 16)")),
            Undescribed,
            TRIAL,
        )
        .at_most(SLOW),
        Kind::new(
            "describe-traps",
            "traps where it is asked what it is",
            Load(|| described("unreachable")),
            Undescribed,
            TRIAL,
        ),
        Kind::new(
            "describe-grows",
            "asks for all memory where it is asked what it is",
            Load(|| described("(loop $again (drop (memory.grow (i32.const 1))) (br $again)) (i32.const 16)")),
            Undescribed,
            "`limits.memory`",
        ),
        Kind::new(
            "describe-huge",
            "says 100 MB of itself",
            Load(|| {
                described(
                    "(i32.store (i32.const 16) (i32.const 0)) (i32.store (i32.const 20) (i32.const 100000000)) (i32.const 16)",
                )
            }),
            Undescribed,
            "the canonical ABI's checks",
        ),
        Kind::new(
            "describe-long",
            "says 300 KiB of itself",
            Load(|| describing(&format!(r#"{{"title": "{}"}}"#, "x".repeat(300 << 10)))),
            Undescribed,
            "256 KiB",
        ),
        Kind::new(
            "describe-nonsense",
            "says what is no JSON",
            Load(|| describing("{\"title\": \x1b[31m")),
            Undescribed,
            "the parser",
        ),
        Kind::new(
            "describe-deep",
            "says JSON of 100,000 levels",
            Load(|| describing(&"[".repeat(100_000))),
            Undescribed,
            "the parser's 128 levels",
        ),
        Kind::new(
            "schema-elsewhere",
            "has a schema that refers to another server",
            Load(|| describing(r#"{"payload_schema": {"$ref": "http://127.0.0.1:1/x"}}"#)),
            Bounded,
            "schemas are not fetched",
        ),
        Kind::new(
            "schema-branching",
            "has a schema that doubles at each level",
            Load(|| describing(&branching_schema())),
            Bounded,
            "schemas are compiled once a definition",
        )
        .at_most(SLOW),
        Kind::new(
            "schema-pattern",
            "has a pattern that takes for ever on common engines",
            Load(|| describing(r#"{"payload_schema": {"type": "string", "pattern": "^(a+)+$"}}"#)),
            Bounded,
            "patterns run in linear time",
        ),
    ]
}
