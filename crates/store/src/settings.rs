//! Settings and persona overrides: text under a key, read and checked by who owns
//! the key.

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::check_bytes;
use crate::{Store, StoreError, What, limits};

/// A table of texts under keys.
struct Table {
    what: What,
    get: &'static str,
    list: &'static str,
    set: &'static str,
    remove: &'static str,
}

const SETTINGS: Table = Table {
    what: What::Setting,
    get: "SELECT value FROM settings WHERE key = ?1",
    list: "SELECT key, value FROM settings ORDER BY key",
    set: "INSERT INTO settings (key, value) VALUES (?1, ?2)
          ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    remove: "DELETE FROM settings WHERE key = ?1",
};

const PERSONA: Table = Table {
    what: What::Persona,
    get: "SELECT fields FROM persona_overrides WHERE scope = ?1",
    list: "SELECT scope, fields FROM persona_overrides ORDER BY scope",
    set: "INSERT INTO persona_overrides (scope, fields) VALUES (?1, ?2)
          ON CONFLICT (scope) DO UPDATE SET fields = excluded.fields",
    remove: "DELETE FROM persona_overrides WHERE scope = ?1",
};

impl Store {
    /// A setting's value.
    ///
    /// # Errors
    /// What SQLite reports.
    pub fn setting(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.text_at(&SETTINGS, key)
    }

    /// All settings, by key.
    ///
    /// # Errors
    /// What SQLite reports.
    pub fn settings(&self) -> Result<Vec<(String, String)>, StoreError> {
        self.texts(&SETTINGS)
    }

    /// Sets a setting, or with `None` takes it away.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`].
    pub fn set_setting(&mut self, key: &str, value: Option<&str>) -> Result<(), StoreError> {
        set_text(&self.conn, &SETTINGS, key, value)
    }

    /// Sets several settings, all of them or none; `None` takes one away.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`].
    pub fn set_settings(&mut self, settings: &[(&str, Option<&str>)]) -> Result<(), StoreError> {
        let tx = self.write()?;
        for (key, value) in settings {
            set_text(&tx, &SETTINGS, key, *value)?;
        }
        Ok(tx.commit()?)
    }

    /// The override of one scope: `global` or a scale.
    ///
    /// # Errors
    /// What SQLite reports.
    pub fn persona_override(&self, scope: &str) -> Result<Option<String>, StoreError> {
        self.text_at(&PERSONA, scope)
    }

    /// All overrides, by scope.
    ///
    /// # Errors
    /// What SQLite reports.
    pub fn persona_overrides(&self) -> Result<Vec<(String, String)>, StoreError> {
        self.texts(&PERSONA)
    }

    /// Sets the override of one scope, or with `None` takes it away.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`].
    pub fn set_persona_override(
        &mut self,
        scope: &str,
        fields: Option<&str>,
    ) -> Result<(), StoreError> {
        set_text(&self.conn, &PERSONA, scope, fields)
    }

    /// Puts these overrides, by scope, in the place of all that there are.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`].
    pub fn replace_persona<'a>(
        &mut self,
        overrides: impl IntoIterator<Item = (&'a str, String)>,
    ) -> Result<(), StoreError> {
        let tx = self.write()?;
        tx.execute("DELETE FROM persona_overrides", [])?;
        for (scope, fields) in overrides {
            set_text(&tx, &PERSONA, scope, Some(&fields))?;
        }
        Ok(tx.commit()?)
    }

    /// Takes every override away.
    ///
    /// # Errors
    /// What SQLite reports.
    pub fn reset_persona(&mut self) -> Result<(), StoreError> {
        self.conn.execute("DELETE FROM persona_overrides", [])?;
        Ok(())
    }

    fn text_at(&self, table: &Table, key: &str) -> Result<Option<String>, StoreError> {
        Ok(self
            .conn
            .prepare_cached(table.get)?
            .query_row([key], |row| row.get(0))
            .optional()?)
    }

    fn texts(&self, table: &Table) -> Result<Vec<(String, String)>, StoreError> {
        let mut statement = self.conn.prepare_cached(table.list)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn set_text(
    conn: &Connection,
    table: &Table,
    key: &str,
    value: Option<&str>,
) -> Result<(), StoreError> {
    if key.is_empty() {
        return Err(StoreError::invalid(table.what, "its key is empty"));
    }
    check_bytes(table.what, key, limits::KEY_BYTES)?;
    match value {
        Some(value) => {
            check_bytes(table.what, value, limits::VALUE_BYTES)?;
            conn.prepare_cached(table.set)?
                .execute(params![key, value])?;
        }
        None => {
            conn.prepare_cached(table.remove)?.execute([key])?;
        }
    }
    Ok(())
}
