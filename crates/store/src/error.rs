//! What can go wrong in the database.

use rusqlite::ErrorCode;

/// What an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A session, or the name of one.
    Session,
    /// A turn of a session.
    Turn,
    /// A user, or a user's id or display name.
    User,
    /// A title.
    Title,
    /// The text or the reasoning of a message.
    Message,
    /// A setting.
    Setting,
    /// A persona override.
    Persona,
    /// An idempotency key or the reply kept under it.
    Idempotency,
    /// A search text.
    Query,
    /// A model's, lane's or route's name.
    Name,
    /// A day's log.
    DayLog,
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            What::Session => "session",
            What::Turn => "turn",
            What::User => "user",
            What::Title => "title",
            What::Message => "message",
            What::Setting => "setting",
            What::Persona => "persona override",
            What::Idempotency => "idempotency key",
            What::Query => "search text",
            What::Name => "name",
            What::DayLog => "day log",
        })
    }
}

/// Why a call failed. Nothing of a failed call has been written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is none of that name.
    #[error("there is no {what} {name:?}")]
    NotFound {
        /// What was looked for.
        what: What,
        /// What it was called.
        name: String,
    },
    /// Several sessions fit a name.
    #[error("{name:?} fits {} sessions; give more of the name", .candidates.len())]
    Ambiguous {
        /// What was given.
        name: String,
        /// The ids of some of the sessions that fit.
        candidates: Vec<String>,
    },
    /// A value is over its cap.
    #[error("the {what} has {got_bytes} bytes; at most {max_bytes} are kept")]
    TooLarge {
        /// What is too large.
        what: What,
        /// The cap.
        max_bytes: usize,
        /// What came.
        got_bytes: usize,
    },
    /// A value cannot be kept as it is.
    #[error("the {what} is not usable: {reason}")]
    Invalid {
        /// What is not usable.
        what: What,
        /// Why.
        reason: &'static str,
    },
    /// The database was written by a newer version of this software.
    #[error(
        "the database has format {found}, this version reads up to {known}; update, or choose another file"
    )]
    Newer {
        /// The file's format.
        found: i64,
        /// The newest format known here.
        known: i64,
    },
    /// The file is somebody else's database.
    #[error("the file is a database of another program (application id {application_id:#x})")]
    Foreign {
        /// Whose.
        application_id: i64,
    },
    /// The file is damaged, or no database at all. The caller keeps it aside and
    /// starts with a new one; it is never repaired or overwritten here.
    #[error("the database is damaged: {detail}")]
    Corrupt {
        /// What SQLite found.
        detail: String,
    },
    /// No room is left.
    #[error("no storage is left for the database")]
    Full,
    /// Another connection holds the database.
    #[error("the database is in use elsewhere")]
    Busy,
    /// The database cannot be opened or written here.
    #[error("the database cannot be opened or written: {detail}")]
    Unavailable {
        /// What SQLite said.
        detail: String,
    },
    /// Anything else that SQLite reports.
    #[error("database: {0}")]
    Sqlite(rusqlite::Error),
}

impl StoreError {
    pub(crate) fn not_found(what: What, name: impl Into<String>) -> Self {
        StoreError::NotFound {
            what,
            name: name.into(),
        }
    }

    pub(crate) fn invalid(what: What, reason: &'static str) -> Self {
        StoreError::Invalid { what, reason }
    }

    /// Whether the same call may succeed later, or after room was made.
    pub fn is_retryable(&self) -> bool {
        matches!(self, StoreError::Busy | StoreError::Full)
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error;
        let detail = error.to_string();
        // Every column has a kind: a value of another one was not written here.
        if matches!(
            error,
            Error::FromSqlConversionFailure(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::InvalidColumnType(..)
        ) {
            return StoreError::Corrupt { detail };
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Corrupt { detail }
            }
            Some(ErrorCode::DiskFull) => StoreError::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy,
            Some(
                ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::SystemIoFailure,
            ) => StoreError::Unavailable { detail },
            _ => StoreError::Sqlite(error),
        }
    }
}

/// Refuses `text` when it is longer than `max_bytes`.
pub(crate) fn check_bytes(what: What, text: &str, max_bytes: usize) -> Result<(), StoreError> {
    if text.len() > max_bytes {
        return Err(StoreError::TooLarge {
            what,
            max_bytes,
            got_bytes: text.len(),
        });
    }
    Ok(())
}
