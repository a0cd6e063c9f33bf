//! The command line's way to a running server.

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;

/// Which server, and how its answers are printed.
#[derive(Args, Debug)]
pub(super) struct ServerArgs {
    /// The server
    #[arg(long, value_name = "URL", env = "WINDLASS_SERVER", default_value = "http://127.0.0.1:7070")]
    server: String,
}

/// A server that answers in JSON.
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
}

impl ServerArgs {
    /// A client of that server. Proxies of the environment are not asked: the server is near.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        let http = reqwest::Client::builder().no_proxy().build().context("cannot make an HTTP client")?;
        Ok(Client { http, base: self.server.trim_end_matches('/').to_owned() })
    }
}

impl Client {
    /// A request to be filled in.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// What stands at that path.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(self.request(Method::GET, path)).await
    }

    /// Does something there.
    pub(super) async fn post(&self, path: &str) -> anyhow::Result<Value> {
        self.send(self.request(Method::POST, path)).await
    }

    /// Sends a request and reads its answer. A refusal is an error with the server's own words.
    pub(super) async fn send(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => {
                bail!("no windlass answers at {}; start one with `windlass serve`, or name it with --server", self.base)
            }
            Err(error) if error.is_builder() => bail!("{:?} is not the URL of a server", self.base),
            Err(error) => return Err(anyhow!(error.without_url()).context(format!("{} gave no answer", self.base))),
        };
        let status = answer.status();
        let text = answer.text().await.with_context(|| format!("{} broke off its answer", self.base))?;
        if status == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        let value: Value = serde_json::from_str(&text)
            .with_context(|| format!("{} answered {status} and no JSON: is it a windlass?", self.base))?;
        if status.is_success() {
            return Ok(value);
        }
        bail!("{}", value["detail"].as_str().unwrap_or("the server refused and gave no reason"))
    }
}

/// A text as one segment of a path or one value of a query.
pub(super) fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}
