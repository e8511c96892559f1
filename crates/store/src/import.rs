//! A directory tree into the database.
//!
//! Every file is judged by itself: what is broken is reported and, where it is part
//! of a session, kept as it is. Nothing that is in the database is changed; a file
//! that differs from the session of its path becomes another session.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Map, Value};

use crate::export::{self, WHOLE_FILE};
use crate::record::{self, StoredTurn};
use crate::session::{self, Message, SessionRow, TitleKind};
use crate::timestamp::{Civil, is_moment};
use crate::{
    Host, SessionId, SessionKind, Store, StoreError, TreeFile, UserId, limits, lines, names,
    parse_timestamp, safe_path, search, users,
};

/// What an import may need to know.
pub struct ImportOptions<'a> {
    /// Makes a title from a session's messages, for sessions that bring none.
    pub title_of: &'a dyn Fn(&[Message]) -> Option<String>,
}

impl std::fmt::Debug for ImportOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ImportOptions")
    }
}

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// Its path leads out of the tree, or is none. It was left out.
    Path,
    /// It is nothing that belongs into such a tree. It was left out.
    Unknown,
    /// It is over a cap. It was left out, or the line was.
    TooLarge,
    /// It is no UTF-8. It is kept as it is, unread.
    Encoding,
    /// It, or a line of it, is no JSON, or not the JSON that belongs there. It is
    /// kept as it is, unread.
    Syntax,
    /// It describes a session, or a user, in a way that is not usable; the rest of
    /// it was taken.
    Description,
    /// A session of that path is there already, with other contents. Both are kept.
    Differs,
}

/// One file's problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was called.
    pub path: String,
    /// What is wrong.
    pub kind: ProblemKind,
    /// More about it, for a person.
    pub detail: String,
}

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// The sessions that came in.
    pub sessions: Vec<SessionId>,
    /// How many turns they have.
    pub turns: u64,
    /// How many sessions were there already, the same.
    pub unchanged: u64,
    /// How many users' descriptions were read.
    pub users: u64,
    /// How many files are kept for the way back, unread.
    pub kept_files: u64,
    /// What is wrong, by file.
    pub problems: Vec<Problem>,
}

impl ImportReport {
    fn problem(&mut self, path: &str, kind: ProblemKind, detail: impl Into<String>) {
        self.problems.push(Problem {
            // A hostile path may be as long as it likes.
            path: path.chars().take(limits::TREE_PATH_BYTES).collect(),
            kind,
            detail: detail.into(),
        });
    }
}

/// What a path stands for.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Session(UserId, SessionKind),
    Description,
    User(UserId),
    /// Belongs to a tree, but is made from the rest of it.
    Kept,
    Unknown,
    BadUser,
}

fn classify(path: &str) -> Kind {
    let parts: Vec<&str> = path.split('/').collect();
    let (user, parts) = match parts.as_slice() {
        ["users", user, rest @ ..] if !rest.is_empty() => match UserId::parse(user) {
            Ok(user) => (user, rest),
            Err(_) => return Kind::BadUser,
        },
        parts => (UserId::default(), parts),
    };
    match parts {
        ["user.json"] if path.starts_with("users/") => Kind::User(user),
        ["telemetry", .., _] => Kind::Kept,
        [root @ ("sessions" | "early-archives"), rest @ ..] if !rest.is_empty() => {
            let name = rest[rest.len() - 1];
            let merged = rest[..rest.len() - 1]
                .iter()
                .any(|part| part.starts_with("merged-"));
            if name.ends_with(".meta.json") {
                Kind::Description
            } else if name == "day.json" {
                Kind::Kept
            } else if name.ends_with(".jsonl") || name.ends_with(".json") {
                let kind = match (*root, merged) {
                    ("early-archives", _) => SessionKind::Archive,
                    (_, true) => SessionKind::Merged,
                    _ => SessionKind::Chat,
                };
                Kind::Session(user, kind)
            } else {
                Kind::Unknown
            }
        }
        _ => Kind::Unknown,
    }
}

/// Whether a path begins as those of a tree do.
fn is_rooted(path: &str) -> bool {
    ["sessions/", "users/", "early-archives/", "telemetry/"]
        .iter()
        .any(|root| path.starts_with(root))
}

/// A description, as far as it is usable.
#[derive(Default)]
struct Description {
    text: Option<String>,
    fields: Option<Value>,
}

impl Description {
    fn get(&self, key: &str) -> Option<&Value> {
        self.fields.as_ref()?.get(key)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    fn own_moment(&self, key: &str) -> Option<i64> {
        let own = self.get("nox")?.get(format!("{key}_ms"))?;
        own.as_i64()
    }

    fn moment(&self, key: &str) -> Option<i64> {
        self.own_moment(key)
            .filter(|at_ms| is_moment(*at_ms))
            .or_else(|| self.text(key).and_then(parse_timestamp))
    }
}

/// A session's file that is still to be read.
struct Pending {
    path: String,
    user: UserId,
    kind: SessionKind,
    file: TreeFile,
    description: Description,
    updated_ms: i64,
}

impl Store {
    /// Takes a tree in. The order of the files does not matter.
    ///
    /// # Errors
    /// What SQLite reports, [`StoreError::Full`] among it; then nothing of the tree
    /// was taken. What is wrong with a file is in the report instead.
    pub fn import(
        &mut self,
        files: Vec<TreeFile>,
        options: &ImportOptions<'_>,
    ) -> Result<ImportReport, StoreError> {
        let mut report = ImportReport::default();
        let now_ms = self.host.now_ms();
        let files = usable(files, &mut report);
        let conn = self
            .conn
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let mut descriptions = BTreeMap::new();
        let mut sessions = Vec::new();
        for (path, file) in files {
            match classify(&path) {
                Kind::Description => {
                    descriptions.insert(path, file);
                }
                Kind::Session(user, kind) => sessions.push((path, user, kind, file)),
                Kind::User(user) => import_user(&conn, &path, &user, &file, &mut report)?,
                Kind::Kept => keep(&conn, &path, &file.bytes, &mut report)?,
                Kind::Unknown => report.problem(
                    &file.path,
                    ProblemKind::Unknown,
                    "not a file of a session tree",
                ),
                Kind::BadUser => report.problem(
                    &file.path,
                    ProblemKind::Path,
                    "the user's folder is not usable as an id",
                ),
            }
        }
        let mut pending: Vec<Pending> = Vec::with_capacity(sessions.len());
        for (path, user, kind, file) in sessions {
            let description = [names::full_meta_path(&path), names::meta_path(&path)]
                .into_iter()
                .find_map(|place| descriptions.remove_entry(&place));
            let description = match description {
                Some((place, described)) => describe(&conn, &place, &described, &mut report)?,
                None => Description::default(),
            };
            let updated_ms = description
                .moment("updated")
                .or(file.modified_ms.filter(|at_ms| is_moment(*at_ms)))
                .or_else(|| moment_in_name(&path))
                .unwrap_or(now_ms);
            pending.push(Pending {
                path,
                user,
                kind,
                file,
                description,
                updated_ms,
            });
        }
        // Descriptions without a session go back as they came.
        for (path, file) in descriptions {
            keep(&conn, &path, &file.bytes, &mut report)?;
        }
        // Rows get their keys by age, so that the newest are found first.
        pending.sort_by(|a, b| (a.updated_ms, &a.path).cmp(&(b.updated_ms, &b.path)));
        let mut left = Left {
            records: limits::TREE_RECORDS,
            messages: limits::TREE_MESSAGES,
        };
        for session in pending {
            import_session(&conn, &*self.host, session, options, &mut left, &mut report)?;
        }
        conn.commit()?;
        Ok(report)
    }
}

/// The files whose paths and sizes are usable, by path.
fn usable(files: Vec<TreeFile>, report: &mut ImportReport) -> BTreeMap<String, TreeFile> {
    let mut usable: Vec<(String, TreeFile)> = Vec::new();
    let mut total_bytes = 0_u64;
    for file in files {
        let Some(path) = safe_path(&file.path) else {
            report.problem(
                &file.path,
                ProblemKind::Path,
                "the path leads out of the tree",
            );
            continue;
        };
        total_bytes = total_bytes.saturating_add(file.bytes.len() as u64);
        if file.bytes.len() > limits::TREE_FILE_BYTES
            || total_bytes > limits::TREE_BYTES
            || usable.len() >= limits::TREE_FILES
        {
            report.problem(
                &file.path,
                ProblemKind::TooLarge,
                "over the size of an import",
            );
            continue;
        }
        usable.push((path, file));
    }
    // People archive the folder rather than what is in it.
    let folder = usable
        .first()
        .and_then(|(path, _)| path.split_once('/'))
        .map(|(folder, _)| format!("{folder}/"));
    if let Some(folder) = folder
        && !usable.iter().any(|(path, _)| is_rooted(path))
        && usable.iter().all(|(path, _)| path.starts_with(&folder))
    {
        for (path, _) in &mut usable {
            path.drain(..folder.len());
        }
    }
    let mut by_path = BTreeMap::new();
    for (path, file) in usable {
        match by_path.entry(path) {
            Entry::Occupied(_) => {
                report.problem(&file.path, ProblemKind::Path, "the path comes twice");
            }
            Entry::Vacant(free) => {
                free.insert(file);
            }
        }
    }
    by_path
}

/// Puts a file aside for the way back, unless another is there under its path.
fn keep(
    conn: &Connection,
    path: &str,
    bytes: &[u8],
    report: &mut ImportReport,
) -> Result<(), StoreError> {
    let n = conn.execute(
        "INSERT INTO kept_files (path, bytes) VALUES (?1, ?2) ON CONFLICT (path) DO NOTHING",
        params![path, bytes],
    )?;
    report.kept_files += n as u64;
    if n == 0 {
        let same: bool = conn.query_row(
            "SELECT bytes = ?2 FROM kept_files WHERE path = ?1",
            params![path, bytes],
            |row| row.get(0),
        )?;
        if !same {
            report.problem(
                path,
                ProblemKind::Differs,
                "another file is kept under that path",
            );
        }
    }
    Ok(())
}

/// Takes a kept file away that something else stands for from now on.
fn forget_kept(conn: &Connection, path: &str) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM kept_files WHERE path = ?1")?
        .execute([path])?;
    Ok(())
}

/// Keeps a session that cannot be read, and its description with it. Where a session
/// has its path it gets the next one that none has.
fn keep_session(
    conn: &Connection,
    pending: &Pending,
    report: &mut ImportReport,
) -> Result<(), StoreError> {
    let bytes = &pending.file.bytes;
    let mut taken = conn.prepare_cached(
        "SELECT 1 FROM sessions WHERE path = ?1
         UNION ALL SELECT 1 FROM kept_files WHERE path = ?1 AND bytes <> ?2",
    )?;
    let (mut path, mut n) = (pending.path.clone(), 1);
    while taken.exists(params![path, bytes])? {
        n += 1;
        path = numbered(&pending.path, n);
    }
    keep(conn, &path, bytes, report)?;
    if let Some(text) = &pending.description.text {
        keep(conn, &names::meta_path(&path), text.as_bytes(), report)?;
    }
    Ok(())
}

fn text_of(file: &TreeFile) -> Option<&str> {
    let text = std::str::from_utf8(&file.bytes).ok()?;
    Some(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn import_user(
    conn: &Connection,
    path: &str,
    user: &UserId,
    file: &TreeFile,
    report: &mut ImportReport,
) -> Result<(), StoreError> {
    let text = text_of(file).unwrap_or_default();
    let fields: Option<Value> = serde_json::from_str(text).ok();
    let Some(fields) = fields.filter(Value::is_object) else {
        report.problem(&file.path, ProblemKind::Syntax, "no description of a user");
        return keep(conn, path, &file.bytes, report);
    };
    let display = fields
        .get("display_name")
        .and_then(Value::as_str)
        .filter(|display| display.len() <= limits::DISPLAY_BYTES);
    if display.is_none() {
        report.problem(path, ProblemKind::Description, "no usable display_name");
    }
    let known: Option<Option<String>> = conn
        .query_row(
            "SELECT source FROM users WHERE id = ?1",
            [user.as_str()],
            |row| row.get(0),
        )
        .optional()?;
    match known {
        // Known only from a folder, or not at all.
        None | Some(Some(_)) => {
            users::ensure(conn, user, display)?;
            conn.execute(
                "UPDATE users SET source = ?2 WHERE id = ?1",
                params![user.as_str(), text],
            )?;
            forget_kept(conn, path)?;
        }
        // Named here: that name stays.
        Some(None) => {}
    }
    report.users += 1;
    Ok(())
}

fn describe(
    conn: &Connection,
    place: &str,
    file: &TreeFile,
    report: &mut ImportReport,
) -> Result<Description, StoreError> {
    let Some(text) = text_of(file) else {
        report.problem(
            &file.path,
            ProblemKind::Encoding,
            "the description is no UTF-8",
        );
        keep(conn, place, &file.bytes, report)?;
        return Ok(Description::default());
    };
    let fields: Option<Value> = serde_json::from_str(text).ok();
    let fields = fields.filter(Value::is_object);
    if fields.is_none() {
        report.problem(
            &file.path,
            ProblemKind::Description,
            "the description is no object",
        );
    }
    let description = Description {
        text: Some(text.to_owned()),
        fields,
    };
    let unusable = |key: &&str| {
        let own = description.own_moment(key);
        own.is_some_and(|at_ms| !is_moment(at_ms))
    };
    if ["created", "updated"].iter().any(unusable) {
        report.problem(
            &file.path,
            ProblemKind::Description,
            "a moment is out of all calendars; it was left out",
        );
    }
    Ok(description)
}

/// The moment that a file's name gives.
fn moment_in_name(path: &str) -> Option<i64> {
    let stem = names::stem(path);
    let at = stem.find(|c: char| c.is_ascii_digit())?;
    let (date, time) = stem.get(at..at + 15)?.split_once('-')?;
    let number = |text: &str, from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    Civil {
        year: number(date, 0, 4)?,
        month: number(date, 4, 6)?,
        day: number(date, 6, 8)?,
        hour: number(time, 0, 2)?,
        minute: number(time, 2, 4)?,
        second: number(time, 4, 6)?,
    }
    .to_ms()
}

/// What an import may still take.
struct Left {
    records: usize,
    messages: usize,
}

/// How a session's file is taken in.
enum Form {
    /// Record by record, and lines that are none.
    Records,
    /// As one text: there is no record in it, or it is no list.
    Whole,
}

/// Looks through a session's file before anything of it is written; counts against
/// what is left of the import. `None` for a file that holds more.
fn form_of(path: &str, text: &str, left: &mut Left) -> Option<Form> {
    let (mut n_records, mut n_messages) = (0, 0);
    let (mut any_read, mut any_broken) = (false, false);
    for record in lines::records(path, text) {
        let messages = record.as_ref().ok().and_then(record::messages_of);
        n_records += 1;
        n_messages += messages.map_or(0, Vec::len);
        if n_records > left.records || n_messages > left.messages {
            return None;
        }
        any_read |= messages.is_some();
        any_broken |= record.is_err();
    }
    left.records -= n_records;
    left.messages -= n_messages;
    // A list that is broken somewhere is none.
    let whole = (n_records > 0 && !any_read) || (any_broken && path.ends_with(".json"));
    Some(if whole { Form::Whole } else { Form::Records })
}

fn import_session(
    conn: &Connection,
    host: &dyn Host,
    mut pending: Pending,
    options: &ImportOptions<'_>,
    left: &mut Left,
    report: &mut ImportReport,
) -> Result<(), StoreError> {
    let Some(text) = text_of(&pending.file) else {
        report.problem(
            &pending.file.path,
            ProblemKind::Encoding,
            "the session is no UTF-8",
        );
        return keep_session(conn, &pending, report);
    };
    let Some(form) = form_of(&pending.path, text, left) else {
        report.problem(
            &pending.file.path,
            ProblemKind::TooLarge,
            "more records or messages than an import takes",
        );
        return Ok(());
    };
    let known = session::rows(conn, "WHERE s.path = ?1", &[&pending.path])?.pop();
    if let Some(known) = known {
        if same_session(conn, &known, &pending, text)? {
            report.unchanged += 1;
            return Ok(());
        }
        report.problem(
            &pending.file.path,
            ProblemKind::Differs,
            "another session has that path; this one got a new path",
        );
        pending.path = free_path(conn, &pending.path)?;
    }
    let row = insert_row(conn, host, &pending, report)?;
    forget_kept(conn, &pending.path)?;
    if pending.description.text.is_some() {
        forget_kept(conn, &names::meta_path(&pending.path))?;
    }
    let taken = match form {
        Form::Records => import_records(conn, &row, &pending, text, report)?,
        Form::Whole => {
            report.problem(
                &pending.file.path,
                ProblemKind::Syntax,
                "no record can be read; the file is kept",
            );
            let mut whole = StoredTurn::kept(text, row.info.created_ms);
            whole.rest = Some(WHOLE_FILE.to_owned());
            whole.insert(conn, row.key, 1)?;
            Taken::default()
        }
    };
    finish_row(conn, &row, &pending, &taken, options)?;
    report.turns += taken.n_turns;
    report.sessions.push(row.info.id);
    Ok(())
}

/// What came of a session's records.
#[derive(Default)]
struct Taken {
    n_turns: u64,
    /// Their messages, where the session is to be named after them.
    messages: Vec<Message>,
}

/// Writes a session's records, and the lines that are none, as its turns.
fn import_records(
    conn: &Connection,
    row: &SessionRow,
    pending: &Pending,
    text: &str,
    report: &mut ImportReport,
) -> Result<Taken, StoreError> {
    let created_ms = row.info.created_ms;
    let (mut number, mut unread) = (0_i64, 0_u64);
    let mut taken = Taken::default();
    for line in lines::records(&pending.path, text) {
        number += 1;
        let parsed = match &line {
            Ok(record) => record::parse(&row.info, taken.n_turns + 1, record, created_ms),
            Err(_) => Ok(None),
        };
        let turn = match (parsed, &line) {
            (Ok(Some(turn)), _) => {
                taken.n_turns += 1;
                turn
            }
            (Ok(None), Ok(record)) => {
                unread += 1;
                StoredTurn::kept(&record.to_string(), created_ms)
            }
            (Ok(None), Err(line)) => {
                unread += 1;
                StoredTurn::kept(line, created_ms)
            }
            (Err(error @ StoreError::TooLarge { .. }), _) => {
                report.problem(&pending.file.path, ProblemKind::TooLarge, error.to_string());
                continue;
            }
            (Err(error), _) => return Err(error),
        };
        turn.insert(conn, row.key, number)?;
        if pending.description.fields.is_none() {
            taken.messages.extend(turn.messages);
        }
    }
    if unread > 0 {
        report.problem(
            &pending.file.path,
            ProblemKind::Syntax,
            format!("{unread} lines are no records; they are kept"),
        );
    }
    Ok(taken)
}

/// Whether the database would export this very session.
fn same_session(
    conn: &Connection,
    known: &SessionRow,
    pending: &Pending,
    text: &str,
) -> Result<bool, StoreError> {
    let ours = export::session_text(conn, known)?;
    let path = &pending.path;
    let same_records = lines::records(path, text).eq(lines::records(path, &ours));
    let described = match (&pending.description.fields, known.meta_state) {
        (None, _) => true,
        (Some(theirs), 1) => known
            .source_meta
            .as_deref()
            .and_then(|ours| serde_json::from_str::<Value>(ours).ok())
            .is_some_and(|ours| ours == *theirs),
        (Some(theirs), _) => Value::Object(export::description(known)) == *theirs,
    };
    Ok(same_records && described)
}

/// The `n`th path that is made of one.
fn numbered(path: &str, n: u32) -> String {
    let (base, extension) = path.rsplit_once('.').unwrap_or((path, "jsonl"));
    format!("{base}-{n}.{extension}")
}

fn free_path(conn: &Connection, path: &str) -> Result<String, StoreError> {
    let mut n = 2_u32;
    loop {
        let candidate = numbered(path, n);
        if names::is_free(conn, &candidate)? {
            return Ok(candidate);
        }
        n += 1;
    }
}

/// The id that the description gives, if it is one and free; else a new one.
fn free_id(
    conn: &Connection,
    host: &dyn Host,
    wanted: Option<&str>,
) -> Result<SessionId, StoreError> {
    if let Some(id) = wanted.and_then(SessionId::parse) {
        let taken: bool = conn
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM sessions WHERE id = ?1)")?
            .query_row([id.as_str()], |row| row.get(0))?;
        if !taken {
            return Ok(id);
        }
    }
    Ok(SessionId::new(host))
}

fn insert_row(
    conn: &Connection,
    host: &dyn Host,
    pending: &Pending,
    report: &mut ImportReport,
) -> Result<SessionRow, StoreError> {
    let description = &pending.description;
    let known = conn
        .prepare_cached("SELECT 1 FROM users WHERE id = ?1")?
        .exists([pending.user.as_str()])?;
    if !known {
        users::ensure(conn, &pending.user, None)?;
        conn.execute(
            "UPDATE users SET source = '' WHERE id = ?1",
            [pending.user.as_str()],
        )?;
    }
    let own = |key: &str| description.get("nox").and_then(|nox| nox.get(key));
    let id = free_id(conn, host, own("id").and_then(Value::as_str))?;
    let archived = own("archived").and_then(Value::as_bool) == Some(true);
    let title = description
        .text("title")
        .map(str::trim)
        .filter(|title| !title.is_empty());
    if title.is_some_and(|title| title.len() > limits::TITLE_BYTES) {
        report.problem(
            &names::meta_path(&pending.file.path),
            ProblemKind::Description,
            "the title is too long; it was left out",
        );
    }
    let title = title.filter(|title| title.len() <= limits::TITLE_BYTES);
    let custom = description.get("custom").and_then(Value::as_bool) == Some(true);
    let title_kind = match (title, custom) {
        (_, true) => TitleKind::Custom,
        (Some(_), false) => TitleKind::Automatic,
        (None, false) => TitleKind::None,
    };
    let created_ms = description
        .moment("created")
        .or_else(|| moment_in_name(&pending.path))
        .unwrap_or(pending.updated_ms);
    let model = description
        .text("model")
        .filter(|model| model.len() <= limits::NAME_BYTES);
    let details: Map<String, Value> = ["sources", "archive"]
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), description.get(key)?.clone())))
        .collect();
    conn.prepare_cached(
        "INSERT INTO sessions (id, user, kind, path, model, sanitized, title, title_kind,
             created_ms, updated_ms, details, source_meta, meta_state, archived)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?
    .execute(params![
        id.as_str(),
        pending.user.as_str(),
        pending.kind.code(),
        pending.path,
        model,
        description.get("sanitized").and_then(Value::as_bool),
        title,
        title_kind.code(),
        created_ms,
        pending.updated_ms,
        (!details.is_empty()).then(|| Value::Object(details).to_string()),
        description.text,
        i64::from(description.text.is_some()),
        archived,
    ])?;
    let key = conn.last_insert_rowid();
    search::index_title(conn, key, title)?;
    session::row_of_key(conn, key)
}

/// Notes what only the records tell.
fn finish_row(
    conn: &Connection,
    row: &SessionRow,
    pending: &Pending,
    taken: &Taken,
    options: &ImportOptions<'_>,
) -> Result<(), StoreError> {
    // What the description promises is part of it, and no count of what came.
    let turns = i64::try_from(taken.n_turns).unwrap_or(i64::MAX);
    conn.prepare_cached("UPDATE sessions SET turns = ?2 WHERE key = ?1")?
        .execute(params![row.key, turns])?;
    if let Some(fields) = &pending.description.fields {
        // What would be written here anyway need not be kept.
        let mut own = session::row_of_key(conn, row.key)?;
        (own.source_meta, own.meta_state) = (None, 2);
        if Value::Object(export::description(&own)) == *fields {
            conn.prepare_cached(
                "UPDATE sessions SET source_meta = NULL, meta_state = 2 WHERE key = ?1",
            )?
            .execute([row.key])?;
        }
    }
    // Only a session without a description is given a title: one whose description
    // names none had none.
    if pending.description.fields.is_none()
        && let Some(title) = (options.title_of)(&taken.messages)
        // One that is too long for a title is none.
        && let Ok(Some(title)) = session::clean_title(Some(&title))
    {
        conn.prepare_cached("UPDATE sessions SET title = ?2, title_kind = ?3 WHERE key = ?1")?
            .execute(params![row.key, title, TitleKind::Derived.code()])?;
        search::index_title(conn, row.key, Some(title))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_what_a_file_is() {
        let default = UserId::default;
        for (path, expected) in [
            (
                "sessions/2025-01-02/session-x.jsonl",
                Kind::Session(default(), SessionKind::Chat),
            ),
            (
                "sessions/session-x.json",
                Kind::Session(default(), SessionKind::Chat),
            ),
            (
                "sessions/merged-2025-01-02/a.jsonl",
                Kind::Session(default(), SessionKind::Merged),
            ),
            (
                "early-archives/merged-2025-01-02/a.json",
                Kind::Session(default(), SessionKind::Archive),
            ),
            ("sessions/2025-01-02/session-x.meta.json", Kind::Description),
            ("sessions/2025-01-02/day.json", Kind::Kept),
            ("telemetry/metrics.json", Kind::Kept),
            ("users/.hidden/user.json", Kind::BadUser),
            ("sessions/2025-01-02/notes.txt", Kind::Unknown),
            ("user.json", Kind::Unknown),
            ("sessions", Kind::Unknown),
        ] {
            assert_eq!(classify(path), expected, "{path}");
        }
        assert!(matches!(classify("users/a/user.json"), Kind::User(user) if user.as_str() == "a"));
        assert!(matches!(
            classify("users/a/sessions/2025-01-02/s.jsonl"),
            Kind::Session(user, SessionKind::Chat) if user.as_str() == "a"
        ));
    }
}
