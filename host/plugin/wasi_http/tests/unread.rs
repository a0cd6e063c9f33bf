//! What lies in answers that nobody reads.

use std::sync::atomic::Ordering;

use tokio::io::AsyncWriteExt as _;

use super::super::super::Descriptors;
use super::super::super::egress::{Grants, Outside, Way};
use super::*;
use crate::config::{LimitOverride, Limits, Network};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn what_may_lie_unread_of_an_answer_counts_until_its_body_is_let_go() {
    const STATED: usize = 100_000;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1_024]).await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {STATED}\r\n\r\n");
        stream.write_all(&[head.as_bytes(), &[b'x'; 1_000]].concat()).await.unwrap();
        // The rest does not come.
        let _ = stream.read(&mut [0; 1_024]).await;
    });
    let file = PluginFile { origins: vec![url.parse().unwrap()], ..PluginFile::default() };
    let grants = Arc::new(Grants::new("test.toml".to_owned(), &file, Arc::default()).unwrap());
    let outside = Outside::new(&Network::default(), Descriptors::default());
    let egress = Arc::new(Egress::new("test", Arc::new(outside), Way::default()));
    let limits = Limits::default().attempt(&LimitOverride::default());
    let attempt = Attempt::start(limits, PATIENCE, grants, Some(egress), Arc::new(SystemClock::start()));
    let counted = || attempt.untaken_bytes.load(Ordering::Relaxed);
    let mut request = Request::new(StreamBody::new(stream::empty()).boxed_unsync());
    *request.uri_mut() = url.parse().unwrap();
    let (asked, going) = Asked::judged(attempt.clone(), request);
    let (response, _) = asked.answered(going.ok().unwrap(), RequestOptions::default()).await.unwrap();
    assert!((STATED..STATED + 1_000).contains(&counted()), "with its head: {}", counted());
    let (head, mut body) = response.into_parts();
    drop(head);
    assert_eq!(counted(), STATED);
    assert!(body.frame().await.unwrap().is_ok());
    assert_eq!(counted(), STATED);
    drop(body);
    assert_eq!(counted(), 0);
}
