//! Lists that are told page by page: how long a page is, and where it begins.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Reads the length of a page, from 1 to that.
pub(in super::super) fn limit(most: usize) -> impl Fn(&str) -> Result<usize, String> {
    move |text| {
        let limit = text.parse().ok().filter(|limit| (1..=most).contains(limit));
        limit.ok_or_else(|| format!("{text:?} is not a number from 1 to {most}"))
    }
}

/// The cursor under which a page begins there. Clients must not take it apart, so that something else can stand in it one
/// day.
pub(in super::super) fn cursor(place: &str) -> String {
    URL_SAFE_NO_PAD.encode(place)
}

/// Reads what a [`cursor`] was made of.
pub(in super::super) fn read_cursor<T>(text: &str, read: impl FnOnce(String) -> Option<T>) -> Result<T, String> {
    let place = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    place.and_then(read).ok_or_else(|| "it is not a cursor of this host; take `next` of the page before".to_owned())
}
