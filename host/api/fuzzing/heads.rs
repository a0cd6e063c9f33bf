//! A strict reader of the requests on one connection of HTTP/1 (RFC 9112), beside which the server's is held. It takes a
//! bare LF for the end of a line in a head, as the RFC lets it, and is at a loss wherever two readers could disagree.

/// What it read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) requests: Vec<Request>,
    pub(super) tail: Tail,
}

/// A whole request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) body: Vec<u8>,
}

/// What comes behind the last whole request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing that counts: the last request was the last of its connection.
    Closed,
    /// The begin of a head, or nothing.
    Unfinished,
    /// What is no head.
    Unclear,
    /// A whole head, whose body breaks off or makes no sense.
    Body { method: String, target: String },
}

struct Head {
    method: String,
    target: String,
    is_1_1: bool,
    headers: Vec<(String, String)>,
}

enum Stop {
    Unfinished,
    Unclear,
}

type Step<T> = Result<(T, usize), Stop>;

pub(super) fn read(input: &[u8]) -> Read {
    let (mut requests, mut rest) = (Vec::new(), input);
    let tail = loop {
        let (head, head_bytes) = match head(rest) {
            Ok(read) => read,
            Err(Stop::Unfinished) => break Tail::Unfinished,
            Err(Stop::Unclear) => break Tail::Unclear,
        };
        rest = &rest[head_bytes..];
        let is_last = is_last(&head);
        let Ok((body, body_bytes)) = body(&head, rest) else {
            break Tail::Body { method: head.method, target: head.target };
        };
        rest = &rest[body_bytes..];
        requests.push(Request { method: head.method, target: head.target, body });
        if is_last {
            break Tail::Closed;
        }
    };
    Read { requests, tail }
}

/// The line up to its LF, without a CR before that.
fn line(input: &[u8]) -> Step<&[u8]> {
    let end = input.iter().position(|byte| *byte == b'\n').ok_or(Stop::Unfinished)?;
    let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
    if line.contains(&b'\r') { Err(Stop::Unclear) } else { Ok((line, end + 1)) }
}

fn head(input: &[u8]) -> Step<Head> {
    let mut at = 0;
    let (mut first, mut bytes) = line(input)?;
    at += bytes;
    while first.is_empty() {
        (first, bytes) = line(&input[at..])?;
        at += bytes;
    }
    let (method, target, is_1_1) = request_line(first).ok_or(Stop::Unclear)?;
    let mut headers = Vec::new();
    loop {
        let (next, bytes) = line(&input[at..])?;
        at += bytes;
        if next.is_empty() {
            return Ok((Head { method, target, is_1_1, headers }, at));
        }
        headers.push(header(next).ok_or(Stop::Unclear)?);
    }
}

fn request_line(line: &[u8]) -> Option<(String, String, bool)> {
    let text = std::str::from_utf8(line).ok()?;
    let [method, target, version] = text.split(' ').collect::<Vec<_>>()[..] else { return None };
    let is_1_1 = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ => return None,
    };
    let is_visible = !target.is_empty() && !target.bytes().any(|byte| byte < 0x21 || byte == 0x7f);
    (is_token(method) && is_visible).then(|| (method.to_owned(), as_uri(target), is_1_1))
}

/// As the server's type of URIs writes it: without a fragment, which no request should have.
fn as_uri(target: &str) -> String {
    target.parse::<axum::http::Uri>().map_or_else(|_| target.to_owned(), |uri| uri.to_string())
}

fn header(line: &[u8]) -> Option<(String, String)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = std::str::from_utf8(&line[..colon]).ok().filter(|name| is_token(name))?;
    let value = &line[colon + 1..];
    let is_text = value.iter().all(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f);
    let value = String::from_utf8_lossy(value);
    is_text.then(|| (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

impl Head {
    fn values(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The members of a header that is a list, in lower case.
    fn members(&self, name: &str) -> Vec<String> {
        let all = self.values(name).join(",");
        all.split(',').map(|member| member.trim_matches([' ', '\t']).to_ascii_lowercase()).collect()
    }
}

/// Whether the connection ends with this request. One with a body in chunks is the last: a reader before this server may
/// have gone by a length that also stood there (RFC 9112 §6.1).
fn is_last(head: &Head) -> bool {
    let said = head.members("connection");
    let says = |what: &str| said.iter().any(|member| member == what);
    says("close") || !head.is_1_1 && !says("keep-alive") || !head.values("transfer-encoding").is_empty()
}

fn body(head: &Head, input: &[u8]) -> Step<Vec<u8>> {
    let codings = head.values("transfer-encoding");
    if !codings.is_empty() {
        let is_chunked = head.members("transfer-encoding").last().is_some_and(|last| last == "chunked");
        return if head.is_1_1 && is_chunked { chunks(input) } else { Err(Stop::Unclear) };
    }
    let mut length = 0;
    for (place, said) in head.values("content-length").into_iter().enumerate() {
        let is_number = !said.is_empty() && said.bytes().all(|byte| byte.is_ascii_digit());
        let said: usize = said.parse().ok().filter(|_| is_number).ok_or(Stop::Unclear)?;
        if place > 0 && said != length {
            return Err(Stop::Unclear);
        }
        length = said;
    }
    let body = input.get(..length).ok_or(Stop::Unfinished)?;
    Ok((body.to_vec(), length))
}

fn chunks(input: &[u8]) -> Step<Vec<u8>> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let (size_line, bytes) = strict_line(&input[at..])?;
        at += bytes;
        let size = size_line.split(|byte| *byte == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(size).map_err(|_| Stop::Unclear)?.trim_end_matches([' ', '\t']);
        let is_number = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = usize::from_str_radix(size, 16).ok().filter(|_| is_number).ok_or(Stop::Unclear)?;
        if size == 0 {
            break;
        }
        let end = at.checked_add(size).ok_or(Stop::Unclear)?;
        body.extend_from_slice(input.get(at..end).ok_or(Stop::Unfinished)?);
        match input.get(end..end + 2) {
            Some(b"\r\n") => at = end + 2,
            Some(_) => return Err(Stop::Unclear),
            None => return Err(Stop::Unfinished),
        }
    }
    loop {
        let (trailer, bytes) = strict_line(&input[at..])?;
        at += bytes;
        if trailer.is_empty() {
            return Ok((body, at));
        }
        header(trailer).ok_or(Stop::Unclear)?;
    }
}

/// A line that ends with CR and LF, as it must in chunks.
fn strict_line(input: &[u8]) -> Step<&[u8]> {
    let end = input.windows(2).position(|pair| pair == b"\r\n").ok_or(Stop::Unfinished)?;
    let line = &input[..end];
    if line.iter().any(|byte| matches!(byte, b'\r' | b'\n')) { Err(Stop::Unclear) } else { Ok((line, end + 2)) }
}
