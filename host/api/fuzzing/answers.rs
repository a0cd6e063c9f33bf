//! A strict reader of what the server answered on one connection of HTTP/1.

use super::super::error::{PROBLEM_JSON, ProblemDocument};
use super::heads::Read;
use super::wire::Heard;

/// What the server says by itself of what is no request: it never comes to the router, and the connection ends.
const NO_REQUEST: [u16; 3] = [400, 414, 431];

/// One answer.
#[derive(Debug)]
struct Answer<'a> {
    status: u16,
    headers: Vec<(String, &'a str)>,
    body: Vec<u8>,
}

/// Every answer is well-formed, belongs to a request that was heard, and is a problem document where it refuses. What was
/// sent says which answers have no body, also where the server heard nothing, as what follows could be read in two ways.
///
/// # Panics
/// Where not.
pub(super) fn check(answered: &[u8], heard: &[Heard], sent: &Read) {
    let (mut rest, mut count) = (answered, 0);
    while !rest.is_empty() {
        let request = heard.get(count);
        let sent = sent.requests.get(count).map(|sent| &sent.method);
        let method = request.map(|heard| &heard.method).or(sent);
        let (answer, bytes) = read(rest, method.is_some_and(|method| method == "HEAD")).unwrap_or_else(|| {
            panic!("answer {count} is not well-formed: {:?} in {:?}", text(rest), text(answered));
        });
        rest = &rest[bytes..];
        if answer.status < 200 {
            assert_eq!(answer.status, 100, "{answer:?}");
            continue;
        }
        count += 1;
        match request {
            Some(request) => is_right(&answer, request),
            None => {
                assert!(NO_REQUEST.contains(&answer.status), "nobody asked for {answer:?}");
                assert!(rest.is_empty(), "the connection went on behind {answer:?}");
            }
        }
    }
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn is_right(answer: &Answer<'_>, request: &Heard) {
    assert!(answer.header("x-request-id").is_some(), "{answer:?}");
    if answer.status < 400 {
        return;
    }
    assert_eq!(answer.header("content-type"), Some(PROBLEM_JSON), "{answer:?} to {request:?}");
    assert!(answer.status < 500 || is_by_design(request), "{answer:?} to {request:?}");
    assert_eq!(matches!(answer.status, 429 | 503), answer.header("retry-after").is_some(), "{answer:?}");
    if request.method != "HEAD" {
        let problem: ProblemDocument =
            serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
        assert_eq!(problem.status, answer.status, "{answer:?}");
    }
}

/// The folder of plugins in memory fails where a test asks it to.
pub(super) fn is_by_design(request: &Heard) -> bool {
    request.target.contains("/v1/plugins/") && (request.body == b"disk" || request.target.contains("stuck"))
}

impl Answer<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

/// Reads one answer, to HEAD or not, and how many bytes it has.
fn read(input: &[u8], is_to_head: bool) -> Option<(Answer<'_>, usize)> {
    let head_bytes = input.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&input[..head_bytes - 4]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ").or_else(|| head.strip_prefix("HTTP/1.0 "))?;
    let status = status.get(..3)?.parse().ok()?;
    let headers: Vec<_> = lines.map(header).collect::<Option<_>>()?;
    let mut answer = Answer { status, headers, body: Vec::new() };
    let rest = &input[head_bytes..];
    let has_body = status >= 200 && !matches!(status, 204 | 304) && !is_to_head;
    let body_bytes = if !has_body {
        0
    } else if answer.header("transfer-encoding") == Some("chunked") {
        let (body, bytes) = chunks(rest)?;
        answer.body = body;
        bytes
    } else {
        let length: usize = answer.header("content-length")?.parse().ok()?;
        answer.body = rest.get(..length)?.to_vec();
        length
    };
    Some((answer, head_bytes + body_bytes))
}

fn header(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.split_once(": ").or_else(|| Some((line.strip_suffix(':')?, "")))?;
    let is_sound = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    is_sound.then(|| (name.to_ascii_lowercase(), value))
}

fn chunks(input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let end = at + input[at..].windows(2).position(|pair| pair == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&input[at..end]).ok()?, 16).ok()?;
        let data = input.get(end + 2..end + 2 + size)?;
        body.extend_from_slice(data);
        at = end + 2 + size + 2;
        if input.get(at - 2..at)? != b"\r\n" {
            return None;
        }
        if size == 0 {
            return Some((body, at));
        }
    }
}
