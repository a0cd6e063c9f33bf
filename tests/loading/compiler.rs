//! Compiling in a process of its own: bounded, ended with whatever wanted it, and noticed by nobody.

use std::process::{Command, Stdio};

use crate::common::{Host, Setup, guests, json, until};
use crate::support::{compiler, compilers, gone, hungry_bomb, kill, plugin_when, put, ready, refused, slow_bomb, stat};
use reqwest::Method;

async fn serves(host: &Host, name: &str) {
    let job = host.ended(&host.enqueue(json!({"plugin": name, "payload": 7})).await).await;
    assert_eq!((&job["state"], &job["result"]), (&json!("completed"), &json!(7)), "{job:#}");
}

/// A bomb over a plugin that serves: refused with the limit, and nothing else changes.
async fn is_refused(settings: &str, bomb: Vec<u8>, told: &str, key: &str) {
    let host = Setup::default().config(&format!("[plugins]\ncompile = {settings}")).guest("echo", "").start().await;
    let good = ready(&host, "echo").await["revision"].clone();
    put(&host, "echo.wasm", &bomb);
    compiler(&host).await;
    serves(&host, "echo").await;
    let plugin = refused(&host, "echo", told).await;
    assert_eq!((&plugin["revision"], &plugin["state"]), (&good, &json!("ready")), "{plugin:#}");
    let help = plugin["load_error"]["help"].as_str().unwrap();
    assert!(help.contains("[plugins] compile") && help.contains(key), "{help}");
    until("no compiler is left", || async { compilers(&host).is_empty().then_some(()) }).await;
    serves(&host, "echo").await;
    put(&host, "next.wasm", &guests::variant(&guests::component("echo"), "next"));
    ready(&host, "next").await;
    serves(&host, "next").await;
}

#[tokio::test]
async fn a_component_that_takes_for_ever_to_compile_is_refused_by_its_cpu_time() {
    is_refused(r#"{ cpu = "4s" }"#, slow_bomb(0), "its 4s of CPU time", "cpu = ").await;
}

#[tokio::test]
async fn a_component_that_takes_for_ever_to_compile_is_refused_by_its_wall_time() {
    is_refused(r#"{ wall = "8s" }"#, slow_bomb(1), "its 8s of wall time", "wall = ").await;
}

#[tokio::test]
async fn a_component_that_eats_memory_when_it_is_compiled_is_refused() {
    is_refused(r#"{ memory = "512MiB" }"#, hungry_bomb(), "its 512MiB of memory", "memory = ").await;
}

#[tokio::test]
async fn over_http_the_same_is_answered_to_who_put_it() {
    let host = Setup::default().config("[plugins]\ncompile = { cpu = \"2s\" }").start().await;
    let put = host.client.put(format!("{}/v1/plugins/bomb", host.base)).body(slow_bomb(2)).send().await.unwrap();
    assert_eq!(put.status(), 422);
    let problem = put.text().await.unwrap();
    assert!(problem.contains("2s of CPU time"), "{problem}");
    assert!(!host.plugins().join("bomb.wasm").exists());
}

#[tokio::test]
async fn whoever_is_gone_is_compiled_for_no_longer() {
    let host = Setup::default().start().await;
    // Another file.
    put(&host, "echo.wasm", &slow_bomb(3));
    let first = compiler(&host).await;
    put(&host, "echo.wasm", &guests::component("echo"));
    gone(first).await;
    ready(&host, "echo").await;
    // No file.
    for by_hand in [true, false] {
        put(&host, "bomb.wasm", &slow_bomb(4));
        let id = compiler(&host).await;
        plugin_when(&host, "bomb", "it is seen to be loading", |plugin| plugin["state"] == "loading").await;
        if by_hand {
            std::fs::remove_file(host.plugins().join("bomb.wasm")).unwrap();
        } else {
            assert_eq!(host.ask(Method::DELETE, "/v1/plugins/bomb", None).await.status(), 204);
        }
        gone(id).await;
        until("it is forgotten", || async {
            (host.ask(Method::GET, "/v1/plugins/bomb", None).await.status() == 404).then_some(())
        })
        .await;
    }
    serves(&host, "echo").await;
}

#[tokio::test]
async fn no_compiler_outlives_its_host() {
    let mut host = Setup::default().start().await;
    put(&host, "bomb.wasm", &slow_bomb(5));
    let id = compiler(&host).await;
    host.kill();
    gone(id).await;
    // The same where the host is asked to stop, which does not wait for it either.
    host.start().await;
    let id = compiler(&host).await;
    host.signal(rustix::process::Signal::TERM);
    assert_eq!(host.exited().await, 0);
    gone(id).await;
}

#[tokio::test]
async fn a_compiler_that_was_killed_by_hand_is_told_and_tried_again_by_itself() {
    let host = Setup::default().config("[plugins]\nscan = \"500ms\"").start().await;
    put(&host, "bomb.wasm", &slow_bomb(6));
    kill(compiler(&host).await);
    let plugin = refused(&host, "bomb", "its compiler was killed").await;
    assert_eq!(plugin["load_error"]["cause"], "host", "{plugin:#}");
    assert!(plugin["load_error"]["help"].as_str().unwrap().contains("tries it again by itself"), "{plugin:#}");
    compiler(&host).await;
}

#[tokio::test]
async fn the_compiler_gives_up_whatever_it_does_not_need() {
    let host = Setup::default().config("[plugins]\ncompile = { cpu = \"77s\", memory = \"1GiB\" }").start().await;
    put(&host, "bomb.wasm", &slow_bomb(7));
    let id = compiler(&host).await;
    let proc = |name: &str| std::fs::read_to_string(format!("/proc/{id}/{name}")).unwrap();
    let limits = until("the compiler has bounded itself", || async {
        Some(proc("limits")).filter(|limits| limits.contains(&(1_u64 << 30).to_string()))
    })
    .await;
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(limit("Max cpu time"), "77");
    assert_eq!(limit("Max address space"), (1_u64 << 30).to_string());
    assert_eq!(limit("Max core file size"), "0");
    assert_eq!(limit("Max file size"), (512_u64 << 20).to_string());
    assert!(limit("Max open files").parse::<u32>().unwrap() <= 16);
    let status = proc("status");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert_eq!(proc("environ"), "MIMALLOC_ARENA_RESERVE=0\0", "nothing but how its allocator is to be modest");
    assert_eq!(proc("oom_score_adj").trim(), "1000");
    let fields = stat(id).unwrap();
    assert_eq!(fields[2], id.to_string(), "it has a process group of its own");
    assert!(fields[16].parse::<i32>().unwrap() >= 10, "it gives way: {fields:?}");
    let open = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().flatten();
    let held: Vec<_> = open.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
    assert!(held.iter().all(|file| file.to_string_lossy().starts_with("/memfd:")), "{held:?}");
    // One that has worked for long gives way to everybody.
    until("it has sunk", || async {
        let sunk = std::fs::read_dir(format!("/proc/{id}/task")).ok()?.flatten().all(|task| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(')').is_some_and(|(_, rest)| rest.split_whitespace().nth(16) == Some("19"))
        });
        sunk.then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_subcommand_is_of_no_use_by_hand() {
    let host = Setup::default().start().await;
    let output = host.command(&["compile-component"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("of no use by hand"));
    let help = host.command(&["--help"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&help.stdout).contains("compile-component"));
}

#[tokio::test]
async fn a_host_whose_program_was_replaced_on_disk_compiles_with_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("windlass");
    std::fs::copy(env!("CARGO_BIN_EXE_windlass"), &program).unwrap();
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let mut serve = Command::new(&program);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]).current_dir(dir.path());
    let mut child = serve.stderr(log).spawn().unwrap();
    let logged = |what: &'static str| {
        let path = dir.path().join("log");
        async move { std::fs::read_to_string(path).unwrap().contains(what).then_some(()) }
    };
    until("it is ready", || logged("windlass is ready")).await;
    std::fs::remove_file(&program).unwrap();
    std::fs::write(&program, "#!/bin/sh\nexit 3\n").unwrap();
    std::fs::write(dir.path().join("plugins/echo.wasm"), guests::component("echo")).unwrap();
    until("its plugin serves", || logged("a component serves")).await;
    child.kill().unwrap();
    child.wait().unwrap();
}
