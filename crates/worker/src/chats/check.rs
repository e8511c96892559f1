//! Looks whether the database of chats is sound, for the tests.

use rusqlite::{Connection, OpenFlags};

use super::pool::{self, PoolError};

/// Reads the whole database through a connection of its own. The runtime's own one,
/// in this worker, must be idle: the pool does not keep connections apart.
///
/// # Errors
/// What SQLite finds, or why it can't look.
pub(crate) async fn integrity_check() -> Result<(), String> {
    let (database, vfs) = pool::database_in_use().await.map_err(told)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let found = Connection::open_with_flags_and_vfs(database, flags, vfs.as_str())
        .and_then(|conn| conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)));
    match found {
        Ok(text) if text == "ok" => Ok(()),
        Ok(text) => Err(text),
        Err(error) => Err(error.to_string()),
    }
}

fn told(error: PoolError) -> String {
    match error {
        PoolError::Held => "another worker has the files".to_owned(),
        PoolError::Full => "no room".to_owned(),
        PoolError::Damaged(reason) | PoolError::Unavailable(reason) => reason,
    }
}
