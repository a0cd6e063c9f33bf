//! The real binary.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::folder;
use crate::machine::Folder;

/// A plugin in the host's folder.
pub struct Dropped<'a> {
    /// The name of its files.
    pub name: &'a str,
    /// Its bytes.
    pub component: &'a [u8],
    /// What its file says.
    pub file: String,
}

impl<'a> Dropped<'a> {
    /// With leave to call that origin.
    pub fn calling(name: &'a str, component: &'a [u8], origin: &str) -> Self {
        Self { name, component, file: format!("origins = [\"{origin}\"]") }
    }
}

/// A host in a folder and on a port of its own. Dropping it ends it.
pub struct Host {
    child: Child,
    _folder: Folder,
}

impl Host {
    /// With these settings and these plugins.
    pub fn start(settings: &str, plugins: &[Dropped<'_>]) -> Self {
        let folder = folder();
        let dir = folder.path().join("plugins");
        std::fs::create_dir(&dir).expect("a folder");
        std::fs::write(folder.path().join("windlass.toml"), settings).expect("a file");
        for Dropped { name, component, file } in plugins {
            std::fs::write(dir.join(format!("{name}.toml")), file).expect("a file");
            std::fs::write(dir.join(format!("{name}.wasm")), component).expect("a file");
        }
        let child = Command::new(env!("CARGO_BIN_EXE_windlass"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
            .current_dir(folder.path())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the host starts");
        Self { child, _folder: folder }
    }

    /// The base of its URLs, when it is ready.
    pub async fn ready(&mut self, client: &reqwest::Client) -> String {
        let mut lines = BufReader::new(self.child.stderr.take().expect("piped")).lines();
        let address = lines
            .find_map(|line| {
                let line: Value = serde_json::from_str(&line.ok()?).ok()?;
                Some(line.get("address").or_else(|| line.get("fields")?.get("address"))?.as_str()?.to_owned())
            })
            .expect("it says where it listens");
        // Nobody reads on, and a full pipe would stop the host.
        std::thread::spawn(move || lines.for_each(drop));
        let base = format!("http://{address}");
        loop {
            let answer = client.get(format!("{base}/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return base;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
