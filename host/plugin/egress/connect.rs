//! From a host to a connection: resolve, judge every address, dial the one that was judged.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use ipnet::IpNet;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::config::Origin;

use super::address;
use super::call::Call;
use super::failure::{Denial, Unreachable};
use super::link::Link;
use super::proxy::Tunnel;
use super::race::{self, CONNECT_TIMEOUT, Miss};
use super::resolve::Resolver;
use super::sockets::{Socket, Sockets};

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// The addresses are out of bounds.
    #[error("{0}")]
    Denied(Denial),
    /// The machine has nothing to make one of.
    #[error("{0}")]
    Lacking(String),
    /// The way ends somewhere.
    #[error("{1}")]
    Unreachable(Unreachable, String),
}

/// Opens connections for one plugin. Origins are judged before: what comes here is granted.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    /// The special ranges that names may resolve to.
    pub(super) allow_cidrs: Arc<[IpNet]>,
    /// Where names are looked up.
    pub(super) resolver: Resolver,
    /// What all connections go through.
    pub(super) proxy: Option<Arc<Tunnel>>,
    /// The origins that are only called where they are inside, as what the host adds to their requests is for nobody
    /// else to read.
    pub(super) inside_only: Arc<[Origin]>,
    /// The file that says so.
    pub(super) file: Arc<str>,
    /// The plugin, and what all share.
    pub(super) plugin: Arc<str>,
    pub(super) sockets: Arc<Sockets>,
}

/// Where one connection leads.
#[derive(Debug)]
pub(super) struct Route {
    host: String,
    addresses: Vec<SocketAddr>,
    /// The proxy's, where there is one.
    via: Vec<SocketAddr>,
}

impl Connector {
    /// Looks up where that URL leads, and judges it.
    pub(super) async fn route(&self, uri: &Uri) -> Result<Route, ConnectError> {
        let host = uri.host().unwrap_or_default();
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let mut addresses = self.addresses(host, port).await?;
        let mut via = match &self.proxy {
            Some(proxy) => proxy.addresses(&self.resolver).await?,
            None => Vec::new(),
        };
        if !is_tls && self.is_inside_only(uri) {
            addresses = self.inside(host, addresses, "")?;
            if self.proxy.is_some() {
                // It reads what goes through it.
                via = self.inside(host, via, " through a proxy elsewhere")?;
            }
        }
        Ok(Route { host: host.to_owned(), addresses, via })
    }

    /// Leave to have one more socket for that call, when it is the plugin's turn.
    pub(super) async fn socket(&self, call: &Call) -> Socket {
        let _in_line = call.stand_in_line();
        self.sockets.take(&self.plugin).await
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
        let found = self.resolver.addresses(host, port).await.map_err(|error| {
            ConnectError::Unreachable(Unreachable::Name, format!("{host} cannot be resolved: {error}"))
        })?;
        self.judge(host, found)
    }

    /// Keeps the addresses that a name may have.
    pub(super) fn judge(&self, host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, ConnectError> {
        let refused = |address: &SocketAddr| {
            let what = address::special(address.ip())?;
            (!address::is_allowed(address.ip(), &self.allow_cidrs)).then_some(what)
        };
        let first = found.iter().find_map(|address| Some((address.ip(), refused(address)?)));
        let kept: Vec<_> = found.iter().copied().filter(|address| refused(address).is_none()).collect();
        match first {
            Some((address, what)) if kept.is_empty() => Err(ConnectError::Denied(self.denial(host, address, what))),
            None if kept.is_empty() => {
                Err(ConnectError::Unreachable(Unreachable::Name, format!("{host} has no address")))
            }
            _ => Ok(kept),
        }
    }

    fn denial(&self, host: &str, address: IpAddr, what: &str) -> Denial {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let ranges = self.allow_cidrs.iter().map(ToString::to_string).chain([format!("{address}/{bits}")]);
        let ranges = ranges.map(|range| format!("\"{range}\"")).collect::<Vec<_>>().join(", ");
        Denial {
            told: format!("{host} resolves to {what}, which is out of bounds"),
            remedy: format!(
                "{host} resolves to {address}, {what}: if that is right, add \"{address}/{bits}\" to allow_cidrs under \
                 [network] in windlass.toml: allow_cidrs = [{ranges}]"
            ),
        }
    }

    fn is_inside_only(&self, uri: &Uri) -> bool {
        let origin = || Origin::of(&uri.to_string().parse().ok()?).ok();
        !self.inside_only.is_empty() && origin().is_some_and(|origin| self.inside_only.contains(&origin))
    }

    fn inside(&self, host: &str, addresses: Vec<SocketAddr>, how: &str) -> Result<Vec<SocketAddr>, ConnectError> {
        let is_inside = |address: &SocketAddr| address::is_inside(address.ip(), &self.allow_cidrs);
        let kept: Vec<_> = addresses.into_iter().filter(is_inside).collect();
        if !kept.is_empty() {
            return Ok(kept);
        }
        let told = format!("what the host adds to requests for {host} does not go over plain http{how}");
        let remedy = format!(
            "{told}: grant its https origin, or add plain_http = true to inject in {} where everybody on the way may \
             read it",
            self.file
        );
        Err(ConnectError::Denied(Denial { told, remedy }))
    }

    async fn dial(self, Route { host, addresses, via }: Route, socket: Socket) -> Result<Link, ConnectError> {
        let stream = match &self.proxy {
            Some(proxy) => self.through(proxy, &via, &host, &addresses).await?,
            None => {
                let made = race::first(&addresses, self.beside(), TcpStream::connect).await;
                made.map_err(|miss| missed(&host, &miss))?
            }
        };
        Ok(Link::new(stream, socket))
    }

    /// One tunnel after the other: how fast an address answers is the proxy's to find out.
    async fn through(
        &self,
        proxy: &Tunnel,
        via: &[SocketAddr],
        host: &str,
        addresses: &[SocketAddr],
    ) -> Result<TcpStream, ConnectError> {
        let mut failure = missed(host, &Miss::NoAddress);
        for address in race::in_turn(addresses) {
            match proxy.open(via, address, self.beside()).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Leave to have a second socket for as long as two addresses are dialled at once. Nobody waits for it: where there is
    /// none to spare, they are dialled one after the other.
    fn beside(&self) -> impl FnMut() -> bool + use<> {
        let (sockets, plugin) = (self.sockets.clone(), self.plugin.clone());
        let mut second = None;
        move || {
            second = second.take().or_else(|| sockets.take_spare(&plugin));
            second.is_some()
        }
    }
}

fn missed(host: &str, miss: &Miss) -> ConnectError {
    let (what, message) = match miss {
        Miss::NoAddress => (Unreachable::Name, format!("{host} has no address")),
        Miss::Lacking(address, error) => {
            return ConnectError::Lacking(format!("cannot connect to {host} at {address} from here: {error}"));
        }
        Miss::Refused(address, error) => {
            (Unreachable::Refused, format!("cannot connect to {host} at {address}: {error}"))
        }
        Miss::TimedOut(address) => {
            let why = format!("no answer within {CONNECT_TIMEOUT:?}");
            (Unreachable::TimedOut, format!("cannot connect to {host} at {address}: {why}"))
        }
    };
    ConnectError::Unreachable(what, message)
}

/// Makes one connection: everything that it takes is there.
pub(super) struct Dial {
    connector: Connector,
    ready: Option<(Route, Socket)>,
}

impl Dial {
    /// The connection that leads there, over that socket.
    pub(super) fn new(connector: Connector, route: Route, socket: Socket) -> Self {
        Self { connector, ready: Some((route, socket)) }
    }
}

impl Service<Uri> for Dial {
    type Response = Link;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (route, socket) = self.ready.take().expect("one connection is made of it");
        Box::pin(self.connector.clone().dial(route, socket))
    }
}

#[cfg(test)]
mod tests;
