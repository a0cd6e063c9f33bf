//! From a name to addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::Semaphore;

/// Look-ups at once, per plugin: each holds a thread, however long the name server takes.
const LOOKUPS_MAX: usize = 16;
/// Whom names are looked up with.
#[derive(Clone, Debug, Default)]
pub(super) enum Names {
    /// The system.
    #[default]
    System,
    /// A test: each look-up has the next answer, and the last one from then on.
    #[cfg(test)]
    Scripted(Arc<std::sync::Mutex<Vec<Vec<IpAddr>>>>),
}

/// Looks names up for one plugin.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    names: Names,
    lookups: Arc<Semaphore>,
    of_host: Arc<Semaphore>,
}

impl Resolver {
    /// One that asks there, and shares `of_host` with all others.
    pub(super) fn new(names: Names, of_host: Arc<Semaphore>) -> Self {
        Self { names, lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)), of_host }
    }

    /// The addresses of that host now; a literal is its own address. Nothing is remembered from one time to the next.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        match &self.names {
            Names::System => self.system(host.to_owned(), port).await,
            #[cfg(test)]
            Names::Scripted(answers) => {
                let mut answers = answers.lock().unwrap();
                let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
                Ok(answer.into_iter().map(|address| SocketAddr::new(address, port)).collect())
            }
        }
    }

    /// A look-up cannot be called off, so that it keeps its permit to its end, also when nobody waits any more.
    async fn system(&self, host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
        let own = self.lookups.clone().acquire_owned().await.map_err(io::Error::other)?;
        let of_host = self.of_host.clone().acquire_owned().await.map_err(io::Error::other)?;
        let lookup = tokio::spawn(async move {
            let found = tokio::net::lookup_host((host.as_str(), port)).await.map(Iterator::collect);
            drop((own, of_host));
            found
        });
        lookup.await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_look_up_waits_for_the_host_to_have_room() {
        let of_host = Arc::new(Semaphore::new(0));
        let resolver = Resolver::new(Names::System, of_host.clone());
        let mut found = std::pin::pin!(resolver.addresses("localhost", 80));
        for _ in 0..100 {
            tokio::select! {
                biased;
                _ = &mut found => panic!("it asked though there was no room"),
                () = tokio::task::yield_now() => {}
            }
        }
        of_host.add_permits(1);
        // Whatever the system answers: it was asked.
        let _ = found.await;
        assert_eq!(of_host.available_permits(), 1);
        // A literal asks nobody.
        assert!(Resolver::new(Names::System, Arc::new(Semaphore::new(0))).addresses("::1", 80).await.is_ok());
    }
}
