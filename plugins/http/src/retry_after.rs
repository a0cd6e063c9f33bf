//! How long a downstream asked to be left alone: the header `Retry-After` of RFC 9110.

use std::time::{Duration, SystemTime};

use crate::windlass::plugin::http::Header;

#[cfg(test)]
mod tests;

/// The delay in milliseconds, or none where nothing sensible was asked for. Of several the longest counts.
///
/// A date is compared with the response's own `Date`, as only the downstream's clock is sure to agree with it.
pub fn delay_ms(headers: &[Header], clock: SystemTime) -> Option<u32> {
    let now = values(headers, "date").find_map(date).unwrap_or(clock);
    values(headers, "retry-after").filter_map(|value| one_delay_ms(value, now)).max()
}

fn one_delay_ms(value: &str, now: SystemTime) -> Option<u32> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Only digits: what does not parse is too much to count, and the host clamps it anyway.
        return Some(value.parse::<u32>().unwrap_or(u32::MAX).saturating_mul(1_000));
    }
    // A date that is over asks for no delay.
    let delay = date(value)?.duration_since(now).unwrap_or(Duration::ZERO);
    Some(u32::try_from(delay.as_millis()).unwrap_or(u32::MAX))
}

/// Any of the three date formats that HTTP knows.
fn date(value: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(value).ok()
}

fn values<'a>(headers: &'a [Header], name: &'a str) -> impl Iterator<Item = &'a str> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value.trim())
}
