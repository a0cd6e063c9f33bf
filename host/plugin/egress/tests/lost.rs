//! What becomes of the connections to an origin when one of them is gone.

use tokio::sync::Semaphore;

use super::connections::http2;
use super::*;

/// A downstream that answers the first request of each connection when it is let, and closes it with the second one.
async fn closing(came: Arc<Semaphore>, let_go: Arc<Semaphore>, connections: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::SeqCst);
            let (came, let_go) = (came.clone(), let_go.clone());
            tokio::spawn(async move {
                let mut head = [0; 1_024];
                let _ = stream.read(&mut head).await;
                came.add_permits(1);
                let_go.acquire().await.unwrap().forget();
                let _ = stream.write_all(KEPT.as_bytes()).await;
                let _ = stream.read(&mut head).await;
            });
        }
    });
    url
}

#[tokio::test]
async fn when_a_kept_connection_is_gone_the_others_to_that_origin_are_not_used_either() {
    const AT_ONCE: u32 = 4;
    let nobody = || Arc::new(Semaphore::new(0));
    let (came, let_go, connections) = (nobody(), nobody(), Arc::<AtomicUsize>::default());
    let url = closing(came.clone(), let_go.clone(), connections.clone()).await;
    let kept = Raw::start("127.0.0.1", KEPT).await;
    let other = format!("http://127.0.0.1:{}/", kept.port);
    let way = Arc::new(egress(&network(&[]), &format!("origins = ['{url}', '{other}']"), &[&[], &[]]));
    assert_eq!(get(&way, &other).await, Ok(200));
    let begin = || {
        let (way, url) = (way.clone(), url.clone());
        tokio::spawn(async move { get(&way, &url).await })
    };
    let answers: Vec<_> = (0..AT_ONCE).map(|_| begin()).collect();
    came.acquire_many(AT_ONCE).await.unwrap().forget();
    let_go.add_permits(100);
    for answer in answers {
        assert_eq!(answer.await.unwrap(), Ok(200));
    }
    let lost = get(&way, &url).await;
    assert!(matches!(lost, Err(SendFailure::Unanswered(_))), "{lost:?}");
    for n in 1..6 {
        assert_eq!(get(&way, &url).await, Ok(200), "{n}");
        assert_eq!(connections.load(Ordering::SeqCst), AT_ONCE as usize + n);
        assert_eq!(get(&way, &other).await, Ok(200));
    }
    assert_eq!(kept.connections.load(Ordering::SeqCst), 1, "others keep theirs");
}

#[tokio::test]
async fn a_stream_that_is_reset_leaves_its_connection_as_it_was() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (server, client) = http2();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let connections = Arc::<AtomicUsize>::default();
    let counted = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let stream = server.accept(stream).await.unwrap();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    match request.uri().path() {
                        "/reset" => respond.send_reset(h2::Reason::INTERNAL_ERROR),
                        "/away" => connection.abrupt_shutdown(h2::Reason::INTERNAL_ERROR),
                        _ => _ = respond.send_response(http::Response::new(()), true).unwrap(),
                    }
                }
            });
        }
    });
    let (grants, plain) = egress(&network(&[]), &format!("origins = ['{url}']"), &[&[]]);
    let way = (grants, Egress::new("test", plain.outside, super::Way { tls: Some(client), ..super::Way::default() }));
    let uri = url.parse().unwrap();
    assert_eq!(get(&way, &url).await, Ok(200));
    for _ in 0..3 {
        let reset = get(&way, &format!("{url}reset")).await;
        assert!(matches!(reset, Err(SendFailure::Unanswered(_))), "{reset:?}");
        assert_eq!(get(&way, &url).await, Ok(200));
        assert!(!way.1.brief.holds(&uri));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    // One that goes away while it has the request is another matter.
    let gone = get(&way, &format!("{url}away")).await;
    assert!(matches!(gone, Err(SendFailure::Unanswered(_))), "{gone:?}");
    assert!(way.1.brief.holds(&uri));
}

#[tokio::test]
async fn an_answer_that_cannot_be_understood_says_nothing_of_other_connections() {
    const SENDS: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 1_024];
                for answer in [SENDS, "HTTP/1.1 what?\r\n\r\n"] {
                    let _ = stream.read(&mut head).await;
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
                let _ = stream.read(&mut head).await;
            });
        }
    });
    let way = egress(&network(&[]), &format!("origins = ['{url}']"), &[&[]]);
    assert_eq!(get(&way, &url).await, Ok(200));
    let odd = get(&way, &url).await;
    assert!(matches!(odd, Err(SendFailure::Unanswered(_))), "{odd:?}");
    assert!(!way.1.brief.holds(&url.parse().unwrap()));
}
