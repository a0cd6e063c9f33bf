//! The tokens that there are, and who a caller is.

use std::collections::HashMap;
use std::sync::Arc;

use subtle::ConstantTimeEq as _;

use super::scope::{Need, Scope};
use super::secret::{self, TokenDigest};
use crate::clock::UnixMs;

/// A token, as it is kept: never its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is called by in lists and logs.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created: UnixMs,
    /// From when on it is void.
    pub expires: Option<UnixMs>,
    pub(super) digest: TokenDigest,
}

impl Token {
    /// Whether it is void at that moment.
    #[must_use]
    pub fn is_expired(&self, now: UnixMs) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Anybody: the host asks for no tokens.
    Anybody,
    /// The holder of that token.
    Holder(Arc<Token>),
}

impl Caller {
    /// Whom the guard did not see: where tokens are asked for, that one may do nothing.
    pub(in crate::api) fn nobody() -> Self {
        let (id, name) = ("-".to_owned(), String::new());
        let token = Token { id, name, scopes: Vec::new(), created: UnixMs(0), expires: None, digest: [0; 32] };
        Self::Holder(Arc::new(token))
    }

    /// Whether the caller may do what is needed.
    #[must_use]
    pub fn may(&self, need: Need<'_>) -> bool {
        match self {
            Self::Anybody => true,
            Self::Holder(token) => token.scopes.iter().any(|scope| scope.allows(need)),
        }
    }

    /// What the caller is called in the log.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Anybody => "-",
            Self::Holder(token) => &token.id,
        }
    }
}

/// The tokens by their ids.
#[derive(Debug, Default)]
pub(super) struct Book(HashMap<String, Arc<Token>>);

impl Book {
    pub(super) fn of(tokens: Vec<Token>) -> Self {
        Self(tokens.into_iter().map(|token| (token.id.clone(), Arc::new(token))).collect())
    }

    /// The token with that text, where it is valid. The digest is compared in constant time, and also where nobody has
    /// the id: the time tells nothing.
    pub(super) fn find(&self, text: &str, now: UnixMs) -> Option<&Arc<Token>> {
        let id = secret::id_of(text)?;
        let token = self.0.get(id);
        let kept = token.map_or([0; 32], |token| token.digest);
        let is_same = bool::from(secret::digest(text).ct_eq(&kept));
        token.filter(|token| is_same && !token.is_expired(now))
    }

    /// The same token as it is now, where it is still valid.
    pub(super) fn again(&self, token: &Token, now: UnixMs) -> Option<&Arc<Token>> {
        self.0.get(&token.id).filter(|kept| kept.digest == token.digest && !kept.is_expired(now))
    }

    /// How many are valid at that moment.
    pub(super) fn valid(&self, now: UnixMs) -> usize {
        self.0.values().filter(|token| !token.is_expired(now)).count()
    }
}

#[cfg(test)]
pub(super) fn token(minted: &super::Minted, scopes: &[&str], expires: Option<UnixMs>) -> Token {
    Token {
        id: minted.id.clone(),
        name: "test".to_owned(),
        scopes: scopes.iter().map(|scope| scope.parse().expect("a scope")).collect(),
        created: UnixMs(0),
        expires,
        digest: minted.digest,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Minted;
    use super::*;

    #[test]
    fn only_the_whole_text_is_the_token() {
        let minted = Minted::from_random(&[1; 38]);
        let book = Book::of(vec![token(&minted, &["read"], None)]);
        assert!(book.find(&minted.text, UnixMs(0)).is_some());
        let mut other = minted.text.clone();
        other.replace_range(other.len() - 1.., "0");
        for text in [&other, &Minted::from_random(&[2; 38]).text, &minted.id, ""] {
            assert!(book.find(text, UnixMs(0)).is_none(), "{text}");
        }
    }

    #[test]
    fn a_token_is_void_from_its_end_on() {
        let minted = Minted::from_random(&[1; 38]);
        let book = Book::of(vec![token(&minted, &["read"], Some(UnixMs(1_000)))]);
        assert!(book.find(&minted.text, UnixMs(999)).is_some());
        assert!(book.find(&minted.text, UnixMs(1_000)).is_none());
        assert_eq!((book.valid(UnixMs(999)), book.valid(UnixMs(1_000))), (1, 0));
    }

    #[test]
    #[ignore = "a measurement; run it with --ignored --nocapture"]
    fn what_a_check_costs() {
        const ROUNDS: u32 = 200_000;
        let minted: Vec<_> = (0..100).map(|n| Minted::from_random(&[n; 38])).collect();
        let book = Book::of(minted.iter().map(|minted| token(minted, &["enqueue", "read"], None)).collect());
        let watch = crate::clock::Stopwatch::start();
        for round in 0..ROUNDS as usize {
            let found = book.find(&minted[round % 100].text, UnixMs(5)).expect("it is there");
            assert!(Caller::Holder(found.clone()).may(Need::Read));
        }
        println!("one check of a token among 100: {:?}", watch.elapsed() / ROUNDS);
    }
}
