//! The check of a request against the tokens as they are now: the file is looked at again when somebody asks, at most
//! four times a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::super::print::Print;
use super::book::{Book, Caller};
use super::file::{TokenFile, TokenFileError};
use crate::clock::UnixMs;

/// How long what was read counts as new.
const FRESH_MS: i64 = 250;

/// Why nobody is admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The request brought no token.
    Missing,
    /// It brought one that is unknown, revoked or void, or that is no token.
    Invalid,
    /// The file of tokens cannot be used; the text says why.
    Unreadable(String),
}

/// The tokens of a running host.
#[derive(Debug)]
pub struct Tokens {
    file: TokenFile,
    seen: ArcSwap<Seen>,
    looked_ms: AtomicI64,
}

#[derive(Debug)]
struct Seen {
    print: Option<Print>,
    /// The system refused, which may pass although the file stays as it is.
    is_passing: bool,
    door: Entrance,
}

#[derive(Debug)]
enum Entrance {
    /// There is no file: no tokens are asked for.
    Open,
    /// Those of the file are asked for.
    Guarded(Book),
    /// The file cannot be used: nobody is admitted.
    Shut(String),
}

impl Tokens {
    /// Reads the file.
    ///
    /// # Errors
    /// Where it cannot be used.
    pub fn open(file: TokenFile) -> Result<Self, TokenFileError> {
        let print = file.print();
        let door = file.read()?.map_or(Entrance::Open, |tokens| Entrance::Guarded(Book::of(tokens)));
        let seen = ArcSwap::from_pointee(Seen { print, is_passing: false, door });
        Ok(Self { file, seen, looked_ms: AtomicI64::new(i64::MIN) })
    }

    /// Whether tokens are asked for.
    #[must_use]
    pub fn are_needed(&self) -> bool {
        !matches!(self.seen.load().door, Entrance::Open)
    }

    /// How many are valid at that moment.
    #[must_use]
    pub fn valid(&self, now: UnixMs) -> usize {
        match &self.seen.load().door {
            Entrance::Guarded(book) => book.valid(now),
            Entrance::Open | Entrance::Shut(_) => 0,
        }
    }

    /// The file that they are kept in.
    #[must_use]
    pub const fn file(&self) -> &TokenFile {
        &self.file
    }

    /// Who asks, by the header `Authorization`. `now` says when the file is to be looked at again and never goes back; `wall`
    /// says what has expired: the wall clock, which also counts while the machine sleeps, and which people correct.
    ///
    /// # Errors
    /// Where nobody is admitted with these headers.
    pub fn admit(&self, headers: &HeaderMap, now: UnixMs, wall: UnixMs) -> Result<Caller, Refused> {
        self.look(now);
        match &self.seen.load().door {
            Entrance::Open => Ok(Caller::Anybody),
            Entrance::Shut(why) => Err(Refused::Unreadable(why.clone())),
            Entrance::Guarded(book) => {
                let text = bearer(headers)?;
                book.find(text, wall).cloned().map(Caller::Holder).ok_or(Refused::Invalid)
            }
        }
    }

    /// Who a caller that was admitted before is by now. Like [`admit`](Self::admit) it looks at the file only where nobody did
    /// just before.
    ///
    /// # Errors
    /// Where the caller would not be admitted any more.
    pub fn again(&self, caller: &Caller, now: UnixMs, wall: UnixMs) -> Result<Caller, Refused> {
        self.look(now);
        match (&self.seen.load().door, caller) {
            (Entrance::Open, _) => Ok(Caller::Anybody),
            (Entrance::Shut(why), _) => Err(Refused::Unreadable(why.clone())),
            (Entrance::Guarded(_), Caller::Anybody) => Err(Refused::Missing),
            (Entrance::Guarded(book), Caller::Holder(token)) => {
                book.again(token, wall).cloned().map(Caller::Holder).ok_or(Refused::Invalid)
            }
        }
    }

    /// Looks whether the file is another than the one that was read.
    fn look(&self, now: UnixMs) {
        let looked_ms = self.looked_ms.load(Ordering::Relaxed);
        let is_fresh = looked_ms.checked_add(FRESH_MS).is_some_and(|until| looked_ms > i64::MIN && now.0 < until);
        let is_ours = || {
            let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
            self.looked_ms.compare_exchange(looked_ms, now.0, success, failure).is_ok()
        };
        if is_fresh || !is_ours() {
            return;
        }
        let print = self.file.print();
        let seen = self.seen.load();
        if print != seen.print || seen.is_passing {
            let (door, is_passing) = self.read_again(&seen.door);
            self.seen.store(Arc::new(Seen { print, is_passing, door }));
        }
    }

    /// Reads a file that changed, and says whether what is wrong may pass. What was guarded once is never open again.
    fn read_again(&self, before: &Entrance) -> (Entrance, bool) {
        let place = self.file.path().display();
        let (why, is_passing) = match self.file.read() {
            Ok(Some(tokens)) => {
                tracing::info!(tokens = tokens.len(), file = %place, "the tokens were read again");
                return (Entrance::Guarded(Book::of(tokens)), false);
            }
            Ok(None) if matches!(before, Entrance::Open) => return (Entrance::Open, false),
            Ok(None) => {
                (format!("{place} is gone; put it back, or start the host anew to serve without tokens"), false)
            }
            Err(error) => (error.to_string(), matches!(error, TokenFileError::Io { .. })),
        };
        if !matches!(before, Entrance::Shut(told) if *told == why) {
            tracing::error!(error = why, "nobody is admitted, as the tokens cannot be read");
        }
        (Entrance::Shut(why), is_passing)
    }
}

/// The token in the header, `Bearer` before it.
fn bearer(headers: &HeaderMap) -> Result<&str, Refused> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Err(Refused::Missing),
        (Some(value), None) => value.to_str().map_err(|_| Refused::Invalid)?,
        (Some(_), Some(_)) => return Err(Refused::Invalid),
    };
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim_matches(' ')),
        // Another scheme: what is asked for was not sent.
        Some(_) => Err(Refused::Missing),
        None => Err(Refused::Invalid),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::super::{Minted, Need, book};
    use super::*;

    fn with(authorization: &[&str]) -> HeaderMap {
        authorization.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect()
    }

    fn bearing(minted: &Minted) -> HeaderMap {
        with(&[&format!("Bearer {}", minted.text)])
    }

    /// Tokens in a folder, with one that was made of ones.
    fn one() -> (TempDir, TokenFile, Minted) {
        let folder = TempDir::new().unwrap();
        let file = TokenFile::in_folder(folder.path());
        let minted = Minted::from_random(&[1; 38]);
        file.add(book::token(&minted, &["read"], Some(UnixMs(1_000_000)))).unwrap();
        (folder, file, minted)
    }

    fn admit(tokens: &Tokens, headers: &HeaderMap, now_ms: i64) -> Result<Caller, Refused> {
        tokens.admit(headers, UnixMs(now_ms), UnixMs(now_ms))
    }

    #[test]
    fn without_a_file_anybody_is_admitted_until_there_is_one() {
        let folder = TempDir::new().unwrap();
        let file = TokenFile::in_folder(folder.path());
        let tokens = Tokens::open(file.clone()).unwrap();
        assert!(matches!(admit(&tokens, &HeaderMap::new(), 0), Ok(Caller::Anybody)));
        file.add(book::token(&Minted::from_random(&[1; 38]), &["read"], None)).unwrap();
        assert!(admit(&tokens, &HeaderMap::new(), FRESH_MS - 1).is_ok(), "what was read is still new");
        assert_eq!(admit(&tokens, &HeaderMap::new(), FRESH_MS).unwrap_err(), Refused::Missing);
    }

    #[test]
    fn one_token_in_one_header_is_asked_for() {
        let (_folder, file, minted) = one();
        let tokens = Tokens::open(file).unwrap();
        let text = &minted.text;
        for (headers, told) in [
            (with(&[]), Refused::Missing),
            (with(&["Basic dTpw"]), Refused::Missing),
            (with(&["Bearer"]), Refused::Invalid),
            (with(&["Bearer "]), Refused::Invalid),
            (with(&[text]), Refused::Invalid),
            (with(&[&format!("Bearer {text}x")]), Refused::Invalid),
            (with(&[&format!("Bearer {text}"), &format!("Bearer {text}")]), Refused::Invalid),
        ] {
            assert_eq!(admit(&tokens, &headers, 5).unwrap_err(), told, "{headers:?}");
        }
        for scheme in ["Bearer", "bearer", "BEARER "] {
            let caller = admit(&tokens, &with(&[&format!("{scheme} {text}")]), 5).unwrap();
            assert_eq!(caller.id(), minted.id);
        }
        assert_eq!(admit(&tokens, &bearing(&minted), 1_000_000).unwrap_err(), Refused::Invalid, "it is void");
    }

    #[test]
    fn a_change_is_taken_up_and_nothing_that_is_wrong_opens_the_door() {
        let (_folder, file, minted) = one();
        let tokens = Tokens::open(file.clone()).unwrap();
        assert!(admit(&tokens, &bearing(&minted), 0).is_ok());
        file.remove(&minted.id).unwrap();
        assert_eq!(admit(&tokens, &bearing(&minted), 1_000).unwrap_err(), Refused::Invalid);
        assert_eq!(admit(&tokens, &HeaderMap::new(), 1_000).unwrap_err(), Refused::Missing, "none is left");
        file.add(book::token(&minted, &["read"], None)).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        let told = admit(&tokens, &bearing(&minted), 2_000).unwrap_err();
        assert!(matches!(told, Refused::Unreadable(why) if why.contains("0644")));
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(admit(&tokens, &bearing(&minted), 3_000).is_ok());
        std::fs::remove_file(file.path()).unwrap();
        let told = admit(&tokens, &HeaderMap::new(), 4_000).unwrap_err();
        assert!(matches!(told, Refused::Unreadable(why) if why.contains("is gone")));
    }

    #[test]
    fn the_wall_clock_says_what_has_expired() {
        let (_folder, file, minted) = one();
        let tokens = Tokens::open(file).unwrap();
        let at = |now, wall| tokens.admit(&bearing(&minted), UnixMs(now), UnixMs(wall));
        assert!(at(0, 999_999).is_ok());
        assert_eq!(at(1, 1_000_000).unwrap_err(), Refused::Invalid, "the machine slept meanwhile");
        assert!(at(2_000_000, 1).is_ok(), "the clock was put right");
    }

    #[test]
    fn who_was_admitted_is_asked_again_by_what_holds_then() {
        let (_folder, file, minted) = one();
        let tokens = Tokens::open(file.clone()).unwrap();
        let held = admit(&tokens, &bearing(&minted), 0).unwrap();
        let again = |now_ms, wall_ms| tokens.again(&held, UnixMs(now_ms), UnixMs(wall_ms));
        assert_eq!(again(1, 999_999).unwrap().id(), minted.id);
        assert_eq!(again(1, 1_000_000).unwrap_err(), Refused::Invalid, "it is void");
        file.remove(&minted.id).unwrap();
        assert!(again(FRESH_MS - 1, 0).is_ok(), "no file is looked at so soon");
        assert_eq!(again(FRESH_MS, 0).unwrap_err(), Refused::Invalid);
        // The same id is not the same token.
        let mut other = book::token(&minted, &["admin"], None);
        other.digest = Minted::from_random(&[2; 38]).digest;
        file.add(other).unwrap();
        assert_eq!(again(1_000, 0).unwrap_err(), Refused::Invalid);
        file.remove(&minted.id).unwrap();
        file.add(book::token(&minted, &["operate"], None)).unwrap();
        assert!(again(2_000, 0).unwrap().may(Need::Operate), "it allows what it allows now");
        assert_eq!(tokens.again(&Caller::Anybody, UnixMs(2_000), UnixMs(0)).unwrap_err(), Refused::Missing);
        assert_eq!(tokens.again(&Caller::nobody(), UnixMs(2_000), UnixMs(0)).unwrap_err(), Refused::Invalid);
        std::fs::remove_file(file.path()).unwrap();
        assert!(matches!(again(3_000, 0).unwrap_err(), Refused::Unreadable(_)));
    }

    #[test]
    fn what_the_system_refuses_is_tried_again() {
        let (folder, file, minted) = one();
        let tokens = Tokens::open(file.clone()).unwrap();
        // The file is as it was seen, and could not be opened then: there were too many open files.
        let shut = || Seen { print: file.print(), is_passing: true, door: Entrance::Shut("cannot read".to_owned()) };
        tokens.seen.store(Arc::new(shut()));
        assert!(admit(&tokens, &bearing(&minted), 0).is_ok());
        // A link is refused by the system, and so never for good.
        std::fs::rename(file.path(), folder.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", file.path()).unwrap();
        assert!(admit(&tokens, &bearing(&minted), 1_000).is_err());
        assert!(tokens.seen.load().is_passing);
    }
}
