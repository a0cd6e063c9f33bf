//! What the cases share: components that are hard to compile, and looks at plugins and processes.

use std::fmt::Write as _;
use std::path::Path;

use crate::common::{Host, Value, until};
use reqwest::Method;

/// Puts a file there as a careful person does: under another name first.
pub fn put(host: &Host, name: &str, content: &[u8]) {
    let temporary = host.plugins().join(".new");
    std::fs::write(&temporary, content).unwrap();
    std::fs::rename(temporary, host.plugins().join(name)).unwrap();
}

/// The plugin, once it is as wanted.
pub async fn plugin_when(host: &Host, name: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    until(what, || async {
        let answer = host.ask(Method::GET, &format!("/v1/plugins/{name}"), None).await;
        let plugin: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        is_so(&plugin).then_some(plugin)
    })
    .await
}

/// The plugin, once it serves and nothing is wrong with it.
pub async fn ready(host: &Host, name: &str) -> Value {
    plugin_when(host, name, &format!("{name} is ready"), |plugin| {
        plugin["state"] == "ready" && plugin["load_error"].is_null() && plugin["loading"].is_null()
    })
    .await
}

/// The plugin, once its load error says that.
pub async fn refused(host: &Host, name: &str, told: &str) -> Value {
    plugin_when(host, name, &format!("{name} is refused: {told}"), |plugin| {
        plugin["load_error"]["summary"].as_str().is_some_and(|summary| summary.contains(told))
    })
    .await
}

/// What looks like a plugin from outside, with that module in it.
fn with_module(module: &str) -> Vec<u8> {
    let text = format!(
        r#"(component {module}
            (core module $m (func (export "f"))) (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f"))) (instance $h (export "run" (func $f)))
            (export "windlass:plugin/handler@0.1.0" (instance $h)))"#
    );
    wat::parse_str(&text).unwrap()
}

/// One function with thousands of locals that all live from its first line to its last: half a MiB that keeps a compiler
/// busy for minutes.
pub fn slow_bomb(mark: usize) -> Vec<u8> {
    const LOCALS: usize = 9_000;
    let mut body = String::new();
    for n in 0..45_000 {
        let (a, b, c) = (n * 7 % LOCALS, (n * 13 + mark) % LOCALS, (n * 31 + 5) % LOCALS);
        write!(body, "(local.set {a} (i32.add (local.get {b}) (local.get {c})))").unwrap();
        if n % 50 == 0 {
            write!(body, "(br_if 0 (local.get {b}))").unwrap();
        }
    }
    with_module(&format!("(core module (func (export \"g\") (local {}) (loop {body})))", "i32 ".repeat(LOCALS)))
}

/// One function whose every jump hands thousands of values on: a table of 65,000 jumps, in all a hundred KiB.
pub fn hungry_bomb() -> Vec<u8> {
    const LOCALS: usize = 4_000;
    let mut body = String::new();
    for n in 0..LOCALS {
        write!(body, "(local.set {n} (i32.add (local.get {n}) (local.get {})))", (n + 1) % LOCALS).unwrap();
    }
    let jumps = "0 ".repeat(65_000);
    with_module(&format!(
        "(core module (func (export \"g\") (local {}) (loop {body} (br_table {jumps} 0 (local.get 0)))))",
        "i32 ".repeat(LOCALS)
    ))
}

/// The host's compilers at this moment, by process id.
pub fn compilers(host: &Host) -> Vec<u32> {
    let parent = host.pid().as_raw_nonzero().get().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| stat(*id).is_some_and(|stat| stat[1] == parent && stat[0] != "Z")).collect()
}

/// The fields of `/proc/ID/stat` behind the name: state, parent, process group and so on.
pub fn stat(id: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// Waits until the host compiles, and answers by which process.
pub async fn compiler(host: &Host) -> u32 {
    until("the host compiles", || async { compilers(host).first().copied() }).await
}

/// Waits until that process is gone.
pub async fn gone(id: u32) {
    let is_gone = || stat(id).is_none_or(|stat| stat[0] == "Z");
    until("the compiler is gone", || async { is_gone().then_some(()) }).await;
}

/// Kills a process by its id.
pub fn kill(id: u32) {
    let pid = rustix::process::Pid::from_raw(id.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Makes a named pipe.
pub fn pipe(path: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}
