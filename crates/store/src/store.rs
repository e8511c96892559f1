//! Opening the database.

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::schema::{self, Found, MIGRATIONS};
use crate::{Host, StoreError};

/// Where a database lies. Decides how it is journalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A file that other processes may open too.
    File,
    /// The origin private file system, through a pool of sync access handles: one
    /// connection, no shared memory.
    Opfs,
    /// Memory: gone with the connection.
    Memory,
}

/// The database. One value is one connection; it is not shared between threads.
///
/// A call that changes several rows is one transaction. When it returns, what it
/// wrote survives the end of the process (and of the power, where the host's flush
/// reaches the disk); when it fails, nothing of it is there.
pub struct Store {
    pub(crate) conn: Connection,
    pub(crate) host: Box<dyn Host>,
    place: Place,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens or makes a database file.
    ///
    /// # Errors
    /// [`StoreError::Newer`], [`StoreError::Foreign`] and [`StoreError::Corrupt`]
    /// leave the file as it is: the caller moves it aside or tells the user.
    #[cfg(not(target_family = "wasm"))]
    pub fn open(path: &std::path::Path, host: Box<dyn Host>) -> Result<Self, StoreError> {
        let conn = Connection::open_with_flags(path, flags())?;
        conn.busy_timeout(std::time::Duration::from_secs(5))?;
        Self::from_connection(conn, Place::File, host)
    }

    /// Opens or makes a database in a VFS that the caller has installed, such as the
    /// pool of sync access handles of a worker.
    ///
    /// # Errors
    /// As [`from_connection`](Self::from_connection).
    pub fn open_with_vfs(
        name: &str,
        vfs: &str,
        place: Place,
        host: Box<dyn Host>,
    ) -> Result<Self, StoreError> {
        let conn = Connection::open_with_flags_and_vfs(name, flags(), vfs)?;
        Self::from_connection(conn, place, host)
    }

    /// A database that is gone with the value.
    ///
    /// # Errors
    /// What SQLite reports.
    pub fn open_in_memory(host: Box<dyn Host>) -> Result<Self, StoreError> {
        Self::from_connection(Connection::open_in_memory()?, Place::Memory, host)
    }

    /// Takes over a connection: checks what it holds, and brings it to the newest
    /// format. Turns that a killed process left unfinished are marked as
    /// interrupted.
    ///
    /// # Errors
    /// [`StoreError::Newer`], [`StoreError::Foreign`] and [`StoreError::Corrupt`]
    /// before anything was written.
    pub fn from_connection(
        mut conn: Connection,
        place: Place,
        host: Box<dyn Host>,
    ) -> Result<Self, StoreError> {
        schema::harden(&conn)?;
        let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        if schema::inspect(&conn, known)? == Found::Empty {
            schema::lay_out(&conn)?;
        }
        schema::set_journal(&conn, place)?;
        schema::migrate(&mut conn, MIGRATIONS)?;
        conn.set_prepared_statement_cache_capacity(64);
        let mut store = Store { conn, host, place };
        store.mark_interrupted()?;
        Ok(store)
    }

    /// Where this database lies.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The database's size: pages in use and free ones.
    ///
    /// # Errors
    /// What SQLite reports.
    pub fn size_bytes(&self) -> Result<u64, StoreError> {
        let number = |pragma: &str| -> Result<u64, StoreError> {
            let number: i64 = self
                .conn
                .query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))?;
            Ok(u64::try_from(number).unwrap_or(0))
        };
        Ok(number("page_count")?.saturating_mul(number("page_size")?))
    }

    /// Lets the file grow to `max_bytes` and no further; a write beyond it is
    /// [`StoreError::Full`]. Lasts as long as the connection.
    ///
    /// # Errors
    /// What SQLite reports.
    pub fn set_max_bytes(&mut self, max_bytes: u64) -> Result<(), StoreError> {
        let page_bytes: i64 = self
            .conn
            .query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let n_pages = max_bytes / u64::try_from(page_bytes).unwrap_or(4096).max(1);
        self.conn.pragma_update_and_check(
            None,
            "max_page_count",
            i64::try_from(n_pages.max(1)).unwrap_or(i64::MAX),
            |_| Ok(()),
        )?;
        Ok(())
    }

    /// Reads the whole database and checks it.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] with what is wrong.
    pub fn check(&self) -> Result<(), StoreError> {
        schema::integrity_check(&self.conn)
    }

    /// Rewrites the database without what was deleted, the search index included.
    /// Takes as long as writing it anew, and as much room.
    ///
    /// # Errors
    /// What SQLite reports; [`StoreError::Full`] leaves it as it was.
    pub fn compact(&mut self) -> Result<(), StoreError> {
        for index in ["message_index", "title_index"] {
            self.conn.execute(
                &format!("INSERT INTO {index} ({index}) VALUES ('optimize')"),
                [],
            )?;
        }
        self.conn.execute_batch("VACUUM")?;
        Ok(())
    }

    /// A transaction that has the right to write from its beginning, so that it
    /// cannot fail half-way because somebody else was quicker.
    pub(crate) fn write(&mut self) -> Result<Transaction<'_>, StoreError> {
        Ok(self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)?)
    }
}

fn flags() -> OpenFlags {
    // No URI file names: a path is a path.
    OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
}
