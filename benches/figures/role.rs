//! Processes of this program in other roles: servers to be measured from outside, and sides of a comparison that each
//! have a process of their own, so that the system accounts for it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::folder;
use crate::machine::Folder;
use crate::table::Series;
use crate::{api, downstream, enqueue_batch, flat, http, life, queue, reschedule, start, threads, timers};

/// The environment variable that names the role.
const ROLE: &str = "WINDLASS_BENCH_ROLE";

/// Plays the role that the environment names, if it names one. Ends with who started it.
pub fn play() -> bool {
    let Ok(role) = std::env::var(ROLE) else { return false };
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).expect("the system is Linux");
    let runtime = windlass::cli::runtime().expect("a runtime");
    runtime.block_on(async {
        match role.as_str() {
            "api-null" => api::serve_null().await,
            "api" => api::serve_durable().await,
            "batch-bare" => enqueue_batch::bare().await,
            "downstream" => downstream::serve_yes().await,
            "downstream-silent" => downstream::serve_silence().await,
            "queue" => queue::host().await,
            "queue-bare" => queue::bare().await,
            "flat" => flat::host().await,
            "reschedule" => reschedule::host().await,
            "reschedule-bare" => reschedule::bare().await,
            "start" => start::host().await,
            "timers" => timers::host().await,
            "http" => http::client().await,
            "threads" => threads::guest().await,
            "life" => life::host().await,
            other => panic!("no role {other}"),
        }
    });
    true
}

/// Prints `ready`, then answers each line of the standard input with a line of the numbers that `measure` brings.
pub async fn answer_rounds(mut measure: impl AsyncFnMut() -> Vec<f64>) {
    println!("ready");
    while asked().await {
        let numbers: Vec<_> = measure().await.iter().map(f64::to_string).collect();
        println!("{}", numbers.join(" "));
    }
}

async fn asked() -> bool {
    let read = || std::io::stdin().read_line(&mut String::new()).is_ok_and(|bytes| bytes > 0);
    tokio::task::spawn_blocking(read).await.unwrap_or(false)
}

/// A process in a role. Dropping it ends it, and removes what it wrote.
pub struct Player {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    _folder: Folder,
}

impl Player {
    /// Starts one, with more variables of the environment.
    pub fn start(role: &str, env: &[(&str, String)]) -> Self {
        let folder = folder();
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        // Its own temporary folders are in ours, as it never comes to remove them.
        command.env(ROLE, role).env("TMPDIR", folder.path()).envs(env.iter().map(|(name, value)| (*name, value)));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("this program starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines, _folder: folder }
    }

    /// Starts one that answers rounds, and waits until it is ready.
    pub fn ready(role: &str, env: &[(&str, String)]) -> Self {
        let mut player = Self::start(role, env);
        assert_eq!(player.line(), "ready");
        player
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> String {
        self.lines.next().expect("a line").expect("text")
    }

    /// The numbers of one more round.
    pub fn round(&mut self) -> Vec<f64> {
        self.child.stdin.as_mut().expect("piped").write_all(b"go\n").expect("it listens");
        self.line().split(' ').map(|number| number.parse().expect("a number")).collect()
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

/// So many rounds of all these players, each in turn; the first round of each warms up and is not counted.
pub fn alternate<const SIDES: usize>(rounds: usize, players: &mut [Player; SIDES]) -> [Series; SIDES] {
    let mut series = std::array::from_fn(|_| Series::default());
    for round in 0..=rounds {
        for (player, series) in players.iter_mut().zip(&mut series) {
            let numbers = player.round();
            if round > 0 {
                series.push(numbers);
            }
        }
    }
    series
}
