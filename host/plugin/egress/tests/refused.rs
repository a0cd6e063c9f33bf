//! What an HTTP/2 server says of requests that it did not look at.

use super::connections::http2;
use super::*;

/// The frames' types, as RFC 9113 numbers them.
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;
const REFUSED_STREAM: u32 = 7;
const INTERNAL_ERROR: u32 = 2;

fn frame(kind: u8, stream: u32, payload: &[u32]) -> Vec<u8> {
    let payload: Vec<u8> = payload.iter().flat_map(|word| word.to_be_bytes()).collect();
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, 0], &stream.to_be_bytes(), &payload].concat()
}

/// What becomes of a request to a server that says that when the request is there.
async fn told(says: Vec<u8>) -> Result<u16, SendFailure> {
    let (server, client) = http2();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = server.accept(stream).await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, &[])).await.unwrap();
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.unwrap();
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            stream.read_exact(&mut payload).await.unwrap();
            if head[3] == HEADERS {
                break;
            }
        }
        stream.write_all(&says).await.unwrap();
        // Until the client is done with it.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let (grants, egress) = egress(&network(&[]), &format!("origins = ['{url}']"), &[&[]]);
    let egress = Egress::new("test", egress.outside, Way { tls: Some(client), ..Way::default() });
    let told = get(&(grants, egress), &url).await;
    serving.abort();
    told
}

#[tokio::test]
async fn a_request_that_the_server_did_not_look_at_has_not_left() {
    for says in
        [frame(RESET, 1, &[REFUSED_STREAM]), frame(GO_AWAY, 0, &[0, 0]), frame(GO_AWAY, 0, &[0, INTERNAL_ERROR])]
    {
        let failure = told(says.clone()).await.unwrap_err();
        let SendFailure::Unreachable(Unreachable::Refused, why) = failure else { panic!("{says:?}: {failure:?}") };
        assert!(why.starts_with("the server did not take the request: "), "{why}");
    }
}

#[tokio::test]
async fn one_that_it_may_have_looked_at_may_have_left() {
    // The second: it goes away, and its last stream is ours.
    for says in [frame(RESET, 1, &[INTERNAL_ERROR]), [frame(GO_AWAY, 0, &[1, 0]), frame(RESET, 1, &[8])].concat()] {
        let failure = told(says.clone()).await.unwrap_err();
        assert!(matches!(failure, SendFailure::Unanswered(_)), "{says:?}: {failure:?}");
    }
}
