//! Bearer tokens (RFC 6750): what each may do, the file that they are kept in, and the check of a request.

mod book;
mod file;
mod heir;
mod keeper;
mod scope;
mod secret;

pub use book::{Caller, Token};
pub use file::{TOKENS_FILE, TokenFile, TokenFileError};
pub use keeper::{Refused, Tokens};
pub use scope::{Need, Scope};
pub use secret::Minted;

/// A token as it would be kept.
#[cfg(test)]
pub(super) fn for_tests(minted: &Minted, scopes: &[&str]) -> Token {
    book::token(minted, scopes, None)
}
