//! What can go wrong inside, and what it means to a caller.

use rusqlite::ErrorCode;

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
}

pub(super) type Outcome<T> = Result<T, Fault>;

/// Makes a [`Fault::Damaged`].
pub(super) fn damaged(what: &str, place: i64, why: impl std::fmt::Display) -> Fault {
    Fault::Damaged(format!("{what} of the row {place}: {why}"))
}

impl Fault {
    /// Whether the store can no longer be trusted. A full disk, a foreign lock and a senseless value pass.
    pub(super) fn is_final(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        error.sqlite_error_code().is_some_and(|code| {
            !matches!(
                code,
                ErrorCode::DiskFull
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::ConstraintViolation
                    | ErrorCode::TypeMismatch
                    | ErrorCode::TooBig
            )
        })
    }
}

impl From<&Fault> for StoreError {
    fn from(fault: &Fault) -> Self {
        let text = fault.to_string();
        let Fault::Sql(error) = fault else { return Self::Damaged(text) };
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(text),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(text),
            // A constraint, a type, a size: what was to be written, or was read, makes no sense.
            Some(
                ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::TypeMismatch
                | ErrorCode::ConstraintViolation
                | ErrorCode::TooBig,
            ) => Self::Damaged(text),
            None => Self::Damaged(text),
            _ => Self::Failed(text),
        }
    }
}
