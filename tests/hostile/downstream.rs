//! A downstream that does its worst: bytes over a socket, whatever HTTP says of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A trap, and another one that nobody is granted.
pub struct Trap {
    address: SocketAddr,
    other: SocketAddr,
    name: String,
    trespassed: Arc<AtomicU64>,
    servers: Vec<tokio::task::JoinHandle<()>>,
}

impl Trap {
    /// Opens it.
    pub async fn open() -> Self {
        let trespassed = Arc::<AtomicU64>::default();
        let (address, server) = listen(Arc::default()).await;
        let (other, other_server) = listen(trespassed.clone()).await;
        Self { address, other, name: local_name(), trespassed, servers: vec![server, other_server] }
    }

    /// Where it listens.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where nobody may call.
    pub fn other_origin(&self) -> String {
        format!("http://{}", self.other)
    }

    /// The other one, by a name.
    pub fn named_origin(&self) -> String {
        format!("http://{}:{}", self.name, self.other.port())
    }

    /// How many came to where nobody may call.
    pub fn trespassed(&self) -> u64 {
        self.trespassed.load(Ordering::Relaxed)
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.servers.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// A name of this machine that is not `localhost`, as its table of hosts has it; else one that has no address.
fn local_name() -> String {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let lines = hosts.lines().filter(|line| line.starts_with("127.") || line.starts_with("::1"));
    let mut names = lines.flat_map(|line| line.split_whitespace().skip(1));
    names.find(|name| *name != "localhost").unwrap_or("nowhere.invalid").to_owned()
}

async fn listen(count: Arc<AtomicU64>) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                // Whoever calls may hang up at any time.
                let _ = serve(stream, &count).await;
            });
        }
    });
    (address, server)
}

async fn serve(mut stream: TcpStream, count: &AtomicU64) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let mut length = 0;
        while !buffer[..length].windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut buffer[length..]).await? {
                0 => return Ok(()),
                more => length += more,
            }
        }
        count.fetch_add(1, Ordering::Relaxed);
        let head = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
        if !answer(&mut stream, &path).await? {
            return Ok(());
        }
    }
}

/// Does what the path says; whether the connection goes on.
async fn answer(stream: &mut TcpStream, path: &str) -> std::io::Result<bool> {
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    match path {
        "/hang" => hang_up_with(stream).await?,
        "/drip" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n").await?;
            repeat(stream, b"x", Duration::from_millis(20)).await?;
        }
        "/endless" => {
            stream.write_all(CHUNKED).await?;
            repeat(stream, format!("1000\r\n{}\r\n", "x".repeat(4_096)).as_bytes(), Duration::ZERO).await?;
        }
        "/break-off" => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nonly this").await?,
        "/close" => {}
        "/garbage" => stream.write_all(&[0xfe; 4_096]).await?,
        "/redirect" => {
            stream.write_all(b"HTTP/1.1 302 Found\r\nlocation: /redirect\r\ncontent-length: 0\r\n\r\n").await?;
            return Ok(true);
        }
        "/continue" => repeat(stream, b"HTTP/1.1 100 Continue\r\n\r\n", Duration::from_micros(100)).await?,
        "/headers" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            for n in 0..100_000 {
                stream.write_all(format!("x-{n}: y\r\n").as_bytes()).await?;
            }
            stream.write_all(b"content-length: 0\r\n\r\n").await?;
        }
        "/header" => {
            stream.write_all(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20)).as_bytes()).await?;
        }
        "/header-endless" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await?;
            repeat(stream, &[b'y'; 4_096], Duration::from_millis(1)).await?;
        }
        "/chunk" => {
            stream.write_all(CHUNKED).await?;
            stream.write_all(b"ffffffffffffffff\r\n").await?;
            repeat(stream, &[b'y'; 4_096], Duration::from_millis(1)).await?;
        }
        "/length" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000000000\r\n\r\n").await?;
            repeat(stream, &[b'y'; 4_096], Duration::from_millis(1)).await?;
        }
        "/gzip" => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", GZIP.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(GZIP).await?;
            return Ok(true);
        }
        _ => {
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Ten megabytes of zeros, twice compressed.
const GZIP: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xed, 0xd8, 0xbd, 0x09, 0xc2, 0x40, 0x00, 0x80, 0xd1,
    0x4b, 0xa2, 0x10, 0x2c, 0x74, 0x04, 0xdd, 0x43, 0x08, 0x56, 0xc1, 0xd2, 0xc6, 0x21, 0x6c, 0x5c, 0xc1, 0x03, 0x4b,
    0x41, 0xac, 0xc4, 0x05, 0x52, 0x3b, 0x83, 0xb5, 0x03, 0x88, 0x85, 0x1b, 0x88, 0x1b, 0xf8, 0x77, 0x6b, 0x1c, 0xef,
    0x55, 0xdf, 0x0c, 0xdf, 0x78, 0x57, 0x87, 0xa4, 0xac, 0x9e, 0x97, 0xa2, 0xf8, 0x47, 0x3c, 0x7c, 0xce, 0xaf, 0x7a,
    0x10, 0x00, 0x00, 0x00, 0x80, 0xcc, 0xc5, 0xfb, 0xb6, 0x4a, 0x33, 0x20, 0x4c, 0xbe, 0xb7, 0x76, 0xb1, 0x04, 0x00,
    0x00, 0x00, 0x72, 0xb7, 0x1a, 0x0d, 0xe7, 0xe9, 0x05, 0xf4, 0xde, 0x9b, 0xc7, 0x7e, 0xd6, 0x77, 0x47, 0x00, 0x72,
    0xb3, 0x2e, 0xaf, 0xdd, 0xb4, 0x89, 0xc7, 0x53, 0xf8, 0x01, 0x6b, 0xc9, 0x47, 0x1c, 0x16, 0x26, 0x00, 0x00,
];

/// Sends nothing until the other side hangs up.
async fn hang_up_with(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut rest = [0; 1_024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Sends that again and again, until the other side hangs up.
async fn repeat(stream: &mut TcpStream, bytes: &[u8], pause: Duration) -> std::io::Result<()> {
    loop {
        stream.write_all(bytes).await?;
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}
