//! What is no plugin, and what its author is told; and the cache of compiled code.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::plugin::{CheckSteps, LoadError};

use super::super::cache::{Cache, key_of};
use super::super::testing::{Bench, component, echo};
use super::*;

fn wat(text: &str) -> Bytes {
    wat::parse_str(text).unwrap().into()
}

async fn refused(bench: &Bench, component: Bytes) -> LoadError {
    let error = bench.load(component).await.unwrap_err();
    assert!(!error.summary.contains('\n'), "{error}");
    error
}

#[tokio::test]
async fn each_mistake_is_told_in_its_own_words() {
    let bench = Bench::new();
    let whole = echo();
    for (component, told) in [
        (Bytes::new(), "empty"),
        (Bytes::from_static(b"MZ\x90\0 not wasm"), "not WebAssembly"),
        (Bytes::from_static(b"(component)"), "as text"),
        (wat("(module)"), "core WebAssembly module"),
        (whole.slice(..whole.len() / 2), "cut short"),
        (wat("(component)"), "does not export windlass:plugin/handler@0.1.0; it exports nothing"),
        (
            wat(r#"(component (import "acme:kv/store@1.0.0" (instance (export "get" (func)))))"#),
            "does not have: acme:kv/store@1.0.0",
        ),
        (wat(r#"(component (import "wasi:clocks/system-clock@0.3.0" (instance (export "now" (func)))))"#), "WASI 0.3"),
        (
            wat(r#"(component (import "windlass:plugin/log@0.2.0" (instance (export "log" (func)))))"#),
            "was built for windlass:plugin 0.2.0",
        ),
        (
            wat(r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
                (func $f (canon lift (core func $i "f"))) (instance $h (export "run" (func $f)))
                (export "windlass:plugin/handler@0.1.0" (instance $h)))"#),
            "its `run` is not of the right type",
        ),
        (
            wat(r#"(component (import "wasi:io/poll@0.2.0" (instance (export "later" (func))))
                (core module $m (func (export "f"))) (core instance $i (instantiate $m))
                (func $f (canon lift (core func $i "f"))) (instance $h (export "run" (func $f)))
                (export "windlass:plugin/handler@0.1.0" (instance $h)))"#),
            "an import does not fit",
        ),
        (component("(func $s unreachable) (start $s)", "", ""), "does not start"),
        (component("(func $s (loop $a (br $a))) (start $s)", "", ""), "CPU time"),
    ] {
        let error = refused(&bench, component).await;
        assert!(error.summary.contains(told), "wanted {told:?}, got {error:?}");
    }
}

#[tokio::test]
async fn more_memory_than_there_is_is_told_at_once() {
    let bench = Bench::new();
    let large = component("", "", "(core module $large (memory 1000)) (core instance (instantiate $large))");
    let error = refused(&bench, large).await;
    assert!(error.summary.contains("more than this host gives"), "{error:?}");
    assert!(error.help.unwrap().contains("limits.memory"));
}

#[tokio::test]
async fn precompiled_code_is_refused() {
    let bench = Bench::new();
    let code = bench.host.runtime.machine.engine.precompile_component(&echo()).unwrap();
    let error = refused(&bench, code.into()).await;
    assert!(error.summary.contains("precompiled"), "{error}");
}

#[tokio::test]
async fn a_revision_tells_what_it_is_made_of() {
    let bench = Bench::new();
    let revision = bench.load(echo()).await.unwrap();
    assert_eq!(revision.digest, digest::of(&echo()));
    assert_eq!(revision.exports, ["windlass:plugin/handler@0.1.0"]);
    assert!(revision.imports.contains(&"wasi:cli/exit@0.2.0".to_owned()));
    assert_eq!(revision.description, None);
    assert_eq!(revision.check_payload("text/plain", b"anything", &mut CheckSteps::for_jobs(1)), Ok(()));
}

fn artefacts(bench: &Bench) -> Vec<PathBuf> {
    let entries = fs::read_dir(bench.dir.path().join("cache")).unwrap();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().unwrap() == "cwasm").collect()
}

#[tokio::test]
async fn compiled_code_is_kept_and_damage_is_noticed() {
    let bench = Bench::new();
    assert_ne!(bench.load(echo()).await.unwrap().compile_time, Duration::ZERO);
    assert_eq!(bench.load(echo()).await.unwrap().compile_time, Duration::ZERO);
    let [artefact] = artefacts(&bench).try_into().unwrap();
    // A file of its own: the old one is still mapped.
    let mut code = fs::read(&artefact).unwrap();
    let middle = code.len() / 2;
    code[middle] ^= 1;
    fs::remove_file(&artefact).unwrap();
    fs::write(&artefact, code).unwrap();
    assert_ne!(bench.load(echo()).await.unwrap().compile_time, Duration::ZERO);
    assert_eq!(bench.load(echo()).await.unwrap().compile_time, Duration::ZERO);
}

#[tokio::test]
async fn the_cache_is_its_owners_alone_and_cleared_of_strangers() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new();
    let dir = bench.dir.path().join("cache");
    fs::write(dir.join("00-0123.cwasm"), b"of another engine").unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    Cache::open(dir.clone(), key_of(&dir).unwrap(), &bench.host.runtime.machine.engine).unwrap();
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(artefacts(&bench).is_empty());
}

#[tokio::test]
async fn large_components_leave_room_for_small_ones() {
    use futures_util::FutureExt as _;

    let compilations = Compilations::new();
    let large = compilations.permits(LARGE_BYTES).await;
    assert!(compilations.permits(LARGE_BYTES).now_or_never().is_none(), "the next large one waits");
    let small = compilations.permits(LARGE_BYTES - 1).now_or_never().expect("a small one does not");
    assert!(compilations.permits(1).now_or_never().is_none(), "every core has its work");
    drop(large);
    assert!(compilations.permits(LARGE_BYTES).now_or_never().is_some());
    drop(small);
}

#[tokio::test]
async fn components_made_of_components_are_taken() {
    // What stands between the two copies texts from one memory to another, as in components of JavaScript.
    let inner = r#"(component $inner
        (core module $m (memory (export "memory") 1) (func (export "take") (param i32 i32))
          (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8)))
        (core instance $m (instantiate $m))
        (func (export "take") (param "text" string)
          (canon lift (core func $m "take") (memory (core memory $m "memory")) (realloc (core func $m "realloc")))))"#;
    let outer = r#"(component $outer
        (import "take" (func $take (param "text" string)))
        (core module $m (memory (export "memory") 1))
        (core instance $m (instantiate $m))
        (core func $take (canon lower (func $take) (memory (core memory $m "memory"))))
        (core module $n (import "" "take" (func $take (param i32 i32)))
          (func (export "go") (call $take (i32.const 0) (i32.const 1))))
        (core instance $n (instantiate $n (with "" (instance (export "take" (func $take))))))
        (func (export "go") (canon lift (core func $n "go"))))"#;
    let more = format!(
        r#"{inner} {outer} (instance $inner (instantiate $inner))
           (instance $outer (instantiate $outer (with "take" (func $inner "take"))))"#
    );
    Bench::new().load(component("", "", &more)).await.unwrap();
}
