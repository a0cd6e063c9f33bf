//! The unfinished jobs of a store with one owner, in the order in which they are due.
