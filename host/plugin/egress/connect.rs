//! From a host to a connection: resolve, judge every address, dial the one that was judged.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;
use tower_service::Service;

use super::address;
use super::failure::{Denial, Unreachable};

/// How long one address may take to answer before the next is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How many addresses of a name are tried.
const ADDRESSES_MAX: usize = 8;
/// Look-ups at once, per plugin: each holds a thread, however long the name server takes.
const LOOKUPS_MAX: usize = 16;

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// The addresses are out of bounds.
    #[error("{0}")]
    Denied(Denial),
    /// The way ends somewhere.
    #[error("{1}")]
    Unreachable(Unreachable, String),
}

/// Opens connections for one plugin. Origins are judged before: what comes here is granted.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    allow_cidrs: Arc<[IpNet]>,
    lookups: Arc<Semaphore>,
    /// Where connections are made and kept going, whoever asks for one; none: where they are asked for.
    serving: Option<Handle>,
}

impl Connector {
    /// A connector that lets names resolve to those special ranges.
    pub(super) fn new(allow_cidrs: Arc<[IpNet]>) -> Self {
        Self { allow_cidrs, lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)), serving: None }
    }

    /// The same, with connections that belong to that runtime.
    pub(super) fn on(self, serving: Handle) -> Self {
        Self { serving: Some(serving), ..self }
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<TcpStream>, ConnectError> {
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let addresses = self.addresses(host, port).await?;
        dial(host, &addresses).await
    }

    /// The addresses that may be dialled for that host. A literal and `localhost` were granted as such.
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        if host == "localhost" {
            let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            return Ok(loopback.into_iter().map(|address| SocketAddr::new(address, port)).collect());
        }
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let found = self.resolve(host.to_owned(), port).await.map_err(|error| {
            ConnectError::Unreachable(Unreachable::Name, format!("{host} cannot be resolved: {error}"))
        })?;
        self.judge(host, found)
    }

    /// A look-up cannot be called off, so that it keeps its permit to its end, also when nobody waits any more.
    async fn resolve(&self, host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
        let permit = self.lookups.clone().acquire_owned().await.map_err(io::Error::other)?;
        let lookup = tokio::spawn(async move {
            let found = tokio::net::lookup_host((host.as_str(), port)).await.map(Iterator::collect);
            drop(permit);
            found
        });
        lookup.await.map_err(io::Error::other)?
    }

    /// Keeps the addresses that a name may have.
    fn judge(&self, host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, ConnectError> {
        let refused = |address: &SocketAddr| {
            let what = address::special(address.ip())?;
            (!address::is_allowed(address.ip(), &self.allow_cidrs)).then_some(what)
        };
        let first = found.iter().find_map(|address| Some((address.ip(), refused(address)?)));
        let kept: Vec<_> = found.iter().copied().filter(|address| refused(address).is_none()).collect();
        match first {
            Some((address, what)) if kept.is_empty() => Err(ConnectError::Denied(denial(host, address, what))),
            None if kept.is_empty() => {
                Err(ConnectError::Unreachable(Unreachable::Name, format!("{host} has no address")))
            }
            _ => Ok(kept),
        }
    }
}

fn denial(host: &str, address: IpAddr, what: &str) -> Denial {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    Denial {
        told: format!("{host} resolves to {what}, which is out of bounds"),
        remedy: format!(
            "{host} resolves to {address}, {what}: if that is right, add \"{address}/{bits}\" to allow_cidrs under \
             [network] in windlass.toml"
        ),
    }
}

async fn dial(host: &str, addresses: &[SocketAddr]) -> Result<TokioIo<TcpStream>, ConnectError> {
    let mut failure = (Unreachable::Refused, format!("{host} has no address"));
    for address in addresses.iter().take(ADDRESSES_MAX) {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Without it small requests wait for the acknowledgement of the one before.
                let _ = stream.set_nodelay(true);
                return Ok(TokioIo::new(stream));
            }
            Ok(Err(error)) => {
                failure = (Unreachable::Refused, format!("cannot connect to {host} at {address}: {error}"));
            }
            Err(_) => {
                let message = format!("cannot connect to {host} at {address}: no answer within {CONNECT_TIMEOUT:?}");
                failure = (Unreachable::TimedOut, message);
            }
        }
    }
    Err(ConnectError::Unreachable(failure.0, failure.1))
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.clone().connect(uri);
        let Some(serving) = &self.serving else { return Box::pin(connecting) };
        let connecting = AbortOnDropHandle::new(serving.spawn(connecting));
        Box::pin(async move {
            let lost = |error| ConnectError::Unreachable(Unreachable::Refused, format!("cannot connect: {error}"));
            connecting.await.map_err(lost)?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(addresses: &[&str], allowed: &[&str]) -> Result<Vec<SocketAddr>, ConnectError> {
        let ranges: Vec<IpNet> = allowed.iter().map(|range| range.parse().unwrap()).collect();
        let found = addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 80)).collect();
        Connector::new(ranges.into()).judge("db.example.com", found)
    }

    #[test]
    fn a_name_may_not_have_a_special_address() {
        let Err(ConnectError::Denied(denial)) = judge(&["10.0.0.7"], &[]) else { panic!("not denied") };
        assert!(denial.remedy.contains(r#"add "10.0.0.7/32" to allow_cidrs"#));
        assert!(!denial.told.contains("10.0.0.7"), "the guest need not know the address");
        assert!(judge(&["10.0.0.7"], &["10.0.0.0/24"]).is_ok());
        assert!(judge(&["10.0.1.7"], &["10.0.0.0/24"]).is_err());
    }

    #[test]
    fn of_several_addresses_only_the_public_ones_are_dialled() {
        let kept = judge(&["169.254.169.254", "8.8.8.8", "::ffff:127.0.0.1"], &[]).unwrap();
        assert_eq!(kept, ["8.8.8.8:80".parse().unwrap()]);
    }

    #[tokio::test]
    async fn literals_and_localhost_are_not_resolved() {
        let connector = Connector::new(Arc::new([]));
        let literal = connector.addresses("[::1]", 8080).await.unwrap();
        assert_eq!(literal, ["[::1]:8080".parse().unwrap()]);
        let localhost = connector.addresses("localhost", 81).await.unwrap();
        assert!(localhost.iter().all(|address| address.ip().is_loopback()));
    }
}
