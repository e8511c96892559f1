//! The format of the database: what is set on every connection, the tables, and the
//! steps from one format to the next.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior};

use crate::StoreError;
use crate::store::Place;

/// Marks the file as this product's: "Nox" and a digit.
pub(crate) const APPLICATION_ID: i64 = 0x4e6f_7831;

/// Below this size the whole file is checked when it is opened; above it that would
/// take longer than opening may.
const CHECK_AT_OPEN_BYTES: i64 = 8 << 20;

/// The steps, oldest first: step `n` makes format `n + 1` of format `n`. A step that
/// was released is never changed.
pub(crate) const MIGRATIONS: &[&str] = &[FORMAT_1];

const FORMAT_1: &str = "
CREATE TABLE users (
    id      TEXT PRIMARY KEY,
    display TEXT NOT NULL,
    -- user.json as it was imported, for as long as nothing changed it
    source  TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO users (id, display) VALUES ('default', 'default');

CREATE TABLE sessions (
    key         INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    user        TEXT NOT NULL REFERENCES users (id),
    -- 0 chat, 1 merged, 2 archive
    kind        INTEGER NOT NULL,
    -- put aside as it is; an archive is aside in any case
    archived    INTEGER NOT NULL DEFAULT 0,
    -- where an export puts it, relative to the tree's root
    path        TEXT NOT NULL UNIQUE,
    model       TEXT,
    sanitized   INTEGER,
    title       TEXT,
    -- 0 none, 1 automatic, 2 given by the user, 3 made up at import
    title_kind  INTEGER NOT NULL DEFAULT 0,
    turns       INTEGER NOT NULL DEFAULT 0,
    created_ms  INTEGER NOT NULL,
    updated_ms  INTEGER NOT NULL,
    -- what the description holds beyond the columns: sources, archive, ...
    details     TEXT,
    -- the description as it was imported, for as long as nothing changed it
    source_meta TEXT,
    -- 0 as imported, without a description; 1 as imported; 2 made or changed here
    meta_state  INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_by_time ON sessions (updated_ms DESC, key DESC);
CREATE INDEX sessions_by_user ON sessions (user, updated_ms DESC, key DESC);

-- A system prompt is the same in most turns: it is stored once.
CREATE TABLE prompts (
    key  INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE turns (
    key       INTEGER PRIMARY KEY,
    session   INTEGER NOT NULL REFERENCES sessions (key) ON DELETE CASCADE,
    number    INTEGER NOT NULL,
    -- 0 finished, 1 being written, 2 interrupted, 3 a line kept as it came
    state     INTEGER NOT NULL,
    at_ms     INTEGER NOT NULL,
    model     TEXT,
    sanitized INTEGER NOT NULL DEFAULT 0,
    prompt    INTEGER REFERENCES prompts (key),
    -- what an imported record holds beside its messages, where it is not the usual
    rest      TEXT,
    -- the imported record itself, where the messages alone would not give it back
    source    TEXT
) STRICT;
CREATE UNIQUE INDEX turns_in_order ON turns (session, number);
CREATE INDEX turns_unfinished ON turns (state) WHERE state = 1;
CREATE INDEX turns_of_prompt ON turns (prompt) WHERE prompt IS NOT NULL;

CREATE TABLE messages (
    key       INTEGER PRIMARY KEY,
    turn      INTEGER NOT NULL REFERENCES turns (key) ON DELETE CASCADE,
    -- 1 user, 2 assistant
    role      INTEGER NOT NULL,
    content   TEXT NOT NULL,
    reasoning TEXT,
    -- which model answered, where it is another than the turn's
    model     TEXT,
    at_ms     INTEGER NOT NULL,
    partial   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX messages_of_turn ON messages (turn);

-- The indexes hold no text: it stands in the tables already. Rows are written with
-- the messages, because the text is prepared for the tokenizer first.
CREATE VIRTUAL TABLE message_index USING fts5 (
    body, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
);
CREATE VIRTUAL TABLE title_index USING fts5 (
    title, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
);

-- The names in telemetry are the same in most turns: each set is stored once.
CREATE TABLE telemetry_names (
    key           INTEGER PRIMARY KEY,
    alias         TEXT NOT NULL,
    backend       TEXT NOT NULL,
    model         TEXT NOT NULL,
    -- empty where nothing was computed here
    lane          TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    UNIQUE (model, backend, lane, alias, finish_reason)
) STRICT;

-- Times are whole microseconds: an integer takes fewer bytes the smaller it is.
CREATE TABLE telemetry (
    turn              INTEGER PRIMARY KEY REFERENCES turns (key) ON DELETE CASCADE,
    at_ms             INTEGER NOT NULL,
    names             INTEGER NOT NULL REFERENCES telemetry_names (key),
    left_device       INTEGER NOT NULL,
    fallbacks         INTEGER NOT NULL,
    prompt_tokens     INTEGER,
    cached_tokens     INTEGER,
    completion_tokens INTEGER,
    queued_us         INTEGER,
    load_us           INTEGER,
    prefill_us        INTEGER,
    decode_us         INTEGER,
    first_token_us    INTEGER,
    score             REAL
) STRICT;

CREATE TABLE idempotency (
    key   TEXT PRIMARY KEY,
    turn  INTEGER NOT NULL REFERENCES turns (key) ON DELETE CASCADE,
    at_ms INTEGER NOT NULL,
    reply TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_of_turn ON idempotency (turn);

CREATE TABLE settings (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE persona_overrides (
    scope  TEXT PRIMARY KEY,
    fields TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Files of an imported tree that are no sessions, for the way back.
CREATE TABLE kept_files (
    path  TEXT PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;
";

/// What a file turned out to be, before anything was written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing: a new database.
    Empty,
    /// A database of this format, which is not newer than the newest known.
    Format(i64),
}

/// Looks at a database without changing it.
pub(crate) fn inspect(conn: &Connection, known: i64) -> Result<Found, StoreError> {
    let number = |pragma: &str| -> Result<i64, StoreError> {
        Ok(conn.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))?)
    };
    let (application_id, format) = (number("application_id")?, number("user_version")?);
    if application_id == 0 && format == 0 {
        let n_objects: i64 =
            conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if n_objects == 0 {
            return Ok(Found::Empty);
        }
    }
    if application_id != APPLICATION_ID {
        return Err(StoreError::Foreign { application_id });
    }
    if format > known {
        return Err(StoreError::Newer {
            found: format,
            known,
        });
    }
    if number("page_count")?.saturating_mul(number("page_size")?) <= CHECK_AT_OPEN_BYTES {
        quick_check(conn)?;
    }
    Ok(Found::Format(format))
}

fn quick_check(conn: &Connection) -> Result<(), StoreError> {
    let detail: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if detail == "ok" {
        Ok(())
    } else {
        Err(StoreError::Corrupt { detail })
    }
}

/// Reads the whole file and compares indexes with tables.
pub(crate) fn integrity_check(conn: &Connection) -> Result<(), StoreError> {
    let detail: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if detail != "ok" {
        return Err(StoreError::Corrupt { detail });
    }
    let orphans: Option<String> = {
        let mut statement = conn.prepare("PRAGMA foreign_key_check")?;
        let mut rows = statement.query([])?;
        rows.next()?.map(|row| row.get(0)).transpose()?
    };
    match orphans {
        None => Ok(()),
        Some(table) => Err(StoreError::Corrupt {
            detail: format!("rows of {table} belong to nothing"),
        }),
    }
}

/// What is set before anything is read.
pub(crate) fn harden(conn: &Connection) -> Result<(), StoreError> {
    // The file may have been handed to the user by somebody else: its schema may not
    // call functions, its internals may not be rewritten through SQL, and a cell
    // that overlaps another is found before it is used.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    // A mapped page of a damaged or shortened file would be a signal, not an error.
    conn.pragma_update(None, "mmap_size", 0)?;
    conn.pragma_update(None, "foreign_keys", true)?;
    // Sorting must not leave chats in a temporary file, and OPFS has none.
    conn.pragma_update(None, "temp_store", "memory")?;
    conn.pragma_update(None, "cache_size", -8192)?;
    Ok(())
}

/// What only a new file takes.
pub(crate) fn lay_out(conn: &Connection) -> Result<(), StoreError> {
    // A message takes a few hundred bytes: on larger pages fewer are left unused.
    conn.pragma_update(None, "page_size", 8192)?;
    Ok(())
}

/// What depends on where the file lies. Writes to the file's header.
pub(crate) fn set_journal(conn: &Connection, place: Place) -> Result<(), StoreError> {
    let (locking, journal) = match place {
        // Readers of a second process go on while a turn is written. A commit is one
        // append and one fsync; `synchronous` is full because a reply is returned
        // only after its turn would survive a power cut.
        Place::File => ("normal", "wal"),
        // One connection holds the file, so there is no shared memory for a log.
        // Truncating keeps the journal's slot in the pool, where deleting it would
        // rewrite the pool's directory at every commit.
        Place::Opfs => ("exclusive", "truncate"),
        Place::Memory => ("exclusive", "memory"),
    };
    conn.pragma_update(None, "locking_mode", locking)?;
    conn.pragma_update_and_check(None, "journal_mode", journal, |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "full")?;
    // What was deleted is overwritten where that costs no further write.
    conn.pragma_update_and_check(None, "secure_delete", "fast", |_| Ok(()))?;
    Ok(())
}

/// Brings a database to the newest format, one transaction per step.
pub(crate) fn migrate(conn: &mut Connection, steps: &[&str]) -> Result<(), StoreError> {
    loop {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Read under the lock: another process may have been quicker.
        let format: i64 = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let Some(step) = usize::try_from(format).ok().and_then(|at| steps.get(at)) else {
            return Ok(());
        };
        tx.execute_batch(step)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", format + 1)?;
        tx.commit()?;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

    use super::*;

    fn format(conn: &Connection) -> i64 {
        conn.query_row("PRAGMA user_version", [], |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn steps_run_in_order_and_only_the_missing_ones() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, &["CREATE TABLE a (x)"]).unwrap();
        assert_eq!(format(&conn), 1);
        let steps = [
            "CREATE TABLE a (x)",
            "ALTER TABLE a ADD COLUMN y",
            "INSERT INTO a VALUES (1, 2)",
        ];
        migrate(&mut conn, &steps).unwrap();
        migrate(&mut conn, &steps).unwrap();
        assert_eq!(format(&conn), 3);
        let n: i64 = conn
            .query_row("SELECT count(*) FROM a", [], |row| row.get(0))
            .unwrap();
        assert_eq!(n, 1, "the last step ran once");
    }

    #[test]
    fn a_step_that_fails_leaves_the_format_before_it() {
        let mut conn = Connection::open_in_memory().unwrap();
        let steps = [
            "CREATE TABLE a (x)",
            "CREATE TABLE b (x); INSERT INTO nowhere VALUES (1)",
        ];
        assert!(migrate(&mut conn, &steps).is_err());
        assert_eq!(format(&conn), 1);
        assert!(conn.prepare("SELECT * FROM b").is_err(), "rolled back");
    }

    #[test]
    fn a_database_that_is_not_ours_is_left_alone() {
        let conn = Connection::open_in_memory().unwrap();
        assert_eq!(inspect(&conn, 1).unwrap(), Found::Empty);
        conn.execute_batch("CREATE TABLE somebody_elses (x)")
            .unwrap();
        assert!(matches!(
            inspect(&conn, 1),
            Err(StoreError::Foreign { application_id: 0 })
        ));
    }
}
