//! Room for requests, their bodies and their answers: what goes beyond is refused before anything comes of it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::{Problem, ProblemKind};
use crate::config;
use crate::job::units::ByteSize;

/// Bodies are counted in pieces of so many bytes.
const PIECE_BYTES: u64 = 1 << 10;

/// How many scrapes of `/metrics` are answered at once, or not taken yet.
const SCRAPES_MAX: u32 = 64;
/// How many requests that need no token are answered at once, or not taken yet.
const STRANGERS_MAX: u32 = 16;
/// How many requests are read or checked at once beside the threads that serve.
const TURNS_MAX: u32 = 16;

/// How much room there is.
#[derive(Clone, Debug)]
pub struct Room {
    requests: Arc<Semaphore>,
    waits: Arc<Semaphore>,
    scrapes: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    settings: Settings,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    requests: u32,
    waits: u32,
    bodies: ByteSize,
}

/// A place that is given back when this is dropped.
#[derive(Debug)]
pub struct Place {
    permit: OwnedSemaphorePermit,
}

impl Room {
    /// As much as the settings say.
    #[must_use]
    pub fn new(server: &config::Server) -> Self {
        let places = |most: u32| Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS)));
        Self {
            requests: places(server.requests),
            waits: places(server.waits),
            scrapes: places(SCRAPES_MAX),
            strangers: places(STRANGERS_MAX),
            bodies: places(pieces(server.bodies.0)),
            answers: places(pieces(server.bodies.0)),
            turns: places(TURNS_MAX),
            settings: Settings { requests: server.requests, waits: server.waits, bodies: server.bodies },
        }
    }

    /// A place for a request, or for one that waits.
    pub(super) fn request(&self, waits: bool) -> Result<Place, Problem> {
        let places = if waits { &self.waits } else { &self.requests };
        take(places, 1).ok_or_else(|| {
            let (what, key, most) = if waits {
                ("requests wait for the end of jobs", "server.waits", self.settings.waits)
            } else {
                ("requests are worked on", "server.requests", self.settings.requests)
            };
            overloaded(&format!("{most} {what} ({key})"))
        })
    }

    /// A place for a scrape.
    pub(super) fn scrape(&self) -> Result<Place, Problem> {
        let refusal = || overloaded(&format!("{SCRAPES_MAX} answers of /metrics are not taken yet"));
        take(&self.scrapes, 1).ok_or_else(refusal)
    }

    /// A place for a request that needs no token.
    pub(super) fn stranger(&self) -> Result<Place, Problem> {
        let refusal = || overloaded(&format!("{STRANGERS_MAX} answers of this kind are not taken yet"));
        take(&self.strangers, 1).ok_or_else(refusal)
    }

    /// No room yet, for a body that says to be of so many bytes: refused where it would not fit now.
    pub(super) fn body(&self, said_bytes: u64) -> Result<Place, Problem> {
        let wanted = pieces(said_bytes.min(self.settings.bodies.0));
        let fits = usize::try_from(wanted).is_ok_and(|wanted| wanted <= self.bodies.available_permits());
        take(&self.bodies, 0).filter(|_| fits).ok_or_else(|| self.full("bodies"))
    }

    /// Enlarges the room of a body to so many bytes.
    pub(super) fn grow(&self, place: &mut Place, bytes: u64) -> Result<(), Problem> {
        let wanted = usize::try_from(pieces(bytes.min(self.settings.bodies.0))).unwrap_or(usize::MAX);
        let more = wanted.saturating_sub(place.permit.num_permits());
        let more = u32::try_from(more).ok().and_then(|more| take(&self.bodies, more));
        place.permit.merge(more.ok_or_else(|| self.full("bodies"))?.permit);
        Ok(())
    }

    /// Room for an answer of so many bytes. All answers together have as much as all bodies.
    pub(super) fn answer(&self, bytes: u64) -> Result<Place, Problem> {
        let wanted = pieces(bytes.min(self.settings.bodies.0));
        take(&self.answers, wanted).ok_or_else(|| self.full("answers"))
    }

    /// A turn beside the threads that serve, for what takes long to read or to check. They are few, so that others who work
    /// there, such as the store's readers, are not kept waiting; who waits for one has its place and its body counted.
    pub(super) async fn turn(&self) -> Place {
        let permit = self.turns.clone().acquire_owned().await.expect("the semaphore is never closed");
        Place { permit }
    }

    fn full(&self, what: &str) -> Problem {
        overloaded(&format!("the {what} of others fill {} (server.bodies)", self.settings.bodies))
    }

    /// The largest body that there is ever room for.
    pub(super) const fn body_most(&self) -> ByteSize {
        self.settings.bodies
    }
}

fn pieces(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX)
}

fn take(places: &Arc<Semaphore>, count: u32) -> Option<Place> {
    places.clone().try_acquire_many_owned(count).ok().map(|permit| Place { permit })
}

fn overloaded(why: &str) -> Problem {
    Problem::new(ProblemKind::Overloaded, format!("{why}; nothing was done; try again soon"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::units::TimeSpan;

    fn room(edit: impl FnOnce(&mut config::Server)) -> Room {
        let mut server = config::Server::default();
        edit(&mut server);
        Room::new(&server)
    }

    #[test]
    fn requests_and_waits_have_places_of_their_own() {
        let room = room(|server| (server.requests, server.waits) = (1, 1));
        let request = room.request(false).unwrap();
        let wait = room.request(true).unwrap();
        for (waits, key) in [(false, "server.requests"), (true, "server.waits")] {
            let problem = room.request(waits).unwrap_err();
            assert!(problem.kind == ProblemKind::Overloaded && problem.detail.contains(key), "{problem:?}");
        }
        drop(request);
        assert!(room.request(false).is_ok() && room.request(true).is_err());
        drop(wait);
        assert!(room.request(true).is_ok());
    }

    #[test]
    fn bodies_share_their_bytes() {
        let room = room(|server| server.bodies = ByteSize(1 << 20));
        let (mut one, mut other) = (room.body(1 << 20).unwrap(), room.body(1 << 20).unwrap());
        room.grow(&mut one, 512 << 10).unwrap();
        assert!(room.body((512 << 10) + 1).unwrap_err().detail.contains("1MiB (server.bodies)"));
        assert!(room.grow(&mut other, (512 << 10) + 1).unwrap_err().detail.contains("1MiB (server.bodies)"));
        room.grow(&mut other, 512 << 10).unwrap();
        room.grow(&mut other, 1).unwrap();
        assert!(room.body(1).is_err() && room.body(0).is_ok(), "an empty body needs none");
        assert!(room.answer(1 << 20).is_ok(), "answers are counted apart");
        drop(one);
        room.grow(&mut other, u64::MAX).unwrap();
        drop(other);
        assert!(room.body(u64::MAX).is_ok(), "alone even the largest has room");
    }

    #[test]
    fn the_largest_settings_fit() {
        room(|server| {
            (server.requests, server.bodies) = (1_000_000, ByteSize(1 << 40));
            server.grace = TimeSpan::default();
        });
    }
}
