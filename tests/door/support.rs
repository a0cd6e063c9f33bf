//! A host with settings of its own, started by hand, and raw connections to it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::{PATIENCE, Value, until};

/// A folder to run commands of the binary in.
pub struct Place {
    dir: TempDir,
}

impl Place {
    /// With these settings.
    pub fn new(config: &str) -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("windlass.toml"), config).unwrap();
        std::fs::create_dir(dir.path().join("plugins")).unwrap();
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command of the binary, with nothing from outside.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
        command.args(args).current_dir(self.dir.path());
        for name in ["WINDLASS_TOKEN", "WINDLASS_CA", "WINDLASS_SERVER", "WINDLASS_LOG"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs a command to its end: exit code, standard output, standard error.
    pub fn run(&self, args: &[&str]) -> (i32, String, String) {
        said(&self.command(args).output().unwrap())
    }

    /// Makes a token and returns its text.
    pub fn token(&self, scopes: &[&str]) -> String {
        let mut args = vec!["token", "new", "test"];
        scopes.iter().for_each(|scope| args.extend(["--scope", scope]));
        let (code, stdout, stderr) = self.run(&args);
        assert_eq!((code, stdout.lines().count()), (0, 1), "{stderr}");
        stdout.trim().to_owned()
    }

    /// Starts a server and waits until it listens.
    pub async fn serve(&self, env: &[(&str, &str)]) -> Server {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
        command.envs(env.iter().copied());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (stderr, lines) = (child.stderr.take().unwrap(), log.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let mut server = Server { address: String::new(), child, log };
        server.address = until("the server is ready", || async {
            let lines = server.log.lock().unwrap();
            lines.iter().find(|line| line.contains("windlass is ready"))?;
            let values = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            values.into_iter().find_map(|value| Some(value.get("address")?.as_str()?.to_owned()))
        })
        .await;
        server
    }
}

pub fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// A server that ends with this.
pub struct Server {
    pub address: String,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(&mut self) {
        self.terminate();
        let child = std::cell::RefCell::new(&mut self.child);
        until("the server stops", || async { child.borrow_mut().try_wait().unwrap() }).await;
    }

    /// How often that stands in the log.
    pub fn logged(&self, text: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    /// The most memory that it has had so far, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    /// Sends these bytes and reads until the server closes.
    pub async fn raw(&self, text: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        rest(&mut stream).await
    }

    /// One request, answered and closed: status, head and body.
    pub async fn ask(&self, method: &str, path: &str, token: Option<&str>, body: Option<&str>) -> Answer {
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        if let Some(token) = token {
            text.push_str(&format!("authorization: Bearer {token}\r\n"));
        }
        if let Some(body) = body {
            text.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
        }
        Answer::of(&self.raw(&format!("{text}\r\n{}", body.unwrap_or(""))).await)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("--- the server's log\n{log}");
        } else {
            assert!(!log.contains("panicked at"), "the server panicked:\n{log}");
        }
    }
}

/// An answer, as it came over the wire.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer in {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("no status in {head:?}")),
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    /// The last word of the problem's type. Every refusal has one, and the id of a request.
    #[track_caller]
    pub fn problem(&self) -> String {
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        assert!(self.head.contains("x-request-id: "), "{self:?}");
        let document: Value = serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"));
        assert_eq!(document["status"], self.status, "{document}");
        document["type"].as_str().unwrap().trim_start_matches("urn:windlass:problem:").to_owned()
    }
}

/// Everything until the other end closes, or resets.
pub async fn rest<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    let _: Result<_, _> = read.expect("the server ends the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A client of HTTP/2 without TLS.
pub struct Http2 {
    sender: hyper::client::conn::http2::SendRequest<Body>,
    base: String,
    pub connection: tokio::task::JoinHandle<()>,
}

impl Http2 {
    /// With windows of that size, where it is said.
    pub async fn connect(server: &Server, window: Option<u32>) -> Self {
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(window);
        let (sender, connection) = builder.handshake(TokioIo::new(server.connect().await)).await.unwrap();
        let connection = tokio::spawn(async move {
            let _: Result<_, _> = connection.await;
        });
        Self { sender, base: format!("http://{}", server.address), connection }
    }

    /// Whether the connection takes another request.
    pub async fn is_open(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// `GET` with these headers.
    pub async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> hyper::Result<hyper::Response<Incoming>> {
        let mut request = hyper::Request::builder().uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.sender.send_request(request.body(Body::empty()).unwrap()).await
    }
}

/// A component that is ready to use, under that name.
pub fn plugin(place: &Place, name: &str) {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/http.wasm");
    std::fs::copy(shipped, place.path("plugins").join(format!("{name}.wasm"))).unwrap();
}
