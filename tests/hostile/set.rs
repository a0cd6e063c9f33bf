//! The hostile set, for its test and for its bench.

#![allow(dead_code, reason = "the test and the bench use each its own part")]

pub mod component;
pub mod downstream;
pub mod kinds;
pub mod neighbour;
pub mod process;
pub mod waiting;
pub mod world;
