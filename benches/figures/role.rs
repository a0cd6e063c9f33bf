//! Processes of this program in other roles: servers to be measured from outside.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// The environment variable that names the role.
const ROLE: &str = "WINDLASS_BENCH_ROLE";

/// Plays the role that the environment names, if it names one.
pub fn play() -> bool {
    let Ok(role) = std::env::var(ROLE) else { return false };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        match role.as_str() {
            "enqueue-null" => crate::enqueue::serve_null().await,
            "enqueue-durable" => crate::enqueue::serve_durable().await,
            "downstream" => crate::life::serve_downstream().await,
            "life-plugin" => crate::life::run(true).await,
            "life-native" => crate::life::run(false).await,
            other => panic!("no role {other}"),
        }
    });
    true
}

/// A process in a role. Dropping it ends it.
pub struct Player {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Player {
    /// Starts one, with more variables of the environment.
    pub fn start(role: &str, env: &[(&str, String)]) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.env(ROLE, role).envs(env.iter().map(|(name, value)| (*name, value)));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("this program starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> String {
        self.lines.next().expect("a line").expect("text")
    }

    /// The address that it prints first.
    pub fn address(&mut self) -> SocketAddr {
        self.line().parse().expect("an address")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
