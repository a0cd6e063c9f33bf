//! How long a downstream asked to be left alone: the header `Retry-After` of RFC 9110.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{AsHeaderName, DATE, RETRY_AFTER};

/// The delay in milliseconds; none where nothing sensible was asked for. Of several the longest counts. A date is
/// compared with the answer's own `Date`, as only the downstream's clock is sure to agree with it.
pub(super) fn delay_ms(headers: &HeaderMap, clock: SystemTime) -> Option<u32> {
    let now = values(headers, DATE).find_map(date).unwrap_or(clock);
    values(headers, RETRY_AFTER).filter_map(|value| one_delay_ms(value, now)).max()
}

fn one_delay_ms(value: &str, now: SystemTime) -> Option<u32> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Only digits: what does not parse is too much to count, and is clamped anyway.
        return Some(value.parse::<u32>().unwrap_or(u32::MAX).saturating_mul(1_000));
    }
    // A date that is over asks for no delay.
    let delay = date(value)?.duration_since(now).unwrap_or(Duration::ZERO);
    Some(u32::try_from(delay.as_millis()).unwrap_or(u32::MAX))
}

fn date(value: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(value).ok()
}

fn values(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok()).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_nonsense_is_not() {
        for (value, delay) in [
            ("7", Some(7_000)),
            ("0", Some(0)),
            ("-1", None),
            ("1000000000000000000000000000000", Some(u32::MAX)),
            ("soon", None),
            ("", None),
            ("1.5", None),
            ("Thu, 01 Jan 1970 00:01:00 GMT", Some(30_000)),
            ("Thursday, 01-Jan-70 00:01:00 GMT", Some(30_000)),
            ("Thu, 01 Jan 1970 00:00:01 GMT", Some(0)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            assert_eq!(delay_ms(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(30)), delay, "{value:?}");
            headers.insert(DATE, "Thu, 01 Jan 1970 00:00:30 GMT".parse().unwrap());
            assert_eq!(delay_ms(&headers, SystemTime::UNIX_EPOCH), delay, "{value:?} by its own date");
        }
    }
}
