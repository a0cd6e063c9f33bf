//! How many headers a request or a response may have, and how large they may be.

use http::HeaderMap;

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
