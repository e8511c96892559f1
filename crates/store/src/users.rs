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

fn user_of(conn: &Connection, id: &UserId) -> Result<User, StoreError> {
    let (display, sessions): (String, i64) = conn.query_row(
        "SELECT display, (SELECT count(*) FROM sessions WHERE user = ?1) FROM users WHERE id = ?1",
        [id.as_str()],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok(User {
        id: id.clone(),
        display,
        sessions: u64::try_from(sessions).unwrap_or(0),
    })
}

/// `wanted`, or the first id after it that is nobody's. One whose user has no other
/// name than the id is taken for the user who is meant: the folder of an earlier
/// system's user may have come without a name.
fn free_id(conn: &Connection, wanted: &UserId) -> Result<UserId, StoreError> {
    let mut display = conn.prepare_cached("SELECT display FROM users WHERE id = ?1")?;
    let mut id = wanted.clone();
    let mut n = 2_u32;
    loop {
        let known: Option<String> = display
            .query_row([id.as_str()], |row| row.get(0))
            .optional()?;
        let is_default = id.as_str() == UserId::DEFAULT;
        if !is_default && known.is_none_or(|known| known == id.default_display()) {
            return Ok(id);
        }
        id = UserId::parse(&format!("{wanted}_{n}"))?;
        n += 1;
    }
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

    /// The user that `text` names: an id, or an id or display name in any case.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn user(&self, text: &str) -> Result<User, StoreError> {
        let text = text.trim();
        let id = find(&self.conn, text)?.ok_or_else(|| {
            let shown: String = text.chars().take(limits::KEY_BYTES).collect();
            StoreError::not_found(What::User, shown)
        })?;
        user_of(&self.conn, &id)
    }

    /// The user called `name`, who is made if there is none. A new one has the id
    /// `wanted`, or where that is somebody else's the same with a number behind it.
    /// `display` is what the user is called from now on; a new one is called `name`
    /// without it.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a blank name, [`StoreError::TooLarge`].
    pub fn user_named(
        &mut self,
        name: &str,
        wanted: &UserId,
        display: Option<&str>,
    ) -> Result<User, StoreError> {
        let name = name.trim();
        if name.is_empty() {
            return Err(StoreError::invalid(What::User, "the name is blank"));
        }
        check_bytes(What::User, name, limits::DISPLAY_BYTES)?;
        let tx = self.write()?;
        let user = match find(&tx, name)? {
            Some(known) => {
                ensure(&tx, &known, display)?;
                user_of(&tx, &known)?
            }
            None => {
                let id = free_id(&tx, wanted)?;
                ensure(&tx, &id, display.or(Some(name)))?;
                user_of(&tx, &id)?
            }
        };
        tx.commit()?;
        Ok(user)
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
