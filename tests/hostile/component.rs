//! Components made from text, whose parts can be replaced by hostile ones.

/// The types of the world, as a component imports them.
const TYPES: &str = include_str!("types.wat");
/// Its memory.
const LIBC: &str = include_str!("libc.wat");

/// The parts of a component that can be hostile. What is empty is as it should be.
#[derive(Default)]
pub struct Parts<'a> {
    /// Items of the component before its main module.
    pub before: &'a str,
    /// More that the main module may import from `host`, as `(export "name" (func $core))`.
    pub host: &'a str,
    /// Items of the main module.
    pub items: &'a str,
    /// What `run` does with a payload of more than a hundred bytes; with a shorter one it answers at once. Local 8 and 9
    /// are the payload's place and length; what is returned is the place of the answer.
    pub run: &'a str,
    /// What `realloc` does where it is asked for more than 2,000 bytes.
    pub realloc: &'a str,
    /// What is done after the answer was read.
    pub post_return: &'a str,
    /// Items of the component after its main module.
    pub more: &'a str,
}

/// The payload that makes a component do what it is there for.
pub fn go() -> String {
    "x".repeat(3_000)
}

impl Parts<'_> {
    /// The component.
    pub fn build(&self) -> Vec<u8> {
        wat::parse_str(self.text()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn text(&self) -> String {
        let Self { before, host, items, run, realloc, post_return, more } = self;
        let (post, option) = match post_return.is_empty() {
            true => (String::new(), ""),
            false => (
                format!("(func (export \"post\") (param i32) {post_return})"),
                "(post-return (core func $main \"post\"))",
            ),
        };
        let much = format!("(if (i32.gt_u (local.get 3) (i32.const 2000)) (then {realloc}))");
        let libc = LIBC.replace(";; first", &much);
        format!(
            r#"(component {TYPES}
{libc}
(core func $get (canon lower (func $config "get") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
{before}
(core module $main
  (import "libc" "memory" (memory 1))
  (import "host" "get" (func $get (param i32 i32 i32)))
  {items}
  (func $run (export "run")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (local $n i32)
    (if (i32.lt_u (local.get 9) (i32.const 100)) (then (return (i32.const 1024))))
    {run}
    (i32.const 1024))
  {post})
(core instance $host (export "get" (func $get)) {host})
(core instance $main (instantiate $main (with "libc" (instance $libc)) (with "host" (instance $host))))
{more}
(func $run (param "job" $job) (result (result $completion (error $failure)))
  (canon lift (core func $main "run") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc")) {option}))
(instance $handler (export "run" (func $run)))
(export "windlass:plugin/handler@0.1.0" (instance $handler)))"#
        )
    }
}

/// A component that describes itself by a function with that body, which returns the place of a pointer and a length.
pub fn described(describe: &str) -> Vec<u8> {
    let more = format!(
        r#"(core module $meta
  (import "libc" "memory" (memory 1))
  (func (export "describe") (result i32) (local $n i32) {describe}))
(core instance $meta (instantiate $meta (with "libc" (instance $libc))))
(func $describe (result string)
  (canon lift (core func $meta "describe") (memory (core memory $libc "memory"))))
(instance $metadata (export "describe" (func $describe)))
(export "windlass:plugin/metadata@0.1.0" (instance $metadata))"#
    );
    Parts { more: &more, ..Parts::default() }.build()
}

/// A component that describes itself by that text.
pub fn describing(text: &str) -> Vec<u8> {
    let bytes: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let more = format!(
        r#"(core module $meta
  (import "libc" "memory" (memory 1))
  (func $grow (drop (memory.grow (i32.const {pages}))))
  (data $text "{bytes}")
  (func (export "describe") (result i32)
    (call $grow)
    (memory.init $text (i32.const 65536) (i32.const 0) (i32.const {length}))
    (i32.store (i32.const 16) (i32.const 65536)) (i32.store (i32.const 20) (i32.const {length})) (i32.const 16)))
(core instance $meta (instantiate $meta (with "libc" (instance $libc))))
(func $describe (result string)
  (canon lift (core func $meta "describe") (memory (core memory $libc "memory"))))
(instance $metadata (export "describe" (func $describe)))
(export "windlass:plugin/metadata@0.1.0" (instance $metadata))"#,
        pages = text.len() / 65_536 + 1,
        length = text.len(),
    );
    Parts { more: &more, ..Parts::default() }.build()
}

/// A component whose main module holds one more function with that body.
pub fn bulky(items: &str) -> Vec<u8> {
    Parts { items, ..Parts::default() }.build()
}

/// A component that imports that instance beside what the world offers.
pub fn importing(import: &str) -> Vec<u8> {
    Parts { before: import, ..Parts::default() }.build()
}
