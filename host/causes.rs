//! What is behind an error.

use std::error::Error;
use std::io;
use std::iter::successors;

/// The error and its causes, one after the other. What an I/O error wraps is among them: it does not give it as its source.
pub(crate) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        let error = *error;
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

/// The first of them that is of that type.
pub(crate) fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner(#[source] std::fmt::Error);

    #[test]
    fn what_an_io_error_wraps_is_found_and_what_is_behind_it() {
        let error = Outer(io::Error::other(io::Error::other(Inner(std::fmt::Error))));
        assert!(cause::<Outer>(&error).is_some() && cause::<io::Error>(&error).is_some());
        assert!(cause::<Inner>(&error).is_some() && cause::<std::fmt::Error>(&error).is_some());
        assert!(cause::<std::num::ParseIntError>(&error).is_none());
        assert_eq!(causes(&error).count(), 5);
    }
}
