//! Sessions: listing, reading, naming, finding, deleting.

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use crate::error::check_bytes;
use crate::telemetry::{self, TurnTelemetry};
use crate::{SessionId, Store, StoreError, UserId, What, limits, names, search, users};

/// What a session came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// A conversation.
    Chat,
    /// Several sessions put together.
    Merged,
    /// Older sessions put aside; not listed with the others.
    Archive,
}

impl SessionKind {
    pub(crate) fn code(self) -> i64 {
        match self {
            SessionKind::Chat => 0,
            SessionKind::Merged => 1,
            SessionKind::Archive => 2,
        }
    }

    fn from_code(code: i64) -> Self {
        match code {
            1 => SessionKind::Merged,
            2 => SessionKind::Archive,
            _ => SessionKind::Chat,
        }
    }
}

/// Where a session's title comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TitleKind {
    /// Nobody gave one.
    None,
    /// Made from the conversation.
    Automatic,
    /// The user's own; nothing automatic replaces it. It may be no title at all,
    /// where the user took the title away.
    Custom,
    /// Made at an import that brought none.
    Derived,
}

impl TitleKind {
    pub(crate) fn code(self) -> i64 {
        match self {
            TitleKind::None => 0,
            TitleKind::Automatic => 1,
            TitleKind::Custom => 2,
            TitleKind::Derived => 3,
        }
    }

    fn from_code(code: i64) -> Self {
        match code {
            1 => TitleKind::Automatic,
            2 => TitleKind::Custom,
            3 => TitleKind::Derived,
            _ => TitleKind::None,
        }
    }
}

/// Who speaks. A system prompt is no message here: it belongs to its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The user.
    User,
    /// The model.
    Assistant,
}

impl Role {
    pub(crate) fn code(self) -> i64 {
        match self {
            Role::User => 1,
            Role::Assistant => 2,
        }
    }

    pub(crate) fn from_code(code: i64) -> Self {
        if code == 1 {
            Role::User
        } else {
            Role::Assistant
        }
    }

    /// The role's name in every chat format.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// How far a turn came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnState {
    /// Its reply was stored.
    Finished,
    /// It is being written, by this connection or another.
    Open,
    /// The process ended while it was being written. What had been stored of the
    /// reply is there, marked as partial.
    Interrupted,
}

impl TurnState {
    pub(crate) fn from_code(code: i64) -> Self {
        match code {
            1 => TurnState::Open,
            2 => TurnState::Interrupted,
            _ => TurnState::Finished,
        }
    }
}

/// One session, without its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// What they are called.
    pub user_display: String,
    /// What it came from.
    pub kind: SessionKind,
    /// Whether it was put aside: as it is, or because it is an archive.
    pub archived: bool,
    /// Where an export puts it, relative to the tree's root. Names it too.
    pub path: String,
    /// The title, if it has one.
    pub title: Option<String>,
    /// Where the title comes from.
    pub title_kind: TitleKind,
    /// The model of its last turn, as the host calls it.
    pub model: Option<String>,
    /// Whether personal data was replaced before it was stored; `None` where an
    /// import did not say.
    pub sanitized: Option<bool>,
    /// How many turns it has.
    pub turns: u64,
    /// When it began.
    pub created_ms: i64,
    /// When it last changed.
    pub updated_ms: i64,
}

impl SessionInfo {
    /// Its file's name without extension: the short name that people type.
    pub fn name(&self) -> &str {
        names::stem(&self.path)
    }

    /// The name as a person reads it.
    pub fn display_name(&self) -> String {
        names::display_name(self.name())
    }
}

/// A session to be made.
#[derive(Debug, Clone, Default)]
pub struct NewSession<'a> {
    /// Whose it is; the default user's if not given.
    pub user: Option<UserId>,
    /// What the user is called, if that is to be noted.
    pub user_display: Option<&'a str>,
    /// The model, as the host calls it.
    pub model: Option<&'a str>,
    /// Whether personal data is replaced before it is stored.
    pub sanitized: bool,
}

/// Which sessions to list.
#[derive(Debug, Clone, Default)]
pub struct ListQuery<'a> {
    /// One user's; every user's if not given. An id, or a display name in any case.
    pub user: Option<&'a str>,
    /// The ones put aside instead of the others.
    pub archived: bool,
    /// How many to leave out at the beginning.
    pub offset: usize,
    /// How many to give; 0 means as many as one page may hold.
    pub limit: usize,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage {
    /// The sessions, last changed first.
    pub sessions: Vec<SessionInfo>,
    /// How many there are on all pages.
    pub total: u64,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What was said.
    pub content: String,
    /// What the model thought before it.
    pub reasoning: Option<String>,
    /// The model that answered, where it is another than the turn's.
    pub model: Option<String>,
    /// When.
    pub at_ms: i64,
    /// Whether it is only the beginning of what was to be said.
    pub partial: bool,
}

/// One turn: what was asked, and the reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnContent {
    /// Its place in the session, from 1.
    pub number: u64,
    /// How far it came.
    pub state: TurnState,
    /// When it was finished, or begun.
    pub at_ms: i64,
    /// The model, as the host calls it.
    pub model: Option<String>,
    /// The system prompt in force.
    pub system: Option<String>,
    /// What was said, in order.
    pub messages: Vec<Message>,
}

/// Some turns of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnPage {
    /// The session.
    pub session: SessionInfo,
    /// The system prompt in force at the session's last turn.
    pub system: Option<String>,
    /// The turns, oldest first, and how each went, where that is known.
    pub turns: Vec<(TurnContent, Option<TurnTelemetry>)>,
    /// Whether there are earlier ones.
    pub has_earlier: bool,
}

/// A session's row.
#[derive(Debug, Clone)]
pub(crate) struct SessionRow {
    pub(crate) key: i64,
    pub(crate) info: SessionInfo,
    pub(crate) details: Option<String>,
    pub(crate) source_meta: Option<String>,
    pub(crate) meta_state: i64,
}

pub(crate) const ROW: &str = "s.key, s.id, s.user, u.display, s.kind, s.path, s.title, s.title_kind,
     s.model, s.sanitized, s.turns, s.created_ms, s.updated_ms, s.details, s.source_meta, s.meta_state,
     (s.kind = 2 OR s.archived) FROM sessions s JOIN users u ON u.id = s.user";

impl SessionRow {
    pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let id: String = row.get(1)?;
        let user: String = row.get(2)?;
        // Ids are checked where they are written; a file that was changed by other
        // hands since is damaged.
        let damaged = |at: usize| {
            rusqlite::Error::FromSqlConversionFailure(
                at,
                rusqlite::types::Type::Text,
                "not an id".into(),
            )
        };
        Ok(SessionRow {
            key: row.get(0)?,
            info: SessionInfo {
                id: SessionId::parse(&id).ok_or_else(|| damaged(1))?,
                user: UserId::parse(&user).map_err(|_| damaged(2))?,
                user_display: row.get(3)?,
                kind: SessionKind::from_code(row.get(4)?),
                archived: row.get(16)?,
                path: row.get(5)?,
                title: row.get(6)?,
                title_kind: TitleKind::from_code(row.get(7)?),
                model: row.get(8)?,
                sanitized: row.get(9)?,
                turns: u64::try_from(row.get::<_, i64>(10)?).unwrap_or(0),
                created_ms: row.get(11)?,
                updated_ms: row.get(12)?,
            },
            details: row.get(13)?,
            source_meta: row.get(14)?,
            meta_state: row.get(15)?,
        })
    }
}

/// Rows of a query over sessions that ends in `rest`.
pub(crate) fn rows(
    conn: &Connection,
    rest: &str,
    params: &[&dyn ToSql],
) -> Result<Vec<SessionRow>, StoreError> {
    let mut statement = conn.prepare_cached(&format!("SELECT {ROW} {rest}"))?;
    let rows = statement.query_map(params, SessionRow::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(crate) fn row_of(conn: &Connection, id: &SessionId) -> Result<SessionRow, StoreError> {
    rows(conn, "WHERE s.id = ?1", &[&id.as_str()])?
        .pop()
        .ok_or_else(|| StoreError::not_found(What::Session, id.as_str()))
}

pub(crate) fn row_of_key(conn: &Connection, key: i64) -> Result<SessionRow, StoreError> {
    rows(conn, "WHERE s.key = ?1", &[&key])?
        .pop()
        .ok_or_else(|| StoreError::not_found(What::Session, key.to_string()))
}

/// A session to be inserted.
pub(crate) struct Draft<'a> {
    pub(crate) id: SessionId,
    pub(crate) user: &'a UserId,
    pub(crate) kind: SessionKind,
    pub(crate) model: Option<&'a str>,
    pub(crate) sanitized: bool,
    pub(crate) title: Option<&'a str>,
    pub(crate) details: Option<String>,
    pub(crate) at_ms: i64,
}

/// Inserts a session under the first free name of its second.
pub(crate) fn insert(conn: &Connection, draft: &Draft<'_>) -> Result<i64, StoreError> {
    let mut n = 1;
    let path = loop {
        let path = names::session_path(draft.kind, draft.user, draft.at_ms, n);
        if names::is_free(conn, &path)? {
            break path;
        }
        n += 1;
    };
    let title_kind = if draft.title.is_some() {
        TitleKind::Automatic
    } else {
        TitleKind::None
    };
    conn.prepare_cached(
        "INSERT INTO sessions (id, user, kind, path, model, sanitized, title, title_kind,
             created_ms, updated_ms, details, meta_state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, 2)",
    )?
    .execute(params![
        draft.id.as_str(),
        draft.user.as_str(),
        draft.kind.code(),
        path,
        draft.model,
        draft.sanitized,
        draft.title,
        title_kind.code(),
        draft.at_ms,
        draft.details,
    ])?;
    let key = conn.last_insert_rowid();
    search::index_title(conn, key, draft.title)?;
    Ok(key)
}

/// Brings a session's row up to date with its turns.
pub(crate) fn touch(conn: &Connection, key: i64, at_ms: i64) -> Result<(), StoreError> {
    conn.prepare_cached(
        "UPDATE sessions SET updated_ms = ?2, meta_state = 2,
             turns = (SELECT count(*) FROM turns WHERE session = ?1 AND state IN (0, 2))
         WHERE key = ?1",
    )?
    .execute(params![key, at_ms])?;
    Ok(())
}

/// Takes a session away, with what the indexes hold of it.
pub(crate) fn remove(conn: &Connection, key: i64) -> Result<(), StoreError> {
    let prompts: Vec<i64> = conn
        .prepare_cached(
            "SELECT DISTINCT prompt FROM turns WHERE session = ?1 AND prompt IS NOT NULL",
        )?
        .query_map([key], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    conn.prepare_cached(
        "DELETE FROM message_index WHERE rowid IN (SELECT m.key FROM messages m
             JOIN turns t ON t.key = m.turn WHERE t.session = ?1)",
    )?
    .execute([key])?;
    conn.prepare_cached("DELETE FROM title_index WHERE rowid = ?1")?
        .execute([key])?;
    conn.prepare_cached("DELETE FROM sessions WHERE key = ?1")?
        .execute([key])?;
    for prompt in prompts {
        conn.prepare_cached(
            "DELETE FROM prompts WHERE key = ?1
                 AND NOT EXISTS (SELECT 1 FROM turns WHERE prompt = ?1)",
        )?
        .execute([prompt])?;
    }
    Ok(())
}

/// Trims a title; one of blanks is none.
pub(crate) fn clean_title(title: Option<&str>) -> Result<Option<&str>, StoreError> {
    let title = title.map(str::trim).filter(|title| !title.is_empty());
    if let Some(title) = title {
        check_bytes(What::Title, title, limits::TITLE_BYTES)?;
    }
    Ok(title)
}

fn set_title(
    conn: &Connection,
    key: i64,
    title: Option<&str>,
    kind: TitleKind,
    now_ms: i64,
) -> Result<(), StoreError> {
    conn.prepare_cached(
        "UPDATE sessions SET title = ?2, title_kind = ?3, updated_ms = ?4, meta_state = 2
         WHERE key = ?1",
    )?
    .execute(params![key, title, kind.code(), now_ms])?;
    search::index_title(conn, key, title)
}

/// Sets an automatic title, unless the user has given one.
pub(crate) fn set_automatic_title(
    conn: &Connection,
    row: &SessionRow,
    title: Option<&str>,
    now_ms: i64,
) -> Result<bool, StoreError> {
    if row.info.title_kind == TitleKind::Custom {
        return Ok(false);
    }
    // The same title comes with every turn.
    if row.info.title_kind == TitleKind::Automatic && row.info.title.as_deref() == title {
        return Ok(true);
    }
    let kind = if title.is_some() {
        TitleKind::Automatic
    } else {
        TitleKind::None
    };
    set_title(conn, row.key, title, kind, now_ms)?;
    Ok(true)
}

impl Store {
    /// Makes a session without a turn. A chat needs none of it: `begin_turn` makes
    /// the session with its first turn.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] for a name over its cap.
    pub fn create_session(&mut self, new: &NewSession<'_>) -> Result<SessionInfo, StoreError> {
        let (id, now_ms) = (SessionId::new(&*self.host), self.host.now_ms());
        let tx = self.write()?;
        let key = create(&tx, id, new, now_ms)?;
        let row = row_of_key(&tx, key)?;
        tx.commit()?;
        Ok(row.info)
    }

    /// Sessions, last changed first.
    ///
    /// # Errors
    /// What SQLite reports.
    pub fn sessions(&self, query: &ListQuery<'_>) -> Result<ListPage, StoreError> {
        let limit = match query.limit {
            0 => limits::PAGE_ENTRIES,
            limit => limit.min(limits::PAGE_ENTRIES),
        };
        let user = query
            .user
            .filter(|user| !user.is_empty())
            .map(|user| users::find(&self.conn, user))
            .transpose()?;
        let (archived, limit, offset) = (
            query.archived,
            i64::try_from(limit).unwrap_or(i64::MAX),
            i64::try_from(query.offset).unwrap_or(i64::MAX),
        );
        let (sessions, total): (_, i64) = match user {
            Some(None) => (Vec::new(), 0),
            Some(Some(user)) => (
                rows(
                    &self.conn,
                    "WHERE s.user = ?1 AND (s.kind = 2 OR s.archived) = ?2
                     ORDER BY s.updated_ms DESC, s.key DESC LIMIT ?3 OFFSET ?4",
                    &[&user.as_str(), &archived, &limit, &offset],
                )?,
                self.conn.query_row(
                    "SELECT count(*) FROM sessions WHERE user = ?1 AND (kind = 2 OR archived) = ?2",
                    params![user.as_str(), archived],
                    |row| row.get(0),
                )?,
            ),
            None => (
                rows(
                    &self.conn,
                    "WHERE (s.kind = 2 OR s.archived) = ?1
                     ORDER BY s.updated_ms DESC, s.key DESC LIMIT ?2 OFFSET ?3",
                    &[&archived, &limit, &offset],
                )?,
                self.conn.query_row(
                    "SELECT count(*) FROM sessions WHERE (kind = 2 OR archived) = ?1",
                    [archived],
                    |row| row.get(0),
                )?,
            ),
        };
        Ok(ListPage {
            sessions: sessions.into_iter().map(|row| row.info).collect(),
            total: u64::try_from(total).unwrap_or(0),
        })
    }

    /// One session.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn session(&self, id: &SessionId) -> Result<SessionInfo, StoreError> {
        Ok(row_of(&self.conn, id)?.info)
    }

    /// A session's turns, oldest first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn turns(&self, id: &SessionId) -> Result<Vec<TurnContent>, StoreError> {
        turns_of(&self.conn, row_of(&self.conn, id)?.key)
    }

    /// Some of a session's turns: the last `limit` ones, or the last ones before the
    /// turn with the number `before`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn turns_before(
        &self,
        id: &SessionId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<TurnPage, StoreError> {
        let row = row_of(&self.conn, id)?;
        let n_turns: u64 = self
            .conn
            .prepare_cached("SELECT count(*) FROM turns WHERE session = ?1 AND state <> 3")?
            .query_row([row.key], |row| row.get::<_, i64>(0))?
            .try_into()
            .unwrap_or(0);
        let end = before.map_or(n_turns, |before| before.saturating_sub(1).min(n_turns));
        let limit = limit.min(limits::PAGE_ENTRIES) as u64;
        let start = end.saturating_sub(limit);
        let (keys, turns) = read_turns(&self.conn, row.key, start, Some(end - start))?;
        let telemetry = keys
            .into_iter()
            .map(|key| telemetry::of_turn(&self.conn, key))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(TurnPage {
            session: row.info,
            system: last_system(&self.conn, row.key)?,
            turns: turns.into_iter().zip(telemetry).collect(),
            has_earlier: start > 0,
        })
    }

    /// The first system prompt that a session's turns were given. It belongs in
    /// front of the messages, wherever it came up first.
    ///
    /// # Errors
    /// What SQLite reports.
    pub fn first_system(&self, id: &SessionId) -> Result<Option<String>, StoreError> {
        Ok(self
            .conn
            .prepare_cached(
                "SELECT p.text FROM sessions s JOIN turns t ON t.session = s.key
                     JOIN prompts p ON p.key = t.prompt
                 WHERE s.id = ?1 ORDER BY t.number LIMIT 1",
            )?
            .query_row([id.as_str()], |row| row.get(0))
            .optional()?)
    }

    /// Gives a session the user's own title; nothing, or blanks, takes the title
    /// away. No automatic title replaces either.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::TooLarge`].
    pub fn rename(&mut self, id: &SessionId, title: Option<&str>) -> Result<(), StoreError> {
        let title = clean_title(title)?;
        let now_ms = self.host.now_ms();
        let tx = self.write()?;
        let row = row_of(&tx, id)?;
        set_title(&tx, row.key, title, TitleKind::Custom, now_ms)?;
        Ok(tx.commit()?)
    }

    /// Gives a session an automatic title, unless the user has given one; tells
    /// whether it did.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::TooLarge`].
    pub fn set_automatic_title(
        &mut self,
        id: &SessionId,
        title: Option<&str>,
    ) -> Result<bool, StoreError> {
        let title = clean_title(title)?;
        let now_ms = self.host.now_ms();
        let tx = self.write()?;
        let row = row_of(&tx, id)?;
        let set = set_automatic_title(&tx, &row, title, now_ms)?;
        tx.commit()?;
        Ok(set)
    }

    /// Puts a session aside as it is, or takes it back among the others. When it
    /// last changed stays as it was.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Invalid`] for an archive that is to
    /// be taken back.
    pub fn set_archived(
        &mut self,
        id: &SessionId,
        archived: bool,
    ) -> Result<SessionInfo, StoreError> {
        let tx = self.write()?;
        let row = row_of(&tx, id)?;
        if row.info.archived == archived {
            return Ok(row.info);
        }
        if row.info.kind == SessionKind::Archive {
            return Err(StoreError::invalid(
                What::Session,
                "it is an archive of others, which can't be taken back",
            ));
        }
        tx.execute(
            "UPDATE sessions SET archived = ?2, meta_state = 2 WHERE key = ?1",
            params![row.key, archived],
        )?;
        let info = row_of_key(&tx, row.key)?.info;
        tx.commit()?;
        Ok(info)
    }

    /// Deletes a session with all that belongs to it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn delete(&mut self, id: &SessionId) -> Result<(), StoreError> {
        let tx = self.write()?;
        remove(&tx, row_of(&tx, id)?.key)?;
        Ok(tx.commit()?)
    }

    /// Deletes a session in which nothing was said; tells whether it did. One that
    /// holds imported lines which could not be read, or whose description promises
    /// turns, is not empty.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn delete_if_empty(&mut self, id: &SessionId) -> Result<bool, StoreError> {
        let tx = self.write()?;
        let row = row_of(&tx, id)?;
        let empty = is_empty(&tx, &row)?;
        if empty {
            remove(&tx, row.key)?;
            tx.commit()?;
        }
        Ok(empty)
    }

    /// Deletes every session in which nothing was said; tells how many.
    ///
    /// # Errors
    /// What SQLite reports.
    pub fn delete_empty(&mut self) -> Result<u64, StoreError> {
        let tx = self.write()?;
        let candidates = rows(
            &tx,
            "WHERE NOT EXISTS (SELECT 1 FROM turns t JOIN messages m ON m.turn = t.key
                 WHERE t.session = s.key)",
            &[],
        )?;
        let mut n = 0;
        for row in candidates {
            if is_empty(&tx, &row)? {
                remove(&tx, row.key)?;
                n += 1;
            }
        }
        tx.commit()?;
        Ok(n)
    }

    /// The session that `text` names: its id, its path or name in an exported tree,
    /// or the end of its id or name, where only one session ends so.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Ambiguous`].
    pub fn resolve(&self, text: &str) -> Result<SessionInfo, StoreError> {
        let text = text.trim();
        let not_found = || {
            let shown: String = text.chars().take(limits::KEY_BYTES).collect();
            StoreError::not_found(What::Session, shown)
        };
        if text.is_empty() || text.len() > limits::TREE_PATH_BYTES {
            return Err(not_found());
        }
        let exact = rows(&self.conn, "WHERE s.id = ?1 OR s.path = ?1", &[&text])?;
        if let Some(row) = exact.into_iter().next() {
            return Ok(row.info);
        }
        // Both ends are compared here: a name is what is left of a path, and a
        // pattern made of what somebody typed would need escaping.
        let mut statement = self.conn.prepare_cached("SELECT id, path FROM sessions")?;
        let mut found = statement.query([])?;
        let (mut same, mut ending) = (Vec::new(), Vec::new());
        while let Some(row) = found.next()? {
            let (id, path) = (row.get_ref(0)?.as_str(), row.get_ref(1)?.as_str());
            let (Ok(id), Ok(path)) = (id, path) else {
                continue;
            };
            let name = names::stem(path);
            if name == text {
                same.push(id.to_owned());
            } else if name.ends_with(text) || id.ends_with(text) {
                ending.push(id.to_owned());
            }
        }
        let mut candidates = if same.is_empty() { ending } else { same };
        match candidates.len() {
            0 => Err(not_found()),
            1 => {
                let id = candidates.remove(0);
                let row = rows(&self.conn, "WHERE s.id = ?1", &[&id])?.pop();
                row.map(|row| row.info).ok_or_else(not_found)
            }
            _ => {
                candidates.truncate(10);
                Err(StoreError::Ambiguous {
                    name: text.to_owned(),
                    candidates,
                })
            }
        }
    }

    /// As [`resolve`](Self::resolve), where a number that is no more than the length
    /// of the list is a place in it, from 1.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn resolve_listed(
        &self,
        text: &str,
        list: &ListQuery<'_>,
    ) -> Result<SessionInfo, StoreError> {
        let text = text.trim();
        if text.bytes().all(|byte| byte.is_ascii_digit())
            && let Ok(place) = text.parse::<usize>()
            && let Some(before) = place.checked_sub(1)
        {
            let page = self.sessions(&ListQuery {
                offset: list.offset.saturating_add(before),
                limit: 1,
                ..list.clone()
            })?;
            if let Some(session) = page.sessions.into_iter().next() {
                return Ok(session);
            }
        }
        self.resolve(text)
    }
}

/// Inserts a session, and its user where that is needed.
pub(crate) fn create(
    conn: &Connection,
    id: SessionId,
    new: &NewSession<'_>,
    now_ms: i64,
) -> Result<i64, StoreError> {
    let user = new.user.clone().unwrap_or_default();
    if let Some(model) = new.model {
        check_bytes(What::Name, model, limits::NAME_BYTES)?;
    }
    users::ensure(conn, &user, new.user_display)?;
    insert(
        conn,
        &Draft {
            id,
            user: &user,
            kind: SessionKind::Chat,
            model: new.model,
            sanitized: new.sanitized,
            title: None,
            details: None,
            at_ms: now_ms,
        },
    )
}

fn is_empty(conn: &Connection, row: &SessionRow) -> Result<bool, StoreError> {
    let promised = row
        .source_meta
        .as_deref()
        .filter(|_| row.meta_state == 1)
        .and_then(|meta| serde_json::from_str::<serde_json::Value>(meta).ok())
        .and_then(|meta| meta.get("turns").and_then(serde_json::Value::as_u64))
        .unwrap_or(0);
    let holds: bool = conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM turns t WHERE t.session = ?1 AND (t.state IN (1, 3)
             OR t.source IS NOT NULL OR EXISTS (SELECT 1 FROM messages m WHERE m.turn = t.key)))",
        [row.key],
        |row| row.get(0),
    )?;
    Ok(promised == 0 && !holds)
}

fn last_system(conn: &Connection, session: i64) -> Result<Option<String>, StoreError> {
    let last = conn
        .prepare_cached(
            "SELECT p.text FROM turns t LEFT JOIN prompts p ON p.key = t.prompt
             WHERE t.session = ?1 AND t.state <> 3 ORDER BY t.number DESC LIMIT 1",
        )?
        .query_row([session], |row| row.get(0))
        .optional()?;
    Ok(last.flatten())
}

pub(crate) fn turns_of(conn: &Connection, key: i64) -> Result<Vec<TurnContent>, StoreError> {
    Ok(read_turns(conn, key, 0, None)?.1)
}

/// A session's turns without the first `offset` ones, `limit` of them at most, and
/// their keys.
fn read_turns(
    conn: &Connection,
    session: i64,
    offset: u64,
    limit: Option<u64>,
) -> Result<(Vec<i64>, Vec<TurnContent>), StoreError> {
    let (mut keys, mut turns): (Vec<i64>, Vec<TurnContent>) = (Vec::new(), Vec::new());
    // A negative limit is none.
    let limit = limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
    let mut statement = conn.prepare_cached(
        "SELECT t.key, t.state, t.at_ms, t.model, p.text,
                m.role, m.content, m.reasoning, m.model, m.at_ms, m.partial
         FROM (SELECT * FROM turns WHERE session = ?1 AND state <> 3
               ORDER BY number LIMIT ?3 OFFSET ?2) t
             LEFT JOIN prompts p ON p.key = t.prompt
             LEFT JOIN messages m ON m.turn = t.key
         ORDER BY t.number, m.key",
    )?;
    let skipped = i64::try_from(offset).unwrap_or(i64::MAX);
    let mut found = statement.query(params![session, skipped, limit])?;
    while let Some(row) = found.next()? {
        let turn: i64 = row.get(0)?;
        if keys.last() != Some(&turn) {
            keys.push(turn);
            turns.push(TurnContent {
                number: offset + keys.len() as u64,
                state: TurnState::from_code(row.get(1)?),
                at_ms: row.get(2)?,
                model: row.get(3)?,
                system: row.get(4)?,
                messages: Vec::new(),
            });
        }
        let role: Option<i64> = row.get(5)?;
        if let (Some(role), Some(turn)) = (role, turns.last_mut()) {
            turn.messages.push(Message {
                role: Role::from_code(role),
                content: row.get(6)?,
                reasoning: row.get(7)?,
                model: row.get(8)?,
                at_ms: row.get(9)?,
                partial: row.get(10)?,
            });
        }
    }
    Ok((keys, turns))
}
