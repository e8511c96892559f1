//! The database as a directory tree.

use rusqlite::Connection;
use serde_json::{Map, Value, json};

use crate::session::{SessionRow, TitleKind, row_of, rows};
use crate::{
    SessionId, SessionKind, Store, StoreError, TreeFile, UserId, format_timestamp, names, record,
    turn,
};

/// `turns.rest` of a line that stands for a whole file.
pub(crate) const WHOLE_FILE: &str = "file";

impl Store {
    /// Hands out the tree, one file after the other: all of it, or some sessions.
    /// Settings, persona overrides and idempotency keys are no part of it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a session that is not there, or what SQLite
    /// reports.
    pub fn export_each(
        &self,
        only: Option<&[SessionId]>,
        each: &mut dyn FnMut(TreeFile),
    ) -> Result<(), StoreError> {
        let keys: Vec<i64> = match only {
            Some(ids) => ids
                .iter()
                .map(|id| Ok(row_of(&self.conn, id)?.key))
                .collect::<Result<_, StoreError>>()?,
            None => self
                .conn
                .prepare("SELECT key FROM sessions ORDER BY path")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?,
        };
        for key in keys {
            for row in rows(&self.conn, "WHERE s.key = ?1", &[&key])? {
                export_session(&self.conn, &row, each)?;
            }
        }
        if only.is_none() {
            self.export_users(each)?;
            let mut statement = self
                .conn
                .prepare("SELECT path, bytes FROM kept_files ORDER BY path")?;
            let mut kept = statement.query([])?;
            while let Some(row) = kept.next()? {
                each(TreeFile {
                    path: row.get(0)?,
                    bytes: row.get(1)?,
                    modified_ms: None,
                });
            }
        }
        Ok(())
    }

    /// The tree as a list of files.
    ///
    /// # Errors
    /// As [`export_each`](Self::export_each).
    pub fn export(&self, only: Option<&[SessionId]>) -> Result<Vec<TreeFile>, StoreError> {
        let mut files = Vec::new();
        self.export_each(only, &mut |file| files.push(file))?;
        Ok(files)
    }

    fn export_users(&self, each: &mut dyn FnMut(TreeFile)) -> Result<(), StoreError> {
        let mut statement = self
            .conn
            .prepare("SELECT id, display, source FROM users ORDER BY id")?;
        let mut users = statement.query([])?;
        while let Some(row) = users.next()? {
            let (id, display, source): (String, String, Option<String>) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            let text = match source {
                // Known from a folder's name only: there was no file.
                Some(source) if source.is_empty() => continue,
                Some(source) => source,
                None if id == UserId::DEFAULT => continue,
                None => pretty(&json!({"id": id, "display_name": display})),
            };
            each(TreeFile {
                path: format!("users/{id}/user.json"),
                bytes: text.into_bytes(),
                modified_ms: None,
            });
        }
        Ok(())
    }
}

pub(crate) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn export_session(
    conn: &Connection,
    row: &SessionRow,
    each: &mut dyn FnMut(TreeFile),
) -> Result<(), StoreError> {
    each(TreeFile {
        path: row.info.path.clone(),
        bytes: session_text(conn, row)?.into_bytes(),
        modified_ms: Some(row.info.updated_ms),
    });
    let meta = match row.meta_state {
        0 => return Ok(()),
        1 => row.source_meta.clone().unwrap_or_default(),
        _ => pretty(&Value::Object(description(row))),
    };
    each(TreeFile {
        path: names::meta_path(&row.info.path),
        bytes: meta.into_bytes(),
        modified_ms: Some(row.info.updated_ms),
    });
    Ok(())
}

/// A session's records, in order.
pub(crate) fn records(conn: &Connection, row: &SessionRow) -> Result<Vec<Value>, StoreError> {
    let mut number = 0;
    let turns = record::load(conn, row.key)?;
    Ok(turns
        .iter()
        .filter_map(|turn| match (turn.state, &turn.source) {
            (turn::KEPT_LINE, Some(line)) => serde_json::from_str(line).ok(),
            _ => {
                number += 1;
                Some(record::build(&row.info, number, turn))
            }
        })
        .collect())
}

/// The text of a session's file: a record a line, or one list of them.
pub(crate) fn session_text(conn: &Connection, row: &SessionRow) -> Result<String, StoreError> {
    let turns = record::load(conn, row.key)?;
    if let [only] = turns.as_slice()
        && only.rest.as_deref() == Some(WHOLE_FILE)
    {
        return Ok(only.source.clone().unwrap_or_default());
    }
    if row.info.path.ends_with(".json") {
        return Ok(pretty(&Value::Array(records(conn, row)?)));
    }
    let mut text = String::new();
    let mut number = 0;
    for turn in &turns {
        if let (turn::KEPT_LINE, Some(line)) = (turn.state, &turn.source) {
            text.push_str(line);
        } else {
            number += 1;
            text.push_str(&record::build(&row.info, number, turn).to_string());
        }
        text.push('\n');
    }
    Ok(text)
}

/// The description of a session: what its `.meta.json` says.
pub(crate) fn description(row: &SessionRow) -> Map<String, Value> {
    let info = &row.info;
    let mut meta = match row.source_meta.as_deref().map(serde_json::from_str) {
        Some(Ok(Value::Object(meta))) => meta,
        _ => Map::new(),
    };
    let details = match row.details.as_deref().map(serde_json::from_str) {
        Some(Ok(Value::Object(details))) => details,
        _ => Map::new(),
    };
    if !meta.contains_key("id") {
        meta.insert("id".into(), info.name().into());
    }
    // A title that was made up here is made up again where it is needed.
    let title = info
        .title
        .as_deref()
        .filter(|_| info.title_kind != TitleKind::Derived);
    for (key, value) in [
        ("path", Value::from(info.path.as_str())),
        ("model", info.model.as_deref().into()),
        ("sanitized", info.sanitized.into()),
        ("turns", info.turns.into()),
        ("created", format_timestamp(info.created_ms).into()),
        ("updated", format_timestamp(info.updated_ms).into()),
        ("title", title.into()),
        ("custom", (info.title_kind == TitleKind::Custom).into()),
        ("file_name", names::file_name(&info.path).into()),
        ("display_name", info.display_name().into()),
    ] {
        meta.insert(key.into(), value);
    }
    meta.extend(details);
    if info.user.as_str() != UserId::DEFAULT && info.kind != SessionKind::Archive {
        meta.insert("user_id".into(), info.user.as_str().into());
        meta.insert("user_display".into(), info.user_display.as_str().into());
    }
    let mut nox = json!({
        "id": info.id.as_str(),
        "created_ms": info.created_ms,
        "updated_ms": info.updated_ms,
    });
    // An archive says so by its place.
    if info.archived && info.kind != SessionKind::Archive {
        nox["archived"] = true.into();
    }
    meta.insert("nox".into(), nox);
    meta
}
