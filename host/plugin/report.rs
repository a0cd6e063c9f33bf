//! Why a component is no plugin, told to its author. wasmtime's own texts speak of instances and linkers.

use crate::config::{Compile, PublicKey};
use crate::job::units::ByteSize;

use super::bindings::{HANDLER, PACKAGE, VERSION};
use super::folder::ReadError;
use super::load_error::Unusable;
use super::{LoadCause, LoadError, lack, text};

/// The longest summary.
const SUMMARY_BYTES_MAX: usize = 1 << 10;

const BUILD: &str = "build a component: in Rust `cargo build --target wasm32-wasip2`, in other languages with the \
                     component tool of that language";

/// What is the matter of the component, or of a file beside it.
fn error(summary: &str, help: &str) -> LoadError {
    let help = (!help.is_empty()).then(|| help.to_owned());
    LoadError { summary: text::line(summary, SUMMARY_BYTES_MAX), help, cause: LoadCause::Files }
}

/// What is the host's own matter. What to do depends on who asked for it: see below.
fn hosts_own(summary: &str) -> LoadError {
    LoadError { cause: LoadCause::Host, ..error(summary, "") }
}

/// The same error, of a file in the folder: where it is the host's own, nobody has to do anything.
pub(super) fn in_folder(error: LoadError) -> LoadError {
    let help = "nothing has to be done to the file: the host tries it again by itself as it looks through the folder, \
                after a second at first, at last every few minutes";
    where_hosts_own(error, help)
}

/// The same error, of what somebody handed over: where it is the host's own, nobody but them tries it again.
pub(super) fn handed_over(error: LoadError) -> LoadError {
    where_hosts_own(error, "this says nothing against the component: try it again")
}

fn where_hosts_own(error: LoadError, what_to_do: &str) -> LoadError {
    if !error.is_hosts_own() {
        return error;
    }
    let help = error.help.into_iter().chain([what_to_do.to_owned()]);
    LoadError { help: Some(help.collect::<Vec<_>>().join("; ")), ..error }
}

/// The file is something else altogether.
pub(super) fn not_wasm(bytes: &[u8]) -> LoadError {
    if bytes.is_empty() {
        return error("the file is empty", "");
    }
    let opening = bytes.trim_ascii_start();
    if opening.starts_with(b"(component") || opening.starts_with(b"(module") {
        return error(
            "this is WebAssembly as text",
            "turn it into the binary form: `wasm-tools parse in.wat -o out.wasm`",
        );
    }
    error("this is not WebAssembly", BUILD)
}

/// The file is machine code.
pub(super) fn precompiled() -> LoadError {
    error(
        "this is precompiled code (.cwasm), which is never loaded: it could do anything on this machine",
        "give the WebAssembly component that it was compiled from; Windlass compiles it and keeps the result",
    )
}

/// The file is a module, not a component.
pub(super) fn core_module() -> LoadError {
    error(
        "this is a core WebAssembly module, not a component",
        "in Rust build for wasm32-wasip2; of what a C, Zig or Go compiler wrote, make a component by `windlass plugin \
         wrap module.wasm -o plugin.wasm`",
    )
}

/// The file ends too early.
pub(super) fn truncated(at: usize) -> LoadError {
    error(
        &format!("the component is cut short: it ends after {at} bytes, in the middle of a section"),
        "copy it again; where it is still being written, it is taken up as soon as it is whole",
    )
}

/// The file breaks the format's rules.
pub(super) fn malformed(why: &str) -> LoadError {
    error(&format!("this is not a valid component: {why}"), BUILD)
}

/// The file is larger than is taken.
pub(super) fn too_large(bytes_max: u64) -> LoadError {
    error(&format!("the file is larger than {} MiB", bytes_max >> 20), "strip debug information from the component")
}

/// The world's export is missing.
pub(super) fn no_handler(exports: &[String]) -> LoadError {
    let instead = match exports {
        [] => "nothing".to_owned(),
        some => some.join(", "),
    };
    let about = |prefix: &str| exports.iter().any(|export| export.starts_with(prefix));
    let help = if about("wasi:cli/run") {
        "this is a command, with a main function; a plugin is a library (a reactor): in Rust `crate-type = [\"cdylib\"]`"
    } else if about("wasi:http/incoming-handler") || about("wasi:http/handler") {
        "this is an HTTP server; a plugin handles one job at a time"
    } else {
        "implement the interface `handler` of the world `plugin` in wit/plugin.wit"
    };
    error(&format!("the component does not export {HANDLER}; it exports {instead}"), help)
}

/// One of our own interfaces is wanted in a version that this host does not have.
pub(super) fn other_version(what: &str, wanted: &str) -> LoadError {
    error(
        &format!("the component was built for {PACKAGE} {wanted} ({what}), this host has {VERSION}"),
        &format!("build it against the wit/ of this host, or run a host that has {PACKAGE} {wanted}"),
    )
}

/// The component is of the next WASI.
pub(super) fn wasi_03(import: &str) -> LoadError {
    error(
        &format!("the component imports {import}: the interfaces of WASI 0.3 are not in this host yet"),
        "an asynchronous component runs, but what it imports must be of WASI 0.2: build it for wasm32-wasip2 in Rust, \
         for the 0.2 target in other languages",
    )
}

/// The component wants what nobody here has.
pub(super) fn unknown_imports(imports: &[String]) -> LoadError {
    error(
        &format!("the component imports what this host does not have: {}", imports.join(", ")),
        "a plugin may import windlass:plugin (config, log, http), wasi:http/outgoing-handler and the interfaces of \
         wasi:cli, all of WASI 0.2; link what else it needs into the component",
    )
}

/// An import has a function that is not here, or is another here.
pub(super) fn unfit_import(why: &str) -> LoadError {
    error(
        &format!("an import does not fit what this host has: {why}"),
        "the component was built against another version of an interface: build it against the wit/ of this host",
    )
}

/// The function has another type than the world says.
pub(super) fn wrong_type(why: &str) -> LoadError {
    error(
        &format!("the component exports {HANDLER}, but its `run` is not of the right type: {why}"),
        "it was built against a changed copy of wit/plugin.wit: build it against the one of this host",
    )
}

/// What wasmtime says of a component: what breaks our limits is told from what breaks the format's rules.
pub(super) fn refusal(why: &str) -> LoadError {
    if is_demanding(why) { too_demanding(why) } else { malformed(why) }
}

/// Whether that is about limits.
pub(super) fn is_demanding(why: &str) -> bool {
    why.contains("exceeds") || why.contains("limit")
}

/// The component is larger than a slot for it.
pub(super) fn too_demanding(why: &str) -> LoadError {
    error(
        &format!("the component asks for more than this host gives: {why}"),
        "raise limits.memory in windlass.toml where it is memory; else link fewer libraries into it",
    )
}

/// An instance takes more of the host than its memories and tables may.
pub(super) fn too_large_an_instance(bytes: u64, most: ByteSize) -> LoadError {
    too_demanding(&format!(
        "an instance takes {} MiB beside its memories and tables, which is over limits.memory, {most}",
        bytes.div_ceil(1 << 20)
    ))
}

/// There is more of something than any plugin needs.
pub(super) fn oversized(what: &str, count: u64, most: u64) -> LoadError {
    error(
        &format!("the component has {count} {what}; {most} are the most"),
        "no compiler makes so much of one program: link fewer libraries into it, or split generated code",
    )
}

/// A part of the component is instantiated that is only known when the component is.
pub(super) fn handed_component() -> LoadError {
    error(
        "the component instantiates a component that it is handed, so that nobody can tell how large it is",
        "no compiler makes that: compose it of components that it has within it",
    )
}

/// The trial start failed.
pub(super) fn no_start(why: &str) -> LoadError {
    error(
        &format!("the component does not start: {why}"),
        "it is started once with nothing granted and little time: its initialisation must need neither",
    )
}

/// Compiling took more CPU time than is given.
pub(super) fn compile_cpu(bounds: &Compile) -> LoadError {
    let summary = format!("compiling the component took more than its {} of CPU time", bounds.cpu);
    error(&summary, &raise("cpu", &bounds.cpu))
}

/// Compiling took longer than is given.
pub(super) fn compile_wall(bounds: &Compile) -> LoadError {
    let summary = format!("compiling the component took longer than its {} of wall time", bounds.wall);
    error(&summary, &raise("wall", &bounds.wall))
}

/// Compiling took more memory than is given.
pub(super) fn compile_memory(bounds: &Compile) -> LoadError {
    let summary = format!("compiling the component took more than its {} of memory", bounds.memory);
    error(&summary, &raise("memory", &bounds.memory))
}

fn raise(key: &str, now: &dyn std::fmt::Display) -> String {
    format!(
        "a component of this size needs less: look at where it comes from; if it is to be trusted, raise `[plugins] \
         compile = {{ {key} = \"…\" }}` in windlass.toml, which is {now}"
    )
}

/// The compiled code is larger than is taken.
pub(super) fn compile_code(bytes_max: u64) -> LoadError {
    error(
        &format!("the component makes more than {} MiB of compiled code", bytes_max >> 20),
        "link fewer libraries into it",
    )
}

/// The compiler's stack was too small.
pub(super) fn compile_depth() -> LoadError {
    error("the component's code is nested too deeply to be compiled", "split its deepest functions or types")
}

/// Compiling took longer than is given, of which the machine had not half for it.
pub(super) fn compile_starved(bounds: &Compile) -> LoadError {
    hosts_own(&format!(
        "the component was not compiled within {} of wall time: the machine had too little time for it to use up its {} \
         of CPU time",
        bounds.wall, bounds.cpu
    ))
}

/// Somebody ended the compiler: a person, or a system that is short of memory.
pub(super) fn compile_killed() -> LoadError {
    hosts_own("the component was not compiled: its compiler was killed, by hand or by a system that is short of memory")
}

/// The compiler crashed over the component.
pub(super) fn compiler_broke(how: &str, words: &str) -> LoadError {
    error(
        &format!("the compiler broke over the component: {how}; its last words: {words}"),
        "please report this with the component; touch the file to have it compiled once more",
    )
}

/// The compiler is not of the host's own build. A restart mends that, and no other try.
pub(super) fn other_compiler() -> LoadError {
    error("the compiler's settings are not those of the host", "start the host anew")
}

/// The host broke off over the component, and would again.
pub(super) fn host_broke(what: &str) -> LoadError {
    error(
        &format!("the host could not load the component: {what} panicked; the log says where"),
        "please report this with the component; touch the file, or put it in again, to have it loaded once more",
    )
}

/// The host could not do its part.
pub(super) fn host_failed(why: &str) -> LoadError {
    hosts_own(&format!("the host could not load the component: {why}"))
}

/// Another component than the one that the operator named.
pub(super) fn not_pinned(name: &str, digest: &str, pinned: &str) -> LoadError {
    error(
        &format!("the component's sha256 is {digest}; {name}.toml takes {pinned} alone"),
        &format!("put the component of that sha256 back, or change `sha256` in {name}.toml"),
    )
}

/// A signature is asked for and there is none.
pub(super) fn unsigned(name: &str) -> LoadError {
    error(
        &format!("there is no signature for the component, and one is asked for: {name}.wasm.sig is not there"),
        &sign(name),
    )
}

/// What should be signatures cannot be read.
pub(super) fn bad_signature(name: &str, unusable: &Unusable) -> LoadError {
    let summary = format!("the component's signature, {name}.wasm.sig, cannot be read: {}", unusable.why);
    match unusable.cause {
        LoadCause::Files => error(&summary, &sign(name)),
        LoadCause::Host => hosts_own(&summary),
    }
}

/// No signature is by a key that may sign.
pub(super) fn wrong_signature(name: &str, digest: &str, keys: &[PublicKey]) -> LoadError {
    let keys: Vec<_> = keys.iter().take(4).map(ToString::to_string).collect();
    error(
        &format!(
            "the component's signature is by none of the keys that may sign, or is of another component or another \
             name: it must be of {digest} as {name}, by {}",
            keys.join(" or ")
        ),
        &sign(name),
    )
}

/// The two lists of keys have nothing in common.
pub(super) fn no_common_signer(name: &str) -> LoadError {
    error(
        &format!(
            "none of the keys in its file {name}.toml may sign: `[plugins] signed_by` in windlass.toml has others"
        ),
        "a plugin's list only narrows the host's: name a key that is in both",
    )
}

fn sign(name: &str) -> String {
    format!(
        "sign it by `windlass plugin sign --key FILE {name}.wasm`, which writes {name}.wasm.sig, with a key that \
         `signed_by` names; over HTTP, send the signature in the header Windlass-Signature"
    )
}

/// The file keeps changing.
pub(super) fn restless(file_name: &str, secs: u64) -> LoadError {
    error(
        &format!("{file_name} is still being written: it has not been the same for a moment in {secs} s"),
        "it is taken up once it has been still for 100 ms: end what writes to it, or copy it beside and rename it",
    )
}

/// The file was found and not read.
pub(super) fn not_read(why: &ReadError) -> LoadError {
    match why {
        ReadError::Io(error) if lack::may_pass(error) => hosts_own(&format!("the file cannot be read: {error}")),
        ReadError::Io(error) => unreadable(error),
        other => refused_file(&other.to_string()),
    }
}

/// The file cannot be taken for what it is: a pipe, a folder, a link that leads away.
pub(super) fn refused_file(why: &str) -> LoadError {
    error(&format!("the file is not loaded: {why}"), "put a plain file into the plugins folder")
}

/// The system does not let us read the file.
fn unreadable(why: &std::io::Error) -> LoadError {
    error(&format!("the file cannot be read: {why}"), "let the user that runs the host read it")
}

/// The file of grants does not hold what it should, or what it names cannot be had.
pub(super) fn bad_grants(unusable: &Unusable, has_older: bool) -> LoadError {
    let help = if has_older {
        "what the file last said goes on"
    } else {
        "its jobs wait until the file is right: without it nothing would bound them"
    };
    LoadError { cause: unusable.cause, ..error(&unusable.why, help) }
}

/// The file that may keep the component out is not at rest.
pub(super) fn restless_grants(name: &str) -> LoadError {
    hosts_own(&format!("{name}.toml is being written: what it asks of a component is not known before it is whole"))
}

/// The name is none of a plugin.
pub(super) fn bad_name(name: &str) -> LoadError {
    error(&format!("{name:?} is no name of a plugin"), "a name is 1 to 63 of a-z, 0-9 and -, and does not begin with -")
}

/// There is no room for one more.
pub(super) fn too_many(plugins_max: usize) -> LoadError {
    let summary = format!("there are {plugins_max} plugins in the folder, as many as there may be");
    error(&summary, "remove one that is not needed, with its file of grants")
}
