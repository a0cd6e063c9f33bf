//! How many headers a request or a response may have, and how large they may be.

use http::HeaderMap;
use http::header::CONTENT_LENGTH;

use crate::config::AttemptLimits;

/// What is wrong with so many headers of so many bytes; none where nothing is.
pub(super) fn over(count: usize, bytes: u64, limits: &AttemptLimits) -> Option<String> {
    let (most, most_bytes) = (limits.header_count, limits.headers);
    if count > usize::try_from(most).unwrap_or(usize::MAX) {
        return Some(format!("it has {count} headers, the limit is {most} (limits.header_count)"));
    }
    (bytes > most_bytes.0).then(|| format!("its headers are {bytes} bytes, the limit is {most_bytes} (limits.headers)"))
}

/// The same of a head that came or goes.
pub(super) fn too_large(headers: &HeaderMap, limits: &AttemptLimits) -> Option<String> {
    over(headers.len(), size(headers), limits)
}

/// The bytes of names and values.
pub(super) fn size(headers: &HeaderMap) -> u64 {
    headers.iter().map(|(name, value)| (name.as_str().len() + value.len()) as u64).sum()
}

/// How long the head says that its body is; none where it does not say so.
///
/// # Errors
/// Where it says so more than once, or not as a number: others could read it in another way.
pub(super) fn stated_length(headers: &HeaderMap) -> Result<Option<u64>, String> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match (digits.and_then(|text| text.parse().ok()), values.next()) {
        (Some(length), None) => Ok(Some(length)),
        _ => Err("its Content-Length is not one number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_length_is_one_number() {
        let read = |values: &[&'static str]| {
            let values = values.iter().map(|value| (CONTENT_LENGTH, HeaderValue::from_static(value)));
            let mut headers = HeaderMap::new();
            values.for_each(|(name, value)| _ = headers.append(name, value));
            stated_length(&headers)
        };
        assert_eq!((read(&[]), read(&["0"]), read(&["123"])), (Ok(None), Ok(Some(0)), Ok(Some(123))));
        for odd in [&["+1"][..], &[""], &["1, 1"], &["1", "1"], &["0x1"], &["-1"], &["99999999999999999999"]] {
            assert!(read(odd).is_err(), "{odd:?}");
        }
    }
}
