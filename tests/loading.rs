//! Taking components up, against whoever would harm the host by one: compiling in a bounded process, the sealed cache,
//! the folder with anything in it, pins and signatures.

mod common;

#[path = "loading/busy.rs"]
mod busy;
#[path = "loading/cache.rs"]
mod cache;
#[path = "loading/compiler.rs"]
mod compiler;
#[path = "loading/description.rs"]
mod description;
#[path = "loading/edits.rs"]
mod edits;
#[path = "loading/links.rs"]
mod links;
#[path = "loading/odd_files.rs"]
mod odd_files;
#[path = "loading/overtaken.rs"]
mod overtaken;
#[path = "loading/signing.rs"]
mod signing;
#[path = "loading/support.rs"]
mod support;
