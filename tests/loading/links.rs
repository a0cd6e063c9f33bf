//! Links of the plugins folder, and the folder itself where it is one: what they lead to is taken up when it is another,
//! though nothing looks through the folder by itself.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::common::{Host, Setup, guests, json};
use crate::support::{plugin_when, put, ready};

/// Reports alone tell of a change.
const UNSCANNED: &str = "[plugins]\nscan = \"1h\"";

/// Waits until that component serves.
async fn serves(host: &Host, name: &str, component: &[u8]) {
    let digest = windlass::plugin::component_digest(component);
    plugin_when(host, name, "the other one serves", |plugin| plugin["revision"] == json!(digest)).await;
}

/// Gives a link, or a file, another meaning in one step.
fn replace(path: &Path, make: impl FnOnce(&Path)) {
    let beside = path.with_file_name("beside");
    make(&beside);
    fs::rename(beside, path).unwrap();
}

#[tokio::test]
async fn what_a_link_leads_to_is_taken_up_when_it_is_another() {
    let host = Setup::default().config(UNSCANNED).start().await;
    let [one, two, three] = ["one", "two", "three"].map(|mark| guests::variant(&guests::component("echo"), mark));
    let plugins = host.plugins();
    for release in ["v1", "v2"] {
        fs::create_dir_all(plugins.join("releases").join(release)).unwrap();
    }
    fs::write(plugins.join("releases/v1/echo.wasm"), &one).unwrap();
    fs::write(plugins.join("releases/v1/echo.toml"), "concurrency = 3").unwrap();
    fs::write(plugins.join("releases/v2/echo.wasm"), &three).unwrap();
    fs::write(plugins.join("releases/v2/echo.toml"), "concurrency = 5").unwrap();
    symlink("releases/v1", plugins.join("current")).unwrap();
    symlink("current/echo.toml", plugins.join("echo.toml")).unwrap();
    symlink("current/echo.wasm", plugins.join("echo.wasm")).unwrap();
    serves(&host, "echo", &one).await;
    // The target itself.
    replace(&plugins.join("releases/v1/echo.wasm"), |path| fs::write(path, &two).unwrap());
    serves(&host, "echo", &two).await;
    fs::write(plugins.join("releases/v1/echo.toml"), "concurrency = 4").unwrap();
    plugin_when(&host, "echo", "the edit is obeyed", |plugin| plugin["concurrency"] == 4).await;
    // A link on the way, and a folder that it leads to.
    replace(&plugins.join("current"), |path| symlink("releases/v2", path).unwrap());
    serves(&host, "echo", &three).await;
    fs::rename(plugins.join("releases/v2"), plugins.join("releases/v3")).unwrap();
    fs::rename(plugins.join("releases/v1"), plugins.join("releases/v2")).unwrap();
    serves(&host, "echo", &two).await;
}

#[tokio::test]
async fn the_folder_may_be_a_link_that_comes_to_lead_elsewhere() {
    let mut host = Setup::default().config(UNSCANNED).guest("echo", "").start().await;
    host.kill();
    let (plugins, other) = (host.plugins(), guests::variant(&guests::component("echo"), "other"));
    fs::rename(&plugins, host.dir().join("v1")).unwrap();
    symlink("v1", &plugins).unwrap();
    fs::create_dir(host.dir().join("v2")).unwrap();
    fs::write(host.dir().join("v2/echo.wasm"), &other).unwrap();
    host.start().await;
    ready(&host, "echo").await;
    replace(&plugins, |path| symlink("v2", path).unwrap());
    serves(&host, "echo", &other).await;
    // The new one is watched as the old one was.
    put(&host, "echo.wasm", &guests::component("echo"));
    serves(&host, "echo", &guests::component("echo")).await;
}
