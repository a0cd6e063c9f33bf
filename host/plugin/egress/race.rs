//! Which of several addresses a connection is made to: the first that takes one, where each next is tried a moment after
//! the one before (RFC 8305).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::super::lack;

/// How long one address may take to answer.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How many addresses of a name are tried.
const ADDRESSES_MAX: usize = 8;
/// How long one address is tried alone.
const HEAD_START: Duration = Duration::from_millis(250);
/// How many are tried at once: each takes a descriptor meanwhile.
const AT_ONCE_MAX: usize = 2;

/// Why none of them took a connection.
#[derive(Debug)]
pub(super) enum Miss {
    /// There is none.
    NoAddress,
    /// That one refused, as did all others that answered.
    Refused(SocketAddr, io::Error),
    /// The machine had nothing to make a connection to that one of, and no other refused.
    Lacking(SocketAddr, io::Error),
    /// That one did not answer, and neither did any other.
    TimedOut(SocketAddr),
}

/// The first connection that comes about as `dial` makes them. A second address is tried beside the first only where
/// `may_race` gives leave; one that failed, or took too long, makes room for the next at once.
pub(super) async fn first<T, Dialling: Future<Output = io::Result<T>>>(
    addresses: &[SocketAddr],
    mut may_race: impl FnMut() -> bool,
    dial: impl Fn(SocketAddr) -> Dialling,
) -> Result<T, Miss> {
    let attempt = async |address| match tokio::time::timeout(CONNECT_TIMEOUT, dial(address)).await {
        Ok(Ok(made)) => Ok(made),
        Ok(Err(error)) if lack::of_connections(&error, &address) => Err(Miss::Lacking(address, error)),
        Ok(Err(error)) => Err(Miss::Refused(address, error)),
        Err(_) => Err(Miss::TimedOut(address)),
    };
    let mut next = in_turn(addresses).into_iter();
    let mut dialled = FuturesUnordered::new();
    let mut miss = Miss::NoAddress;
    dialled.extend(next.next().map(&attempt));
    loop {
        let has_room = next.len() > 0 && dialled.len() < AT_ONCE_MAX;
        tokio::select! {
            biased;
            made = dialled.next() => match made {
                Some(Ok(made)) => return Ok(made),
                Some(Err(error)) => {
                    miss = miss.or(error);
                    dialled.extend(next.next().map(&attempt));
                }
                None => return Err(miss),
            },
            () = tokio::time::sleep(HEAD_START), if has_room => {
                if may_race() {
                    dialled.extend(next.next().map(&attempt));
                }
            }
        }
    }
}

impl Miss {
    /// What says more of the two: the later one, but that somebody refused is more than that nobody was asked, and that is
    /// more than that nobody answered.
    fn or(self, later: Self) -> Self {
        if self.weight() > later.weight() { self } else { later }
    }

    fn weight(&self) -> u8 {
        match self {
            Self::NoAddress => 0,
            Self::TimedOut(_) => 1,
            Self::Lacking(..) => 2,
            Self::Refused(..) => 3,
        }
    }
}

/// The families by turns, that of the first address first (section 4), as many as are tried.
pub(super) fn in_turn(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let leads = |address: &SocketAddr| address.is_ipv4() == addresses[0].is_ipv4();
    let (leading, others): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(leads);
    let pairs = (0..addresses.len()).flat_map(|n| [leading.get(n), others.get(n)]);
    pairs.flatten().copied().take(ADDRESSES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::pending;

    use tokio::time::Instant;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 80)).collect()
    }

    /// What an address of a script does, by its last number.
    async fn scripted(address: SocketAddr) -> io::Result<SocketAddr> {
        match address.ip().to_string().rsplit(['.', ':']).next() {
            Some("1") => pending().await,
            Some("2") => Err(io::ErrorKind::ConnectionRefused.into()),
            Some("4") => Err(rustix::io::Errno::MFILE.into()),
            Some("3") => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(address)
            }
            _ => Ok(address),
        }
    }

    /// What came of it, and when each address was tried, in milliseconds since the beginning.
    async fn race(texts: &[&str], may_race: bool) -> (Result<String, Miss>, Vec<(String, u128)>, u128) {
        let (addresses, began, tried) = (addresses(texts), Instant::now(), RefCell::new(Vec::new()));
        let made = first(
            &addresses,
            || may_race,
            |address| {
                tried.borrow_mut().push((address.ip().to_string(), began.elapsed().as_millis()));
                scripted(address)
            },
        );
        let made = made.await.map(|address| address.ip().to_string());
        (made, tried.into_inner(), began.elapsed().as_millis())
    }

    fn at(ip: &str, ms: u128) -> (String, u128) {
        (ip.to_owned(), ms)
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_holds_the_next_up_for_a_moment_only() {
        let (made, tried, ms) = race(&["fd00::1", "10.0.0.9"], true).await;
        assert_eq!((made.unwrap().as_str(), ms), ("10.0.0.9", 250));
        assert_eq!(tried, [at("fd00::1", 0), at("10.0.0.9", 250)]);
        // One that is only slow may still be the first.
        let (made, tried, ms) = race(&["fd00::3", "10.0.0.1"], true).await;
        assert_eq!((made.unwrap().as_str(), ms, tried.len()), ("fd00::3", 1000, 2));
        // And one that answers in time has nobody dialled beside it.
        let (made, tried, ms) = race(&["fd00::9", "10.0.0.9"], true).await;
        assert_eq!((made.unwrap().as_str(), ms, tried.len()), ("fd00::9", 0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_refuses_holds_nobody_up() {
        let (made, tried, ms) = race(&["fd00::2", "10.0.0.2", "fd00::9"], true).await;
        assert_eq!((made.unwrap().as_str(), ms, tried.len()), ("fd00::9", 0, 3));
        let (made, tried, _) = race(&["10.0.0.1", "10.1.0.2", "10.0.0.9"], true).await;
        assert_eq!(made.unwrap(), "10.0.0.9");
        assert_eq!(tried, [at("10.0.0.1", 0), at("10.1.0.2", 250), at("10.0.0.9", 250)]);
    }

    #[tokio::test(start_paused = true)]
    async fn two_are_dialled_at_once_at_most_and_one_where_there_is_no_leave_for_more() {
        let silent = ["10.0.0.1", "10.1.0.1", "10.2.0.1"];
        let (made, tried, ms) = race(&silent, true).await;
        assert!(matches!(made, Err(Miss::TimedOut(_))), "{made:?}");
        assert_eq!(tried, [at("10.0.0.1", 0), at("10.1.0.1", 250), at("10.2.0.1", 5000)]);
        assert_eq!(ms, 10_000);
        let (_, tried, ms) = race(&silent, false).await;
        assert_eq!(tried, [at("10.0.0.1", 0), at("10.1.0.1", 5000), at("10.2.0.1", 10_000)]);
        assert_eq!(ms, 15_000);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_of_the_failures_is_what_says_most() {
        assert!(matches!(race(&[], true).await.0, Err(Miss::NoAddress)));
        for (texts, told) in [
            (&["fd00::2", "10.0.0.2"][..], "10.0.0.2"),
            (&["fd00::2", "10.0.0.1"], "fd00::2"),
            (&["fd00::1", "10.0.0.2"], "10.0.0.2"),
            (&["fd00::4", "10.0.0.2"], "10.0.0.2"),
            (&["fd00::2", "10.0.0.4"], "fd00::2"),
        ] {
            let (made, ..) = race(texts, true).await;
            assert!(matches!(&made, Err(Miss::Refused(address, _)) if address.ip().to_string() == told), "{made:?}");
        }
        // Who was not asked has refused nothing, whoever else is silent.
        for texts in [&["10.0.0.4"][..], &["10.0.0.4", "fd00::1"], &["fd00::1", "10.0.0.4"]] {
            let (made, ..) = race(texts, true).await;
            assert!(matches!(&made, Err(Miss::Lacking(address, _)) if address.is_ipv4()), "{made:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_lost_is_let_go_of() {
        struct Held<'a>(&'a Cell<u32>);
        impl Drop for Held<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() - 1);
            }
        }
        let (addresses, held) = (addresses(&["10.0.0.1", "10.0.0.9"]), Cell::new(0));
        let made = first(
            &addresses,
            || true,
            async |address| {
                held.set(held.get() + 1);
                let _held = Held(&held);
                scripted(address).await
            },
        );
        assert!(made.await.is_ok());
        assert_eq!(held.get(), 0);
    }

    #[test]
    fn families_take_turns() {
        let order = |texts: &[&str]| {
            in_turn(&addresses(texts)).iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(order(&["fd00::1", "fd00::2", "fd00::3", "10.0.0.1"]), "fd00::1 10.0.0.1 fd00::2 fd00::3");
        assert_eq!(order(&["10.0.0.1", "10.0.0.2", "fd00::1"]), "10.0.0.1 fd00::1 10.0.0.2");
        let many: Vec<_> = (1..20).map(|n| format!("fd00::{n}")).chain(["10.0.0.1".to_owned()]).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(order(&many).starts_with("fd00::1 10.0.0.1 fd00::2") && in_turn(&addresses(&many)).len() == 8);
        assert_eq!(order(&[]), "");
    }
}
