//! Time and chance, as things that are passed in.
//!
//! Every part that decides takes the time and its random draws as arguments; only [`SystemClock`] and [`Chance`] ask
//! the machine. Clippy forbids the rest (`clippy.toml`).

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

use crate::lock::lock;

/// A moment, in milliseconds since 1970-01-01T00:00:00Z. Text form: RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(pub i64);

/// The last moment that a [`UnixMs`] is allowed to name: 9999-12-31T23:59:59.999Z, the end of RFC 3339.
pub const LAST_MOMENT: UnixMs = UnixMs(253_402_300_799_999);

const EPOCH: jiff::civil::DateTime = jiff::civil::datetime(1970, 1, 1, 0, 0, 0, 0);

impl UnixMs {
    /// The moment `delay` later, at most [`LAST_MOMENT`].
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(delay_ms)).min(LAST_MOMENT)
    }

    /// The moment `span` earlier, at least 1970.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        let span_ms = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(span_ms).max(0))
    }

    /// The moment that much later, or earlier where it is negative; from 1970 to [`LAST_MOMENT`].
    #[must_use]
    pub fn moved(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms).max(0)).min(LAST_MOMENT)
    }

    /// How long it is from `earlier` to this moment; zero where `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads RFC 3339 with any offset. Fractions finer than a millisecond are cut off.
    ///
    /// # Errors
    /// Where the text is not RFC 3339 or lies outside 1970 to 9999.
    pub fn parse(text: &str) -> Result<Self, String> {
        let read = text.parse().map(|moment: jiff::Timestamp| moment.as_millisecond()).ok();
        let moment = Self(
            read.or_else(|| late(text))
                .ok_or_else(|| format!("{text:?} is not an RFC 3339 time such as 2026-01-31T09:30:00Z"))?,
        );
        if moment.0 < 0 || moment > LAST_MOMENT {
            return Err(format!("{text:?} lies outside the years 1970 to 9999"));
        }
        Ok(moment)
    }
}

impl fmt::Display for UnixMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => write!(f, "{moment:.3}"),
            Err(_) => match EPOCH.checked_add(jiff::SignedDuration::from_millis(self.0)) {
                Ok(moment) => write!(f, "{moment:.3}Z"),
                Err(_) => write!(f, "{} ms", self.0),
            },
        }
    }
}

/// A moment of the last hours before [`LAST_MOMENT`], in which no zone is certain of the year: jiff's timestamps end
/// before them. In milliseconds.
fn late(text: &str) -> Option<i64> {
    let pieces = jiff::fmt::temporal::Pieces::parse(text).ok()?;
    let (time, offset) = (pieces.time()?, pieces.to_numeric_offset()?);
    let local = pieces.date().to_datetime(time).duration_since(EPOCH);
    i64::try_from(local.as_millis()).ok()?.checked_sub(i64::from(offset.seconds()) * 1_000)
}

impl Serialize for UnixMs {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UnixMs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present moment. Never goes back.
    fn now(&self) -> UnixMs;

    /// What the wall clock says. It counts while the machine sleeps, follows corrections, and may go back: for what people
    /// agreed on, such as the end of a token, and for nothing that waits.
    fn wall(&self) -> UnixMs {
        self.now()
    }
}

/// The machine's time: the wall clock as it stood at the start, carried on by how long the machine has been up, its sleep
/// included.
///
/// A step of the wall clock while the host runs therefore neither hastens nor delays a retry; it is taken up at the
/// next start. A machine that slept is as late as it slept long.
#[derive(Debug)]
pub struct SystemClock {
    started_at: UnixMs,
    started: Duration,
}

impl SystemClock {
    /// Reads both clocks.
    #[must_use]
    pub fn start() -> Self {
        Self { started_at: wall(), started: up() }
    }
}

/// How long the machine has been up.
fn up() -> Duration {
    let mut up = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // By the C library, which tests put another clock before. It fails only for a clock that there is not.
    // SAFETY: it writes the one structure that it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut up) };
    Duration::new(up.tv_sec.try_into().unwrap_or(0), up.tv_nsec.try_into().unwrap_or(0))
}

/// The host's time beside the time since the machine was started, which no correction of the wall clock touches. Two of
/// them, of one boot, tell by how much the wall clock was set in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reckoning {
    /// The host's time.
    pub now: UnixMs,
    /// How long the machine had been up then, in milliseconds, its sleep included.
    pub up_ms: i64,
    /// Which start of the machine that was: a number of no meaning that no other start has.
    pub boot: i64,
}

impl Reckoning {
    /// By how many milliseconds the wall clock was set since an earlier one; 0 where the machine was started anew since.
    #[must_use]
    pub fn step_ms(&self, earlier: &Self) -> i64 {
        if self.boot != earlier.boot {
            return 0;
        }
        self.now.0.saturating_sub(earlier.now.0).saturating_sub(self.up_ms.saturating_sub(earlier.up_ms))
    }
}

impl SystemClock {
    /// How the time stands against the machine's; none where the system does not tell which start of the machine this is.
    #[must_use]
    pub fn reckoning(&self) -> Option<Reckoning> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let digits: String = boot.chars().filter(char::is_ascii_hexdigit).take(15).collect();
        let boot = i64::from_str_radix(&digits, 16).ok()?;
        let up_ms = i64::try_from(up().as_millis()).ok()?;
        Some(Reckoning { now: self.now(), up_ms, boot })
    }
}

impl Clock for SystemClock {
    fn now(&self) -> UnixMs {
        self.started_at.after(up().saturating_sub(self.started))
    }

    fn wall(&self) -> UnixMs {
        wall()
    }
}

/// When the machine was started, as the wall clock has it now.
#[must_use]
pub fn machine_started_at() -> UnixMs {
    wall().before(up())
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the machine for the wall clock")]
fn wall() -> UnixMs {
    UnixMs(0).after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Measures how long something takes, on the monotonic clock. It decides nothing: what decides takes a [`Clock`].
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts to measure.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that starts a measurement")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// How long it has been.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Where random draws come from: a seeded generator that threads share.
#[derive(Debug)]
pub struct Chance(Mutex<SmallRng>);

impl Chance {
    /// The same seed gives the same draws.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(SmallRng::seed_from_u64(seed)))
    }

    /// A generator seeded by the machine.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine for chance")]
    pub fn from_machine() -> Self {
        Self::seeded(rand::random())
    }

    /// A number from 0 up to, not including, 1.
    pub fn unit(&self) -> f64 {
        lock(&self.0).random()
    }

    /// Sixty-four random bits.
    pub fn bits(&self) -> u64 {
        lock(&self.0).random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_prints_with_milliseconds_and_reads_back() {
        let moment = UnixMs(1_767_323_045_007);
        assert_eq!(moment.to_string(), "2026-01-02T03:04:05.007Z");
        assert_eq!(UnixMs::parse("2026-01-02T04:04:05.007+01:00"), Ok(moment));
    }

    #[test]
    fn the_last_moments_print_and_read_back() {
        for (text, told) in [
            ("9999-12-30T21:59:59.999Z", "9999-12-30T21:59:59.999Z"),
            ("9999-12-31T23:59:59.9999Z", "9999-12-31T23:59:59.999Z"),
            ("9999-12-31T23:59:59+01:00", "9999-12-31T22:59:59.000Z"),
        ] {
            assert_eq!(UnixMs::parse(text).unwrap().to_string(), told);
        }
        assert_eq!(UnixMs::parse(&LAST_MOMENT.to_string()), Ok(LAST_MOMENT));
        assert!(UnixMs::parse("9999-12-31T23:59:59-01:00").unwrap_err().contains("outside the years"));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in ["", "now", "2026-01-02", "1969-12-31T23:59:59Z", "2026-13-01T00:00:00Z"] {
            assert!(UnixMs::parse(text).is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn a_step_of_the_wall_clock_shows_against_the_machines_uptime() {
        let earlier = Reckoning { now: UnixMs(1_000_000), up_ms: 5_000, boot: 7 };
        let after = |now, up_ms, boot| Reckoning { now: UnixMs(now), up_ms, boot }.step_ms(&earlier);
        assert_eq!(after(1_060_000, 65_000, 7), 0);
        assert_eq!(after(400_000, 65_000, 7), -660_000);
        assert_eq!(after(9_060_000, 65_000, 7), 8_000_000);
        assert_eq!(after(9_060_000, 65_000, 8), 0, "nobody knows how long the machine was off");
    }

    #[test]
    fn sums_stop_at_the_end_of_the_calendar() {
        assert_eq!(UnixMs(5).after(Duration::MAX), LAST_MOMENT);
        assert_eq!(UnixMs(5).before(Duration::MAX), UnixMs(0));
    }
}
