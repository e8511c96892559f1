//! Sessions put together, put aside, and noted by the day.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Map, Value, json};

use crate::error::check_bytes;
use crate::session::{self, Draft, SessionRow, TitleKind, clean_title, row_of, row_of_key, rows};
use crate::{
    SessionId, SessionInfo, SessionKind, Store, StoreError, UserId, What, export, format_timestamp,
    limits, names, record, turn, users,
};

/// Titles that the title of a merged session names.
const TITLES_NAMED: usize = 3;

/// Which sessions to put aside.
#[derive(Debug, Clone, Default)]
pub struct ArchiveEarly {
    /// Whose sessions; the default user's if not given. Nobody else's are touched.
    pub user: UserId,
    /// Whether the sessions stay where they are as well.
    pub keep_sources: bool,
}

/// What was put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// The archive.
    pub archive: SessionInfo,
    /// The session that was left: the one that changed last.
    pub latest: SessionInfo,
    /// How many sessions went into the archive.
    pub sources: usize,
}

impl Store {
    /// Puts sessions together into a new one, in the given order. The sources stay.
    /// Without a title it is called after the first three.
    ///
    /// The new session is `owner`'s; without one it goes to the user whose the
    /// sources are, or to the default user where they are several users'.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a source, [`StoreError::TooLarge`] for the title,
    /// [`StoreError::Invalid`] for too many sources.
    pub fn merge(
        &mut self,
        sources: &[SessionId],
        title: Option<&str>,
        owner: Option<&UserId>,
    ) -> Result<SessionInfo, StoreError> {
        if sources.len() > limits::MERGE_SOURCES {
            return Err(StoreError::invalid(
                What::Session,
                "more sources than one merge takes",
            ));
        }
        let title = clean_title(title)?.map(str::to_owned);
        let (id, now_ms) = (SessionId::new(&*self.host), self.host.now_ms());
        let tx = self.write()?;
        let sources = sources
            .iter()
            .map(|source| row_of(&tx, source))
            .collect::<Result<Vec<_>, _>>()?;
        let owner = match owner {
            Some(owner) => owner.clone(),
            None => common_user(&sources),
        };
        users::ensure(&tx, &owner, None)?;
        let title = title.unwrap_or_else(|| merged_title(&sources));
        let merged = put_together(
            &tx,
            id,
            SessionKind::Merged,
            &owner,
            &title,
            &sources,
            Map::new(),
            now_ms,
        )?;
        tx.commit()?;
        Ok(merged)
    }

    /// Puts all sessions of one user but the one that changed last into an archive,
    /// oldest first. Those that were put aside as they are stay. Nothing happens where there are fewer than two.
    ///
    /// # Errors
    /// What SQLite reports.
    pub fn archive_early(&mut self, wanted: &ArchiveEarly) -> Result<Option<Archived>, StoreError> {
        let (id, now_ms) = (SessionId::new(&*self.host), self.host.now_ms());
        let tx = self.write()?;
        // A session that a turn is being written to stays.
        let mut sources = rows(
            &tx,
            "WHERE s.user = ?1 AND s.kind <> 2 AND NOT s.archived
                 AND NOT EXISTS (SELECT 1 FROM turns t WHERE t.session = s.key AND t.state = 1)
             ORDER BY s.updated_ms DESC, s.key DESC",
            &[&wanted.user.as_str()],
        )?;
        if sources.len() < 2 {
            return Ok(None);
        }
        let latest = sources.remove(0).info;
        sources.reverse();
        let display = latest.display_name();
        let archive = json!({
            "type": "early",
            "latest_excluded_id": latest.name(),
            "latest_excluded_display_name": display,
            "source_count": sources.len(),
            "generated": format_timestamp(now_ms),
        });
        let mut details = Map::new();
        details.insert("archive".into(), archive);
        let info = put_together(
            &tx,
            id,
            SessionKind::Archive,
            &wanted.user,
            &format!("Early archive (before {display})"),
            &sources,
            details,
            now_ms,
        )?;
        if !wanted.keep_sources {
            for source in &sources {
                session::remove(&tx, source.key)?;
            }
        }
        tx.commit()?;
        Ok(Some(Archived {
            archive: info,
            latest,
            sources: sources.len(),
        }))
    }

    /// Notes a session as it is now in the log of its day, in place of an earlier
    /// note of the same session; gives the log's path. The log is part of an export.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Invalid`] for a log that cannot be
    /// read, which stays as it is.
    pub fn note_day(&mut self, id: &SessionId) -> Result<String, StoreError> {
        let tx = self.write()?;
        let row = row_of(&tx, id)?;
        let folder = row
            .info
            .path
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        let path = format!("{folder}/day.json");
        let entry = day_entry(&tx, &row)?;
        let before: Option<Vec<u8>> = tx
            .query_row(
                "SELECT bytes FROM kept_files WHERE path = ?1",
                [&path],
                |row| row.get(0),
            )
            .optional()?;
        let mut entries = match before.map(|bytes| serde_json::from_slice(&bytes)) {
            None => Vec::new(),
            Some(Ok(Value::Array(entries))) => entries,
            // Readable, but no log: nothing of a log is lost with it.
            Some(Ok(_)) => Vec::new(),
            Some(Err(_)) => {
                return Err(StoreError::invalid(
                    What::DayLog,
                    "it cannot be read; it was left as it is",
                ));
            }
        };
        match entries
            .iter_mut()
            .find(|known| known.get("id") == entry.get("id"))
        {
            Some(known) => *known = entry,
            None => entries.push(entry),
        }
        let text = export::pretty(&Value::Array(entries));
        check_bytes(What::DayLog, &text, limits::TREE_FILE_BYTES)?;
        tx.execute(
            "INSERT INTO kept_files (path, bytes) VALUES (?1, ?2)
             ON CONFLICT (path) DO UPDATE SET bytes = excluded.bytes",
            params![path, text.into_bytes()],
        )?;
        tx.commit()?;
        Ok(path)
    }
}

fn day_entry(conn: &Connection, row: &SessionRow) -> Result<Value, StoreError> {
    let info = &row.info;
    let mut meta = match (row.meta_state, row.source_meta.as_deref()) {
        (0, _) => Map::new(),
        (1, Some(source)) => serde_json::from_str(source).unwrap_or_default(),
        _ => export::description(row),
    };
    for (key, value) in [
        ("id", info.name().to_owned()),
        ("path", info.path.clone()),
        ("file_name", names::file_name(&info.path).to_owned()),
        ("display_name", info.display_name()),
    ] {
        meta.entry(key).or_insert_with(|| value.into());
    }
    Ok(json!({
        "id": meta.get("id"),
        "title": meta.get("title"),
        "custom": meta.get("custom"),
        "path": info.path,
        "records": export::records(conn, row)?,
        "meta": meta,
    }))
}

fn common_user(sources: &[SessionRow]) -> UserId {
    let mut users = sources.iter().map(|source| &source.info.user);
    match users.next() {
        Some(first) if users.all(|user| user == first) => first.clone(),
        _ => UserId::default(),
    }
}

/// A merged session's title, from the titles or names of its sources.
fn merged_title(sources: &[SessionRow]) -> String {
    let named: Vec<&str> = sources
        .iter()
        .take(TITLES_NAMED)
        .map(|source| {
            source
                .info
                .title
                .as_deref()
                .filter(|_| source.info.title_kind != TitleKind::Derived)
                .unwrap_or_else(|| source.info.name())
        })
        .collect();
    let mut title = format!("Merged: {}", named.join(" | "));
    // Three titles may be longer than one may be.
    let mut end = title.len().min(limits::TITLE_BYTES);
    while !title.is_char_boundary(end) {
        end -= 1;
    }
    title.truncate(end);
    title
}

#[allow(
    clippy::too_many_arguments,
    reason = "one caller each for merge and archive"
)]
fn put_together(
    conn: &Connection,
    id: SessionId,
    kind: SessionKind,
    owner: &UserId,
    title: &str,
    sources: &[SessionRow],
    mut details: Map<String, Value>,
    now_ms: i64,
) -> Result<SessionInfo, StoreError> {
    let ids: Vec<&str> = sources.iter().map(|source| source.info.name()).collect();
    details.insert("sources".into(), ids.into());
    let key = session::insert(
        conn,
        &Draft {
            id,
            user: owner,
            kind,
            model: Some(record::MERGED_MODEL),
            sanitized: false,
            title: Some(title),
            details: Some(Value::Object(details).to_string()),
            at_ms: now_ms,
        },
    )?;
    let into = row_of_key(conn, key)?.info;
    let (mut number, mut n_turns) = (0, 0);
    for source in sources {
        for turn in record::load(conn, source.key)? {
            number += 1;
            if turn.state == turn::KEPT_LINE {
                turn.insert(conn, key, number)?;
            } else {
                n_turns += 1;
                record::moved(&turn, &into, n_turns).insert(conn, key, number)?;
            }
        }
    }
    conn.execute(
        "UPDATE sessions SET turns = ?2 WHERE key = ?1",
        params![key, i64::try_from(n_turns).unwrap_or(i64::MAX)],
    )?;
    Ok(row_of_key(conn, key)?.info)
}
