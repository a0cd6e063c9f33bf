//! The command line's way to a running server.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use axum::http::header::{AUTHORIZATION, RETRY_AFTER};
use axum::http::{HeaderValue, Method, StatusCode, Uri, request};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::timeout;

use super::end::WrongUsage;
use super::{print, typed};
use crate::config::is_loopback_name;
use crate::job::text;
use crate::job::units::TimeSpan;

mod answer;
mod fault;
mod patience;
mod tls;

pub(super) use answer::{Answer, Pages};
pub(super) use fault::Fault;
pub(super) use patience::About;
use patience::{Patience, Within};

/// The environment variable with a token. No argument takes one: others see those.
const TOKEN_VARIABLE: &str = "WINDLASS_TOKEN";
/// The environment variable that names the server.
const SERVER_VARIABLE: &str = "WINDLASS_SERVER";
/// The largest file with a token.
const TOKEN_FILE_BYTES_MAX: usize = 4 << 10;

/// Which server, what lets us in, and whom to trust.
#[derive(Args, Debug)]
pub(super) struct ServerArgs {
    /// The server
    #[arg(long, value_name = "URL", env = SERVER_VARIABLE, default_value = "http://127.0.0.1:7070", value_parser = server)]
    server: Uri,
    /// A file with the token [default: the token in the variable WINDLASS_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A file with the certificates of an authority to trust besides the usual ones, in PEM
    #[arg(long, value_name = "FILE", env = "WINDLASS_CA")]
    ca: Option<PathBuf>,
    /// How long the server may say nothing [default: 30s; while it compiles a component 30m, and 10s beyond a time that
    /// it is asked to wait]
    #[arg(long, value_name = "DURATION", value_parser = typed::patience)]
    timeout: Option<TimeSpan>,
}

/// A server that answers in JSON.
pub(super) struct Client {
    http: legacy::Client<Within, Full<Bytes>>,
    way: Within,
    base: String,
    token: Option<HeaderValue>,
    patience: Patience,
}

/// A request to be filled in.
pub(super) struct Request {
    head: request::Builder,
    body: Bytes,
    asked: Asked,
}

/// What is asked for.
struct Asked {
    /// The same for people.
    told: String,
    about: About,
    /// Nothing is changed by it.
    is_look: bool,
}

impl ServerArgs {
    /// A client of that server. Proxies of the environment are not asked: the server is near.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        let base = without_user(&self.server);
        let wrong = |error: anyhow::Error| WrongUsage::new(&format!("{error:#}"));
        let token = self.token().map_err(wrong)?;
        let is_open = self.server.scheme_str() == Some("http") && !self.server.host().is_some_and(is_loopback_name);
        if token.is_some() && is_open {
            print::complain(&format!(
                "windlass: the token goes to {base} without TLS, and whoever is on the way can read it; use https"
            ));
        }
        let patience = Patience::new(self.timeout);
        let way =
            Within::new(tls::connector(self.ca.as_deref()).context("--ca").map_err(wrong)?, patience.to_connect());
        let http = legacy::Client::builder(TokioExecutor::new()).build(way.clone());
        Ok(Client { http, way, base, token, patience })
    }

    /// What the header `Authorization` says.
    fn token(&self) -> anyhow::Result<Option<HeaderValue>> {
        let (text, place) = match &self.token_file {
            Some(file) => (read_token(file)?, file.display().to_string()),
            None => match std::env::var(TOKEN_VARIABLE) {
                Ok(text) if text.trim().is_empty() => return Ok(None),
                Ok(text) => (text, format!("the variable {TOKEN_VARIABLE}")),
                Err(std::env::VarError::NotPresent) => return Ok(None),
                Err(_) => bail!("the variable {TOKEN_VARIABLE} holds no token"),
            },
        };
        let text = text.trim();
        let is_token = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let value = HeaderValue::from_str(&format!("Bearer {text}")).ok().filter(|_| is_token);
        let mut value = value.ok_or_else(|| anyhow!("{place} holds no token; a token is one word"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn read_token(file: &Path) -> anyhow::Result<String> {
    let text = typed::text_file(file).context("--token-file")?;
    if text.len() > TOKEN_FILE_BYTES_MAX {
        bail!("{} holds no token; a token is one word", file.display());
    }
    Ok(text)
}

/// Reads the URL of a server.
fn server(text: &str) -> Result<Uri, String> {
    let url = text.parse().ok().filter(|url: &Uri| matches!(url.scheme_str(), Some("http" | "https")));
    // A password with a slash, a question mark or a hash ends what is taken for the host.
    let users = |text: &str| text.matches('@').count();
    let url = url.filter(|url| users(text) == url.authority().map_or(0, |authority| users(authority.as_str())));
    let url = url.filter(|url| url.host().is_some_and(|host| !host.is_empty())).ok_or_else(|| {
        format!("a server is named by a URL such as http://127.0.0.1:7070, here or in the variable {SERVER_VARIABLE}")
    })?;
    // What is no port is not taken for one: the URL would be asked at the usual port of its scheme.
    match host_and_port(&url).rsplit_once(':') {
        Some((_, port)) if !port.is_empty() && !port.ends_with(']') && !is_port(port) => {
            Err(format!("{port} is no port; ports are 1 to {}", u16::MAX))
        }
        _ => Ok(url),
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && matches!(text.parse(), Ok(1..=u16::MAX))
}

/// Without the user.
fn host_and_port(server: &Uri) -> &str {
    server.authority().and_then(|authority| authority.as_str().rsplit('@').next()).unwrap_or_default()
}

/// The URL of a server as it is told and asked. A password in it is of no use, and nobody is to read it in a log.
fn without_user(server: &Uri) -> String {
    let url = format!("{}://{}{}", server.scheme_str().unwrap_or_default(), host_and_port(server), server.path());
    url.trim_end_matches('/').to_owned()
}

impl Request {
    /// The same with a header.
    pub(super) fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.head = self.head.header(name, value.as_ref());
        self
    }

    /// The same with a body.
    pub(super) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The same, whose answer is about that.
    pub(super) fn about(mut self, about: About) -> Self {
        self.asked.about = about;
        self
    }

    /// The same with a body of JSON.
    pub(super) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }
}

impl Client {
    /// A request to be filled in.
    pub(super) fn request(&self, method: Method, path: &str) -> Request {
        let asked = Asked {
            told: format!("{method} {}", path.split('?').next().unwrap_or_default()),
            about: About::default(),
            is_look: method == Method::GET,
        };
        let head = axum::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        let head = match &self.token {
            Some(token) => head.header(AUTHORIZATION, token),
            None => head,
        };
        Request { head, body: Bytes::new(), asked }
    }

    /// What stands at that path.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(self.request(Method::GET, path)).await
    }

    /// Pages of a list until `most` are there or nothing is left. `filter` is what follows in the query. A page may be
    /// short with more to come.
    pub(super) async fn pages(&self, list: &str, filter: &str, page_max: usize, most: usize) -> anyhow::Result<Pages> {
        let mut pages = Pages::default();
        loop {
            let limit = (most - pages.items.len()).min(page_max);
            let next = pages.next.as_ref();
            let cursor = next.map(|cursor| format!("&cursor={}", escaped(cursor))).unwrap_or_default();
            pages.add(list, &self.get(&format!("/v1/{list}?limit={limit}{filter}{cursor}")).await?)?;
            if pages.next.is_none() || pages.items.len() >= most {
                return Ok(pages);
            }
        }
    }

    /// Does something there.
    pub(super) async fn post(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(self.request(Method::POST, path)).await
    }

    /// Sends a request and reads its answer. A refusal is an error with the server's own words.
    pub(super) async fn send(&self, request: Request) -> anyhow::Result<Answer> {
        let Request { head, body, asked } = request;
        let most = self.patience.to_answer(asked.about, body.len());
        let request = head.body(Full::new(body)).context("that cannot be sent over HTTP")?;
        let mut answering = pin!(self.http.request(request));
        let answer = timeout(most.0, &mut answering).await.map_err(|_| match self.way.unreached() {
            Some(why) => Fault::unreached(&self.base, &why),
            None => self.silent("has not answered", &asked, most),
        })?;
        let answer = answer.map_err(|error| Fault::of(&error, &self.base))?;
        let (status, again) = (answer.status(), seconds(answer.headers().get(RETRY_AFTER)));
        let body = self.read(answer.into_body(), &asked).await?;
        if status == StatusCode::NO_CONTENT {
            return Ok(Answer { text: String::new(), value: Value::Null });
        }
        let read = str::from_utf8(&body).map_err(anyhow::Error::from).and_then(|text| Ok(Answer::read(text)?));
        let answer = read.map_err(|why| {
            let told = format!("{} answered {status} and no JSON: is it a windlass?: {why:#}", self.base);
            Fault::refused(told, status, again)
        })?;
        if status.is_success() {
            return Ok(answer);
        }
        let detail = answer["detail"].as_str().unwrap_or("the server refused and gave no reason");
        let mut detail = text::line(detail, usize::MAX);
        if status == StatusCode::UNAUTHORIZED {
            detail.push_str(&format!("; here a token comes from {TOKEN_VARIABLE} or --token-file"));
        }
        Err(Fault::refused(detail, status, again).into())
    }

    /// All of an answer.
    async fn read(&self, mut body: Incoming, asked: &Asked) -> anyhow::Result<Vec<u8>> {
        let (mut bytes, most, bytes_max) = (Vec::new(), self.patience.to_go_on(), asked.about.bytes_max());
        loop {
            let frame = timeout(most.0, body.frame()).await;
            let frame = frame.map_err(|_| self.silent("has said no more of its answer to", asked, most))?;
            let Some(frame) = frame else { return Ok(bytes) };
            let frame = frame.map_err(|error| Fault::absent(format!("{} broke off its answer: {error}", self.base)))?;
            let Ok(data) = frame.into_data() else { continue };
            if (bytes.len() + data.len()) as u64 > bytes_max.0 {
                bail!("{} answers {} with more than {bytes_max}: is it a windlass?", self.base, asked.told);
            }
            bytes.extend_from_slice(&data);
        }
    }

    /// That a server is silent for too long.
    fn silent(&self, what: &str, asked: &Asked, most: TimeSpan) -> Fault {
        let done = if asked.is_look { "" } else { "; what was asked for may be done all the same" };
        let help = "see whether that server is stopped or overloaded, or say with --timeout how long to wait";
        Fault::absent(format!("{} {what} {} for {most}: {help}{done}", self.base, asked.told))
    }
}

/// After what `Retry-After` says, where it says seconds.
fn seconds(value: Option<&HeaderValue>) -> Option<Duration> {
    value?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

/// A text as one segment of a path or one value of a query.
pub(super) fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}
