//! Durations and sizes as people write them: `250ms`, `2s`, `5m`, `7d`; `256KiB`, `8MiB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo, Unit};
use serde::{Deserialize, Serialize};

/// A length of time, to the millisecond, at most 100 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeSpan(pub Duration);

/// The longest time span that can be written.
pub const TIME_SPAN_MAX: TimeSpan = TimeSpan(Duration::from_secs(100 * 365 * 86_400));

impl TimeSpan {
    /// So many milliseconds.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// So many seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// The length in milliseconds.
    #[must_use]
    pub fn as_ms(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl FromStr for TimeSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refusal = || format!("{text:?} is not a duration such as \"250ms\", \"2s\", \"5m\", \"24h\" or \"7d\"");
        let span: Span = text.trim().parse().map_err(|_| refusal())?;
        let ms = span.total((Unit::Millisecond, SpanRelativeTo::days_are_24_hours())).map_err(|_| refusal())?;
        if ms < 0.0 {
            return Err(format!("{text:?} is negative; a duration is zero or more"));
        }
        if ms > TIME_SPAN_MAX.0.as_secs_f64() * 1e3 {
            return Err(format!("{text:?} is longer than 100 years"));
        }
        // In range by the check above, and whole.
        Ok(Self::from_ms(ms.round() as u64))
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.as_ms();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        match units.into_iter().find(|(size, _)| ms >= *size && ms.is_multiple_of(*size)) {
            Some((size, unit)) => write!(f, "{}{unit}", ms / size),
            None => write!(f, "{ms}ms"),
        }
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// The units of size, largest first.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// The size as a `usize`; what does not fit is the largest.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refusal = || format!("{text:?} is not a size such as \"512B\", \"256KiB\" or \"8MiB\"");
        let trimmed = text.trim();
        let (number, unit_bytes) = SIZE_UNITS
            .into_iter()
            .find_map(|(unit, bytes)| Some((trimmed.strip_suffix(unit)?.trim_end(), bytes)))
            .ok_or_else(refusal)?;
        let number: u64 = number.parse().map_err(|_| refusal())?;
        number.checked_mul(unit_bytes).map(Self).ok_or_else(refusal)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = SIZE_UNITS.into_iter().take(3);
        match binary.into_iter().find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes)) {
            Some((unit, bytes)) => write!(f, "{}{unit}", self.0 / bytes),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// Serde by text, for both.
macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(TimeSpan, ByteSize);

/// Their place in the API's description.
macro_rules! described {
    ($($name:ident, $example:literal, $meaning:literal);*) => {$(
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                use utoipa::openapi::schema::{ObjectBuilder, Type};
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .description(Some($meaning))
                    .examples([$example])
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
    )*};
}
described!(TimeSpan, "30s", "A duration as text."; ByteSize, "8MiB", "A number of bytes as text.");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_span_reads_back_as_it_was_written(ms in 0..=3_153_600_000_000_u64) {
            let span = TimeSpan::from_ms(ms);
            prop_assert_eq!(span.to_string().parse::<TimeSpan>(), Ok(span));
        }

        #[test]
        fn a_size_reads_back_as_it_was_written(bytes in any::<u64>()) {
            let size = ByteSize(bytes);
            prop_assert_eq!(size.to_string().parse::<ByteSize>(), Ok(size));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = (text.parse::<TimeSpan>(), text.parse::<ByteSize>());
        }
    }

    #[test]
    fn people_write_spans_in_these_forms() {
        for (text, ms) in [("250ms", 250), ("2s", 2_000), ("5m", 300_000), ("24h", 86_400_000), ("7d", 604_800_000)] {
            assert_eq!(text.parse(), Ok(TimeSpan::from_ms(ms)), "{text}");
            assert_eq!(TimeSpan::from_ms(ms).0.as_millis(), u128::from(ms));
        }
        assert_eq!("1.5s".parse(), Ok(TimeSpan::from_ms(1_500)));
        for text in ["", "5", "s", "-2s", "2 apples", "200000d"] {
            assert!(text.parse::<TimeSpan>().is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn people_write_sizes_in_these_forms() {
        for (text, bytes) in
            [("0B", 0), ("512B", 512), ("256KiB", 262_144), ("8MiB", 8_388_608), ("1 GB", 1_000_000_000)]
        {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "8", "MiB", "-1MiB", "1.5MiB", "99999999999GiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text:?} was read");
        }
    }
}
