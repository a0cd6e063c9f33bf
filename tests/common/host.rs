//! A real `windlass serve`, in a folder and on a port of its own.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{guests, until};

/// What a host is started with.
#[derive(Default)]
pub struct Setup {
    config: String,
    env: Vec<(String, String)>,
    open_files: Option<u32>,
    files: Vec<(String, String)>,
    plugins: Vec<(String, Vec<u8>)>,
    data: Option<PathBuf>,
}

impl Setup {
    /// A host with these settings, as TOML.
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    /// With that variable in its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where the system lets it have so many open files.
    pub fn open_files(mut self, most: u32) -> Self {
        self.open_files = Some(most);
        self
    }

    /// With that file in the folder that it works in.
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// With the files of that folder in its data folder.
    pub fn data(mut self, folder: &Path) -> Self {
        self.data = Some(folder.to_owned());
        self
    }

    /// With that guest, built from source, under its own name and with that file beside it.
    pub fn guest(self, name: &str, file: &str) -> Self {
        let component = guests::component(name);
        self.plugin(name, component, file)
    }

    /// With that component under that name.
    pub fn plugin(mut self, name: &str, component: Vec<u8>, file: &str) -> Self {
        self.plugins.push((format!("{name}.wasm"), component));
        if !file.is_empty() {
            self.plugins.push((format!("{name}.toml"), file.as_bytes().to_vec()));
        }
        self
    }

    /// Starts the host and waits until it is ready.
    pub async fn start(self) -> Host {
        let dir = TempDir::new().expect("a temporary folder");
        let plugins = dir.path().join("plugins");
        std::fs::create_dir(&plugins).expect("a new folder");
        for (name, content) in &self.plugins {
            std::fs::write(plugins.join(name), content).expect("a new file");
        }
        for (name, text) in &self.files {
            std::fs::write(dir.path().join(name), text).expect("a new file");
        }
        if let Some(data) = &self.data {
            copy_folder(data, &dir.path().join("data"));
        }
        std::fs::write(dir.path().join("windlass.toml"), &self.config).expect("a new file");
        let mut host = Host::unstarted(dir);
        (host.env, host.open_files) = (self.env, self.open_files);
        host.start().await;
        host
    }
}

/// Has it end by SIGHUP also where the tests are run to outlive their terminal, which what they start would inherit.
fn hears_hangups(command: &mut Command) {
    let usual = || {
        // SAFETY: it takes numbers alone, and may be called between fork and exec.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
        Ok(())
    };
    // SAFETY: it calls nothing else there.
    unsafe { command.pre_exec(usual) };
}

/// A host. Dropping it ends the process, and fails the test where the host had panicked.
pub struct Host {
    pub base: String,
    pub client: Client,
    dir: Arc<TempDir>,
    env: Vec<(String, String)>,
    open_files: Option<u32>,
    child: Option<Child>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Host {
    fn unstarted(dir: TempDir) -> Self {
        let client = Client::builder().no_proxy().build().expect("a client");
        let (env, open_files, child, log) = Default::default();
        Self { base: String::new(), client, dir: Arc::new(dir), env, open_files, child, log }
    }

    /// The folder that the host works in.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The folder of its plugins.
    pub fn plugins(&self) -> PathBuf {
        self.dir().join("plugins")
    }

    /// Writes a file in the folder that it works in, for nobody else to read.
    pub fn private(&self, name: &str, text: &str) -> PathBuf {
        private(&self.dir().join(name), text)
    }

    /// A command of the binary, in the host's folder.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
        command.args(args).current_dir(self.dir()).env("WINDLASS_SERVER", &self.base);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        hears_hangups(&mut command);
        command
    }

    /// Starts the process and waits until it is ready.
    pub async fn start(&mut self) {
        self.begin();
        self.listens().await;
        self.ready().await;
    }

    /// Starts the process.
    pub fn begin(&mut self) {
        let mut command = self.serve();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the host starts");
        let stderr = child.stderr.take().expect("piped");
        let log = self.log.clone();
        log.lock().unwrap().clear();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                log.lock().unwrap().push(line);
            }
        });
        self.child = Some(child);
    }

    fn serve(&self) -> Command {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
        if let Some(most) = self.open_files {
            let whole = std::mem::replace(&mut command, Command::new("sh"));
            command.args(["-c", "ulimit -n \"$1\" && shift && exec \"$@\"", "sh", &most.to_string()]);
            command.arg(whole.get_program()).args(whole.get_args()).current_dir(self.dir());
            command.envs(whole.get_envs().filter_map(|(name, value)| Some((name, value?))));
        }
        command
    }

    /// Waits until the process listens.
    pub async fn listens(&mut self) {
        let address = until("the host listens", || async { self.logged("address") }).await;
        self.base = format!("http://{address}");
    }

    /// Waits until the process, which listens, is ready.
    pub async fn ready(&self) {
        until("the host is ready", || async {
            let answer = self.client.get(format!("{}/readyz", self.base)).send().await;
            answer.ok().filter(|answer| answer.status() == StatusCode::OK)
        })
        .await;
    }

    /// The first logged value of that field.
    fn logged(&self, field: &str) -> Option<String> {
        let log = self.log.lock().unwrap();
        log.iter().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            Some(line.get(field).or_else(|| line.get("fields")?.get(field))?.as_str()?.to_owned())
        })
    }

    /// Everything that it logged.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// The id of the process.
    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(self.child.as_ref().expect("the host runs"))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("the host runs");
    }

    /// Ends the process without warning.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the host runs");
            child.wait().expect("the host ends");
        }
    }

    /// Waits until the process has ended, and returns its exit code.
    pub async fn exited(&mut self) -> i32 {
        let mut child = self.child.take().expect("the host runs");
        let status = tokio::task::spawn_blocking(move || child.wait()).await.expect("the wait ends").expect("a status");
        status.code().unwrap_or(-1)
    }

    /// Asks the host for something.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Response {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        request.send().await.expect("the host answers")
    }

    /// Asks, and reads the answer as JSON.
    pub async fn ask_json(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let answer = self.ask(method, path, body).await;
        let (status, text) = (answer.status(), answer.text().await.expect("a whole answer"));
        let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"));
        (status, value)
    }

    /// `GET`, which must succeed.
    pub async fn get(&self, path: &str) -> Value {
        let (status, value) = self.ask_json(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "GET {path}: {value}");
        value
    }

    /// Enqueues, which must succeed, and returns the id.
    pub async fn enqueue(&self, job: Value) -> String {
        let (status, value) = self.ask_json(Method::POST, "/v1/jobs", Some(&job)).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{job}: {value}");
        value["id"].as_str().expect("an id").to_owned()
    }

    /// Enqueues all of them in one call, which must succeed, and returns their ids, in the same order.
    pub async fn enqueue_all(&self, jobs: &[Value]) -> Vec<String> {
        let (status, value) = self.ask_json(Method::POST, "/v1/jobs/batch", Some(&json!({"jobs": jobs}))).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{:?}: {value}", jobs.first());
        let ids = value["ids"].as_array().expect("ids").iter();
        ids.map(|id| id.as_str().expect("an id").to_owned()).collect()
    }

    /// Enqueues for the plugin `misbehave`.
    pub async fn misbehave(&self, payload: Value) -> String {
        self.enqueue(json!({"plugin": "misbehave", "payload": payload})).await
    }

    /// The job as it stands.
    pub async fn job(&self, id: &str) -> Value {
        self.get(&format!("/v1/jobs/{id}")).await
    }

    /// The job when it is final.
    pub async fn ended(&self, id: &str) -> Value {
        let job = self.get(&format!("/v1/jobs/{id}?wait=60s")).await;
        assert!(!job["finished_at"].is_null(), "gave up waiting for the end of {job:#}");
        job
    }

    /// The job when it waits for that reason.
    pub async fn waiting(&self, id: &str, reason: &str) -> Value {
        until(&format!("job {id} waits because of {reason}"), || async {
            let job = self.job(id).await;
            (job["waiting"]["reason"] == reason).then_some(job)
        })
        .await
    }

    /// The job when it is in that state.
    pub async fn in_state(&self, id: &str, state: &str) -> Value {
        until(&format!("job {id} is {state}"), || async {
            let job = self.job(id).await;
            (job["state"] == state).then_some(job)
        })
        .await
    }
}

/// Copies a folder and all that is in it.
fn copy_folder(from: &Path, to: &Path) {
    std::fs::DirBuilder::new().mode(0o700).create(to).expect("a new folder");
    for entry in std::fs::read_dir(from).expect("a folder").map(|entry| entry.expect("a name")) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("a copy");
        }
    }
}

/// Writes a file that only its owner can read, in one step.
pub fn private(path: &Path, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("a new file");
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).expect("our own file");
    std::fs::rename(&new, path).expect("our own folder");
    path.to_path_buf()
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
        let log = self.log();
        if !std::thread::panicking() {
            assert!(!log.contains("panicked at"), "the host panicked:\n{log}");
        } else {
            eprintln!("--- the host's log\n{log}");
        }
    }
}
