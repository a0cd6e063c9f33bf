//! The embedded store from within.
