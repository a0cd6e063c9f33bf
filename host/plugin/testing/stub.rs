//! A downstream on loopback that follows a script.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::super::Plugin;
use super::{Bench, caller};

/// What a downstream does with each request that it reads.
#[derive(Clone, Copy)]
pub(in crate::plugin) enum Downstream {
    Answers(&'static str),
    Says { head: &'static str, body_bytes: usize },
    Closes,
    IsSilent,
}

/// A port on loopback that nobody listens at: it is bound, so that nobody else gets it.
pub(in crate::plugin) struct Nobody {
    pub(in crate::plugin) address: SocketAddr,
    _port: TcpSocket,
}

impl Nobody {
    pub(in crate::plugin) fn listens() -> Self {
        let port = TcpSocket::new_v4().unwrap();
        port.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self { address: port.local_addr().unwrap(), _port: port }
    }
}

/// A downstream on loopback, and what it saw.
pub(in crate::plugin) struct Stub {
    pub(in crate::plugin) port: u16,
    pub(in crate::plugin) connections: Arc<AtomicUsize>,
    pub(in crate::plugin) requests: Arc<AtomicUsize>,
}

impl Stub {
    /// One whose n-th request is treated as the n-th entry says, the last one from then on.
    pub(in crate::plugin) async fn start(script: &'static [Downstream]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let stub = Self { port, connections: connections.clone(), requests: requests.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, script, requests.clone()));
            }
        });
        stub
    }

    pub(in crate::plugin) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(in crate::plugin) async fn plugin(&self, bench: &Bench, method: &str, timeout_ms: Option<u32>) -> Plugin {
        bench.plugin(caller(method, timeout_ms), &[&self.url("")]).await
    }
}

async fn serve(mut stream: TcpStream, script: &'static [Downstream], requests: Arc<AtomicUsize>) {
    let mut head = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        head.push(byte);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        head.clear();
        let number = requests.fetch_add(1, Ordering::SeqCst);
        match script[number.min(script.len() - 1)] {
            // The other side may hang up in the middle.
            Downstream::Answers(answer) => _ = stream.write_all(answer.as_bytes()).await,
            Downstream::Says { head, body_bytes } => {
                stream.write_all(head.as_bytes()).await.unwrap();
                let _ = stream.write_all(&vec![b'x'; body_bytes]).await;
            }
            Downstream::Closes => return,
            Downstream::IsSilent => std::future::pending().await,
        }
    }
}
