//! The identity of a job: a UUID, version 7 (RFC 9562), whose leading 63 bits are the job's place in the store.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::{Chance, UnixMs};

/// How many bits of a place count the ids made in the same millisecond.
const COUNTER_BITS: u32 = 15;
/// How many random bits an id carries behind its place.
const TAIL_BITS: u32 = 59;
const TAIL_MASK: u64 = (1 << TAIL_BITS) - 1;

/// A job's id.
///
/// 48 bits of milliseconds, a counter of 15 bits (RFC 9562 §6.2, method 1) and 59 random bits. Milliseconds and counter
/// together are the job's *place*: a positive 63-bit number that grows with each new job, so that the store needs no
/// index over random keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(Uuid);

impl JobId {
    /// The id with this place and these random bits; bits that do not fit are cut off.
    #[must_use]
    pub fn from_parts(place: i64, tail: i64) -> Self {
        let (place, tail) = (place.cast_unsigned(), tail.cast_unsigned() & TAIL_MASK);
        let (unix_ms, counter) = (place >> COUNTER_BITS, place & ((1 << COUNTER_BITS) - 1));
        let high = (unix_ms << 16) | 0x7000 | (counter >> 3);
        let low = (0b10 << 62) | ((counter & 0b111) << TAIL_BITS) | tail;
        Self(Uuid::from_u64_pair(high, low))
    }

    /// Where the job stands in the order of arrival.
    #[must_use]
    pub fn place(self) -> i64 {
        let (high, low) = self.0.as_u64_pair();
        let counter = ((high & 0xfff) << 3) | ((low >> TAIL_BITS) & 0b111);
        (((high >> 16) << COUNTER_BITS) | counter).cast_signed() & i64::MAX
    }

    /// The random bits.
    #[must_use]
    pub fn tail(self) -> i64 {
        (self.0.as_u64_pair().1 & TAIL_MASK).cast_signed()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uuid = Uuid::try_parse(text).map_err(|_| format!("{text:?} is not a UUID"))?;
        let id = Self(uuid);
        // What is not of our making has no place: it is refused here, once, for every caller.
        if Self::from_parts(id.place(), id.tail()) != id {
            return Err(format!("{text:?} is not a UUID of version 7"));
        }
        Ok(id)
    }
}

impl Serialize for JobId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Makes ids in strictly rising order.
#[derive(Debug)]
pub struct IdSource {
    last_place: i64,
}

impl IdSource {
    /// Goes on behind `last_place`, the highest place ever given out, or 0.
    #[must_use]
    pub fn after(last_place: i64) -> Self {
        Self { last_place }
    }

    /// The highest place given out so far, or 0.
    #[must_use]
    pub fn last_place(&self) -> i64 {
        self.last_place
    }

    /// The next id. More than 32,768 in one millisecond borrow from the next ones; so does a clock that went back.
    pub fn next(&mut self, now: UnixMs, chance: &Chance) -> JobId {
        let earliest = now.0.clamp(0, (1 << 48) - 1) << COUNTER_BITS;
        self.last_place = earliest.max(self.last_place + 1);
        JobId::from_parts(self.last_place, chance.bits().cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_is_its_parts_and_its_text(place in 0..i64::MAX, tail in 0..(1_i64 << TAIL_BITS)) {
            let id = JobId::from_parts(place, tail);
            prop_assert_eq!((id.place(), id.tail()), (place, tail));
            prop_assert_eq!(id.to_string().parse::<JobId>(), Ok(id));
            prop_assert_eq!(id.0.get_version_num(), 7);
            prop_assert_eq!(id.0.get_variant(), uuid::Variant::RFC4122);
        }

        #[test]
        fn ids_rise_whatever_the_clock_does(times in proptest::collection::vec(0_i64..2_000, 1..200)) {
            let (mut source, chance) = (IdSource::after(0), Chance::seeded(1));
            let ids: Vec<_> = times.into_iter().map(|time| source.next(UnixMs(time), &chance)).collect();
            prop_assert!(ids.windows(2).all(|pair| pair[0] < pair[1] && pair[0].place() < pair[1].place()));
        }
    }

    #[test]
    fn foreign_uuids_are_refused() {
        for text in ["", "7", "00000000-0000-0000-0000-000000000000", "c9bf9e57-1685-4c89-bafb-ff5af830be8a"] {
            assert!(text.parse::<JobId>().is_err(), "{text:?} was taken");
        }
    }
}
