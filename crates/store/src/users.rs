//! Users: an id that names a folder, and what they are called.

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::check_bytes;
use crate::{Store, StoreError, UserId, What, limits};

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// What they are called.
    pub display: String,
    /// How many sessions they have, archives included.
    pub sessions: u64,
}

/// The user that `text` names: an id, or an id or display name in any case.
pub(crate) fn find(conn: &Connection, text: &str) -> Result<Option<UserId>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT id, display FROM users ORDER BY id")?;
    let users: Vec<(String, String)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let wanted = text.trim().to_lowercase();
    let by =
        |fits: &dyn Fn(&str, &str) -> bool| users.iter().find(|(id, display)| fits(id, display));
    by(&|id, _| id == text)
        .or_else(|| by(&|id, _| id.to_lowercase() == wanted))
        .or_else(|| by(&|_, display| display.to_lowercase() == wanted))
        .map(|(id, _)| UserId::parse(id))
        .transpose()
}

/// Makes sure that a user is there, and is called `display` if that is given.
pub(crate) fn ensure(
    conn: &Connection,
    user: &UserId,
    display: Option<&str>,
) -> Result<(), StoreError> {
    let display = display.map(str::trim).filter(|display| !display.is_empty());
    if let Some(display) = display {
        check_bytes(What::User, display, limits::DISPLAY_BYTES)?;
    }
    let known: Option<String> = conn
        .prepare_cached("SELECT display FROM users WHERE id = ?1")?
        .query_row([user.as_str()], |row| row.get(0))
        .optional()?;
    match (known, display) {
        (None, display) => {
            conn.execute(
                "INSERT INTO users (id, display) VALUES (?1, ?2)",
                params![
                    user.as_str(),
                    display.map_or_else(|| user.default_display(), str::to_owned)
                ],
            )?;
        }
        (Some(known), Some(display)) if known != display => {
            conn.execute(
                "UPDATE users SET display = ?2, source = NULL WHERE id = ?1",
                params![user.as_str(), display],
            )?;
        }
        _ => {}
    }
    Ok(())
}

impl Store {
    /// All users, by id. The default user is always there.
    ///
    /// # Errors
    /// What SQLite reports.
    pub fn users(&self) -> Result<Vec<User>, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT u.id, u.display, (SELECT count(*) FROM sessions s WHERE s.user = u.id)
             FROM users u ORDER BY u.id",
        )?;
        let rows: Vec<(String, String, i64)> = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        rows.into_iter()
            .map(|(id, display, sessions)| {
                Ok(User {
                    id: UserId::parse(&id)?,
                    display,
                    sessions: u64::try_from(sessions).unwrap_or(0),
                })
            })
            .collect()
    }

    /// Notes a user, and what they are called; without a display name a new user is
    /// called by the id, and a known one keeps the name.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`].
    pub fn set_user(&mut self, user: &UserId, display: Option<&str>) -> Result<(), StoreError> {
        let tx = self.write()?;
        ensure(&tx, user, display)?;
        Ok(tx.commit()?)
    }
}
