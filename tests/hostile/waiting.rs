//! An asynchronous component that has many calls of its own parts wait at once, each on a stack of its own. The host's own
//! tests have it too.

/// The types of the world, as a component imports them.
const TYPES: &str = include_str!("types.wat");
/// Its memory.
const LIBC: &str = include_str!("libc.wat");

/// What it waits with.
const CLOCK: &str = r#"
(import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type $p (sub resource)))
  (export "[method]pollable.block" (func (param "self" (borrow $p))))))
(alias export $poll "pollable" (type $pollable))
(import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
  (alias outer 1 $pollable (type $q'))
  (export "pollable" (type $q (eq $q')))
  (export "subscribe-duration" (func (param "when" u64) (result (own $q))))))"#;

/// One that never answers, and one that waits for it: it has a stack for as long.
const PARTS: &str = r#"
(component $Never
  (core module $m
    (import "" "new" (func $new (result i32)))
    (func (export "never") (result i32) (i32.or (i32.shl (call $new) (i32.const 4)) (i32.const 2)))
    (func (export "callback") (param i32 i32 i32) (result i32) unreachable))
  (core func $new (canon waitable-set.new))
  (core instance $m (instantiate $m (with "" (instance (export "new" (func $new))))))
  (func (export "never") async (canon lift (core func $m "never") async (callback (core func $m "callback")))))
(component $Waits
  (import "never" (func $never async))
  (core func $lowered (canon lower (func $never)))
  (func (export "wait") async (canon lift (core func $lowered))))
(instance $never (instantiate $Never))"#;

/// With a payload of more than a hundred bytes it has so many calls wait, and then waits itself for so long; with a shorter
/// one it answers at once.
pub fn component(calls: usize, ms: u64) -> Vec<u8> {
    let each = |text: &str| (0..calls).map(|n| text.replace('#', &n.to_string())).collect::<String>();
    let text = format!(
        r#"(component {TYPES} {CLOCK} {PARTS} {instances}
(component $Main {TYPES} {CLOCK} {imports}
{LIBC}  (core func $any (canon waitable-set.new))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core module $main
    (import "libc" "memory" (memory 1))
    (import "host" "block" (func $block (param i32)))
    (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
    {core_imports}
    (func (export "run")
      (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
      (if (i32.lt_u (local.get 9) (i32.const 100)) (then (return (i32.const 1024))))
      {made}
      (call $block (call $subscribe (i64.const {ms}000000)))
      (i32.const 1024)))
  (core instance $host (export "block" (func $block)) (export "subscribe" (func $subscribe)) {exports})
  (core instance $main (instantiate $main (with "libc" (instance $libc)) (with "host" (instance $host))))
  (func $run (param "job" $job) (result (result $completion (error $failure)))
    (canon lift (core func $main "run") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (instance $handler (export "run" (func $run)))
  (export "windlass:plugin/handler@0.1.0" (instance $handler)))
(instance $main (instantiate $Main
  (with "windlass:plugin/types@0.1.0" (instance $types)) (with "windlass:plugin/config@0.1.0" (instance $config))
  (with "wasi:io/poll@0.2.0" (instance $poll)) (with "wasi:clocks/monotonic-clock@0.2.0" (instance $clock)) {passed}))
(alias export $main "windlass:plugin/handler@0.1.0" (instance $handler))
(export "windlass:plugin/handler@0.1.0" (instance $handler)))"#,
        instances = each(r#"(instance $w# (instantiate $Waits (with "never" (func $never "never"))))"#),
        imports = each(r##"(import "wait#" (func $w# async)) (core func $c# (canon lower (func $w#) async))"##),
        core_imports = each(r##"(import "host" "wait#" (func $c# (result i32)))"##),
        made = each("(drop (call $c#))"),
        exports = each(r##"(export "wait#" (func $c#))"##),
        passed = each(r##"(with "wait#" (func $w# "wait"))"##),
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}
