//! How many headers a request or a response may have, and how large they may be.

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue};

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

/// What says how an answer is to be taken. Where not all headers fit, these are kept before the others.
const KEPT_FIRST: [&str; 4] = ["content-type", "content-encoding", "date", "retry-after"];

/// As much of a head as it may have: whole headers, each that fits beside those that were kept before it.
pub(super) fn cut(headers: &HeaderMap, limits: &AttemptLimits) -> HeaderMap {
    let (mut left, mut left_bytes) = (limits.header_count, limits.headers.0);
    let mut keep = |(name, value): (&HeaderName, &HeaderValue)| {
        let bytes = (name.as_str().len() + value.len()) as u64;
        let fits = left > 0 && bytes <= left_bytes;
        if fits {
            (left, left_bytes) = (left - 1, left_bytes - bytes);
        }
        fits
    };
    let is_first = |name: &HeaderName| KEPT_FIRST.contains(&name.as_str());
    let kept_first: Vec<_> = headers.iter().map(|header| is_first(header.0) && keep(header)).collect();
    let mut cut = HeaderMap::new();
    for (header, was_kept) in headers.iter().zip(kept_first) {
        if was_kept || !is_first(header.0) && keep(header) {
            cut.append(header.0, header.1.clone());
        }
    }
    cut
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
    use crate::config::{LimitOverride, Limits};
    use crate::job::units::ByteSize;

    use super::*;

    fn head(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        headers.iter().map(pair).collect()
    }

    #[test]
    fn a_head_is_cut_to_what_fits_and_says_how_to_take_the_answer() {
        let limits = |header_count, bytes| {
            let limits = Limits { header_count, headers: ByteSize(bytes), ..Limits::default() };
            limits.attempt(&LimitOverride::default())
        };
        let whole = head(&[("a", "1"), ("b", "22"), ("b", "3"), ("c", "4"), ("date", "6"), ("retry-after", "7")]);
        for (count, bytes, kept) in [
            (6, 100, &[("a", "1"), ("b", "22"), ("b", "3"), ("c", "4"), ("date", "6"), ("retry-after", "7")][..]),
            (6, size(&whole), &[("a", "1"), ("b", "22"), ("b", "3"), ("c", "4"), ("date", "6"), ("retry-after", "7")]),
            (5, 100, &[("a", "1"), ("b", "22"), ("b", "3"), ("date", "6"), ("retry-after", "7")]),
            (2, 100, &[("date", "6"), ("retry-after", "7")]),
            (1, 100, &[("date", "6")]),
            (6, 23, &[("a", "1"), ("b", "22"), ("date", "6"), ("retry-after", "7")]),
            (6, 21, &[("a", "1"), ("b", "3"), ("date", "6"), ("retry-after", "7")]),
            (6, 5, &[("date", "6")]),
            (6, 4, &[("a", "1"), ("b", "3")]),
            (0, 0, &[]),
        ] {
            let limits = limits(count, bytes);
            let cut = cut(&whole, &limits);
            assert_eq!(cut, head(kept), "{count}, {bytes}");
            assert_eq!(too_large(&cut, &limits), None);
        }
        let order: Vec<_> = cut(&whole, &limits(4, 100)).keys().map(|name| name.as_str().to_owned()).collect();
        assert_eq!(order, ["a", "b", "date", "retry-after"]);
    }

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
