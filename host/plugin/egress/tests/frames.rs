//! A downstream that writes HTTP/2 by hand, and says more than it was asked for.

use std::time::Duration;

use http_body_util::BodyExt as _;
use tokio::io::{ReadHalf, WriteHalf, split};
use tokio::sync::Semaphore;
use tokio_rustls::server::TlsStream;

use super::connections::{Downstream, begin, call, http2, narrow_on};
use super::*;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
/// A kind that nobody knows and everybody has to read over.
const UNKNOWN: u8 = 250;

/// What a downstream does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// It answers, and sends frames without end.
    AnswersAndFloods,
    /// It does not answer, sends frames for minutes, and asks whether the client is there.
    FloodsAndAsks,
    /// It answers, and asks every few milliseconds whether the client is there.
    AnswersAndAsks,
}

#[derive(Clone)]
struct Manual {
    url: Arc<str>,
    connections: Arc<AtomicUsize>,
    /// A connection is over.
    ended: Arc<Semaphore>,
    /// It was said that the client is there.
    is_there: Arc<Semaphore>,
    /// What the client says of its windows: that of a stream, and that of the connection.
    windows: Arc<Mutex<[u32; 2]>>,
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags, 0, 0, 0, stream]);
    frame.extend(payload);
    frame
}

impl Manual {
    async fn start(manner: Manner) -> (Self, Way) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (server, client) = http2();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        let nobody = || Arc::new(Semaphore::new(0));
        let (connections, windows) = Default::default();
        let manual = Self { url: url.into(), connections, ended: nobody(), is_there: nobody(), windows };
        let serving = manual.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::SeqCst);
                let (server, serving) = (server.clone(), serving.clone());
                tokio::spawn(async move {
                    let (reads, writes) = split(server.accept(stream).await.unwrap());
                    let _ = serving.serve(reads, writes, manner).await;
                    serving.ended.add_permits(1);
                });
            }
        });
        (manual, Way { tls: Some(client), ..Way::default() })
    }

    async fn serve(
        &self,
        mut reads: ReadHalf<TlsStream<TcpStream>>,
        mut writes: WriteHalf<TlsStream<TcpStream>>,
        manner: Manner,
    ) -> std::io::Result<()> {
        reads.read_exact(&mut [0; 24]).await?;
        writes.write_all(&[frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, 1, 0, &[])].concat()).await?;
        let mut writes = Some(writes);
        loop {
            let mut head = [0; 9];
            reads.read_exact(&mut head).await?;
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            reads.read_exact(&mut payload).await?;
            match (head[3], head[4] & 1) {
                (SETTINGS, 0) => {
                    let stream = payload.chunks(6).find(|setting| setting[1] == 4).expect("its window");
                    self.windows.lock().unwrap()[0] = u32::from_be_bytes(stream[2..].try_into().unwrap());
                }
                (WINDOW_UPDATE, _) if head[8] == 0 => {
                    self.windows.lock().unwrap()[1] += u32::from_be_bytes(payload[..].try_into().unwrap());
                }
                (PING, 1) => self.is_there.add_permits(1),
                (HEADERS, _) => {
                    if let Some(writes) = writes.take() {
                        tokio::spawn(self.clone().say(writes, manner, head[8]));
                    }
                }
                _ => {}
            }
        }
    }

    async fn say(self, mut writes: WriteHalf<TlsStream<TcpStream>>, manner: Manner, stream: u8) -> std::io::Result<()> {
        let many = frame(UNKNOWN, 0, 0, &[]).repeat(7_000);
        if manner != Manner::FloodsAndAsks {
            // :status: 200
            writes.write_all(&[frame(HEADERS, 4, stream, &[0x88]), frame(DATA, 1, stream, b"hi")].concat()).await?;
        }
        match manner {
            Manner::AnswersAndFloods => loop {
                writes.write_all(&many).await?;
            },
            Manner::FloodsAndAsks => {
                for _ in 0..50 {
                    writes.write_all(&many).await?;
                }
                writes.write_all(&frame(PING, 0, 0, &[7; 8])).await
            }
            Manner::AnswersAndAsks => loop {
                writes.write_all(&frame(PING, 0, 0, &[7; 8])).await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            },
        }
    }
}

async fn within_patience(what: impl Future, why: &str) {
    tokio::time::timeout(PATIENCE, what).await.expect(why);
}

#[tokio::test]
async fn a_connection_that_nobody_uses_ends_where_much_comes_over_it() {
    let (flood, way) = Manual::start(Manner::AnswersAndFloods).await;
    let client = narrow_on(way, &[&flood.url]);
    for connections in 1..4 {
        assert!(call(&client, &flood.url, PATIENCE).await.is_ok());
        within_patience(flood.ended.acquire(), "long before it would have been given up").await;
        flood.ended.forget_permits(1);
        assert_eq!(flood.connections.load(Ordering::SeqCst), connections);
    }
}

#[tokio::test]
async fn what_comes_beside_an_answer_that_does_not_is_read_slowly() {
    let (flood, way) = Manual::start(Manner::FloodsAndAsks).await;
    let client = narrow_on(way, &[&flood.url]);
    let failure = call(&client, &flood.url, Duration::from_secs(3)).await.map(|_| ());
    assert!(matches!(&failure, Err(SendFailure::Silent(_))), "{failure:?}");
    assert_eq!(flood.is_there.available_permits(), 0, "before that stand frames of minutes");
}

#[tokio::test]
async fn a_connection_that_is_asked_whether_it_is_there_is_closed_for_a_call_elsewhere_too() {
    let (asks, way) = Manual::start(Manner::AnswersAndAsks).await;
    let (other, third) = (Downstream::plain().await, Downstream::plain().await);
    let client = narrow_on(way, &[&asks.url, &other.url, &third.url]);
    assert!(call(&client, &asks.url, PATIENCE).await.is_ok());
    let _hangs = begin(&client, &other.held());
    other.came().await;
    assert!(call(&client, &third.url, PATIENCE).await.is_ok());
    within_patience(asks.ended.acquire(), "it was closed").await;
}

#[tokio::test]
async fn so_much_of_an_answer_may_come_before_it_is_read() {
    let (manual, way) = Manual::start(Manner::AnswersAndAsks).await;
    let client = narrow_on(way, &[&manual.url]);
    assert!(call(&client, &manual.url, PATIENCE).await.is_ok());
    within_patience(manual.is_there.acquire(), "it is answered").await;
    let [stream, connection] = *manual.windows.lock().unwrap();
    // What every connection begins with stands before what it is told.
    assert_eq!([stream, 65_535 + connection], [STREAM_WINDOW_BYTES, CONNECTION_WINDOW_BYTES]);
}

#[tokio::test]
async fn a_large_answer_that_is_read_is_not_held_up() {
    const BYTES: usize = 64 << 20;
    let (large, tls) = Downstream::tls().await;
    let plain = Downstream::plain().await;
    let client = narrow_on(Way { tls: Some(tls), ..Way::default() }, &[&large.url, &plain.url]);
    let limits = Limits::default().attempt(&crate::config::LimitOverride::default());
    let clock = Arc::new(crate::clock::SystemClock::start());
    let attempt = super::super::super::attempt::Attempt::start(limits, PATIENCE, client.0.clone(), None, clock);
    for downstream in [&large, &plain] {
        let url = format!("{}bytes/{BYTES}", downstream.url);
        let answered = call(&client, &url, PATIENCE).await.unwrap();
        let mut recorder = Recorder::begin(attempt.clone(), "GET", url);
        let body = answered.response.into_body();
        let read = read(body, BYTES as u64, Oversize::Refused, &answered.in_use, &mut recorder);
        let read = tokio::time::timeout(PATIENCE, read).await.expect("what is read is not what nobody asked for");
        assert_eq!(read.unwrap().bytes.len(), BYTES);
    }
}

#[tokio::test]
async fn what_may_lie_unread_is_what_is_stated_and_no_more_than_the_window() {
    let (tls, way) = Downstream::tls().await;
    let plain = Downstream::plain().await;
    let client = narrow_on(Way { tls: Some(way), ..Way::default() }, &[&tls.url, &plain.url]);
    let window = STREAM_WINDOW_BYTES as usize;
    for (downstream, bytes, most) in [
        (&tls, 1_000, 1_500),
        (&plain, 1_000, 1_000),
        (&tls, 8 << 20, window + window / 2),
        (&plain, 8 << 20, HEAD_BYTES_MAX),
    ] {
        let answered = call(&client, &format!("{}bytes/{bytes}", downstream.url), PATIENCE).await.unwrap();
        assert_eq!(unread_bytes_max(&answered.response), most, "{bytes}");
        drop(answered.response.into_body().frame().await);
    }
}
