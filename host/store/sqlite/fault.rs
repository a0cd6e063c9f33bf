//! What can go wrong inside, and what it means to a caller.

use rusqlite::{ErrorCode, ffi};

use super::open::ASK_DOCTOR;
use crate::store::StoreError;

/// A failure inside the embedded store.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// SQLite said so.
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    /// A row holds what was never written.
    #[error("{0}")]
    Damaged(String),
    /// What was to be written in the same commit makes no sense, so that nothing of it was written.
    #[error("what was to be written beside it makes no sense: {0}")]
    Beside(String),
    /// A commit of which nobody knows whether it came about.
    #[error(transparent)]
    Undecided(rusqlite::Error),
}

pub(super) type Outcome<T> = Result<T, Fault>;

/// Makes a [`Fault::Damaged`].
pub(super) fn damaged(what: &str, place: i64, why: impl std::fmt::Display) -> Fault {
    Fault::Damaged(format!("{what} of the row {place}: {why}"))
}

impl Fault {
    /// What it means to somebody who wants to open the store.
    pub(super) fn advice(&self) -> String {
        match StoreError::from(self) {
            StoreError::Full(_) => "the disk is full; make room".to_owned(),
            StoreError::Damaged(said) => format!("{said}: {ASK_DOCTOR}"),
            StoreError::Failed(said) => match self.code() {
                Some(ErrorCode::SystemIoFailure) => format!("{said}; look into the disk: {ASK_DOCTOR}"),
                // A table or a column is not as it should be.
                Some(ErrorCode::Unknown) => format!("{said}: {ASK_DOCTOR}"),
                _ => format!("{said}; look into the disk"),
            },
            _ => self.to_string(),
        }
    }

    fn code(&self) -> Option<ErrorCode> {
        if let Self::Sql(error) = self { error.sqlite_error_code() } else { None }
    }

    /// Whether what was read is not what was ever written: a row does not fit its sum, or is gone, or holds a value of
    /// another type.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) => true,
            // Not SQLite's own word, but rusqlite's of what came back.
            Self::Sql(error) => error.sqlite_error_code().is_none(),
            Self::Beside(_) | Self::Undecided(_) => false,
        }
    }

    /// Whether SQLite took it for what cannot be: a constraint, a type, a size. Only what was to be written is wrong then,
    /// and not the store.
    pub(super) fn is_senseless(&self) -> bool {
        self.code().is_some_and(is_senseless)
    }

    /// Whether the store can no longer be trusted. A full disk, a foreign lock, a lack of descriptors and a senseless
    /// value pass.
    pub(super) fn is_final(&self) -> bool {
        let error = match self {
            Self::Sql(error) => error,
            Self::Damaged(_) | Self::Beside(_) => return false,
            Self::Undecided(_) => return true,
        };
        !has_no_room_for_index(error)
            && error.sqlite_error_code().is_some_and(|code| {
                let passes = matches!(
                    code,
                    ErrorCode::DiskFull | ErrorCode::CannotOpen | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked
                );
                !passes && !is_senseless(code)
            })
    }
}

fn is_senseless(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig)
}

/// The WAL's index lies in a file too, and could not grow: that is a full disk.
fn has_no_room_for_index(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_SHMSIZE)
}

/// Why a commit failed. The log is written and synced before its index grows: where that has no room, the commit is on
/// disk, and would come about if the store were opened again.
pub(super) fn of_commit(error: rusqlite::Error) -> Fault {
    if has_no_room_for_index(&error) { Fault::Undecided(error) } else { Fault::Sql(error) }
}

impl From<&Fault> for StoreError {
    fn from(fault: &Fault) -> Self {
        let text = fault.to_string();
        let error = match fault {
            Fault::Sql(error) => error,
            Fault::Damaged(_) => return Self::Damaged(text),
            Fault::Beside(_) => return Self::Busy(text),
            Fault::Undecided(_) => return Self::Failed(text),
        };
        match error.sqlite_error_code() {
            _ if has_no_room_for_index(error) => Self::Full(text),
            Some(ErrorCode::DiskFull) => Self::Full(text),
            // It was open a moment ago: the process has no descriptor left for one more.
            Some(ErrorCode::CannotOpen) => Self::Busy(format!("{text}; the process has too many files open")),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(text),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(text),
            Some(code) if is_senseless(code) => Self::Damaged(text),
            None => Self::Damaged(text),
            _ => Self::Failed(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(extended_code: i32) -> Fault {
        Fault::Sql(rusqlite::Error::SqliteFailure(ffi::Error::new(extended_code), None))
    }

    #[test]
    fn what_passes_is_told_from_what_is_final() {
        for (code, is_final) in [
            (ffi::SQLITE_FULL, false),
            (ffi::SQLITE_IOERR_SHMSIZE, false),
            (ffi::SQLITE_CANTOPEN, false),
            (ffi::SQLITE_BUSY, false),
            (ffi::SQLITE_IOERR_FSYNC, true),
            (ffi::SQLITE_IOERR_WRITE, true),
            (ffi::SQLITE_CORRUPT, true),
        ] {
            assert_eq!(fault(code).is_final(), is_final, "{code}");
        }
    }

    #[test]
    fn a_commit_that_may_be_on_disk_is_not_said_to_have_failed_in_passing() {
        let of_commit = |code| of_commit(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        let undecided = of_commit(ffi::SQLITE_IOERR_SHMSIZE);
        assert!(undecided.is_final() && matches!(StoreError::from(&undecided), StoreError::Failed(_)));
        assert!(!of_commit(ffi::SQLITE_FULL).is_final());
    }

    #[test]
    fn the_doctor_is_named_where_it_helps() {
        let missing = Fault::Sql(rusqlite::Error::QueryReturnedNoRows);
        let unfit = damaged("job", 7, "it does not fit its sum");
        let codes = [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB, ffi::SQLITE_ERROR, ffi::SQLITE_IOERR_READ];
        for fault in codes.map(fault).into_iter().chain([missing, unfit]) {
            assert!(fault.advice().contains("windlass doctor"), "{fault:?}");
        }
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_BUSY, ffi::SQLITE_CANTOPEN, ffi::SQLITE_READONLY, ffi::SQLITE_NOMEM]
        {
            assert!(!fault(code).advice().contains("windlass doctor"), "{code}");
        }
    }

    #[test]
    fn a_lack_of_room_and_of_descriptors_is_told() {
        let told = |code| StoreError::from(&fault(code));
        assert!(matches!(told(ffi::SQLITE_IOERR_SHMSIZE), StoreError::Full(_)));
        assert!(matches!(told(ffi::SQLITE_CANTOPEN), StoreError::Busy(_)));
        assert!(matches!(told(ffi::SQLITE_IOERR_FSYNC), StoreError::Failed(_)));
    }
}
