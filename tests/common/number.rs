//! Numbers that whoever runs the tests gives them in the environment.

use std::fmt::Display;
use std::str::FromStr;

/// The number that is asked for under that name; none where none is.
pub fn number<T: FromStr<Err: Display>>(name: &str) -> Option<T> {
    let read = |text: String| text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}"));
    std::env::var(name).ok().map(read)
}
