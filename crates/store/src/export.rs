//! The database as a directory tree.

use std::collections::HashSet;

use rusqlite::Connection;
use serde_json::{Map, Value, json};

use crate::record::StoredTurn;
use crate::session::{SessionRow, TitleKind, row_of, rows};
use crate::{
    SessionId, SessionKind, Store, StoreError, TreeFile, UserId, format_timestamp, names, record,
    turn,
};

/// `turns.rest` of a line that stands for a whole file.
pub(crate) const WHOLE_FILE: &str = "file";

/// Hands files out, each path once: neither a folder nor an archive takes two files of
/// one name.
struct Outlet<'a> {
    given: HashSet<String>,
    each: &'a mut dyn FnMut(TreeFile),
}

impl Outlet<'_> {
    /// Hands a file out, unless one of its path was.
    fn give(&mut self, path: String, bytes: Vec<u8>, modified_ms: Option<i64>) {
        if self.given.insert(path.clone()) {
            (self.each)(TreeFile {
                path,
                bytes,
                modified_ms,
            });
        }
    }

    /// The first of these paths that was not given yet.
    fn first_free(&self, paths: [String; 2]) -> Option<String> {
        paths.into_iter().find(|path| !self.given.contains(path))
    }
}

impl Store {
    /// Hands out the tree, one file after the other: all of it, or some sessions.
    /// Settings, persona overrides and idempotency keys are no part of it. No path
    /// comes twice: what a session gives stands before a file that was only kept.
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
        let mut outlet = Outlet {
            given: HashSet::new(),
            each,
        };
        for key in keys {
            for row in rows(&self.conn, "WHERE s.key = ?1", &[&key])? {
                export_session(&self.conn, &row, &mut outlet)?;
            }
        }
        if only.is_none() {
            self.export_users(&mut outlet)?;
            let mut statement = self
                .conn
                .prepare("SELECT path, bytes FROM kept_files ORDER BY path")?;
            let mut kept = statement.query([])?;
            while let Some(row) = kept.next()? {
                outlet.give(row.get(0)?, row.get(1)?, None);
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

    fn export_users(&self, outlet: &mut Outlet<'_>) -> Result<(), StoreError> {
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
            outlet.give(format!("users/{id}/user.json"), text.into_bytes(), None);
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
    outlet: &mut Outlet<'_>,
) -> Result<(), StoreError> {
    let (path, updated_ms) = (&row.info.path, Some(row.info.updated_ms));
    outlet.give(
        path.clone(),
        session_text(conn, row)?.into_bytes(),
        updated_ms,
    );
    let meta = match row.meta_state {
        0 => return Ok(()),
        1 => row.source_meta.clone().unwrap_or_default(),
        _ => pretty(&Value::Object(description(row))),
    };
    // Of sessions that differ in their extension only, the first has the usual name.
    let place = outlet.first_free([names::meta_path(path), names::full_meta_path(path)]);
    if let Some(place) = place {
        outlet.give(place, meta.into_bytes(), updated_ms);
    }
    Ok(())
}

/// A session's records, in order.
pub(crate) fn records(conn: &Connection, row: &SessionRow) -> Result<Vec<Value>, StoreError> {
    let mut number = 0;
    let turns = record::load(conn, row.key)?;
    let mut records = Vec::with_capacity(turns.len());
    for turn in &turns {
        match (turn.state, &turn.source) {
            (turn::KEPT_LINE, Some(text)) => records.extend(kept_values(turn, text)),
            _ => {
                number += 1;
                records.push(record::build(&row.info, number, turn));
            }
        }
    }
    Ok(records)
}

/// The values in a line, or in a whole file, that is no record.
fn kept_values(turn: &StoredTurn, text: &str) -> Vec<Value> {
    match serde_json::from_str(text) {
        Ok(Value::Array(values)) if turn.rest.as_deref() == Some(WHOLE_FILE) => values,
        Ok(value) => vec![value],
        Err(_) => text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect(),
    }
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
