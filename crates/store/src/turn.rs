//! Turns: what was asked is stored before the model answers, what it says while it
//! does, and the reply with its telemetry in one transaction at the end.

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::check_bytes;
use crate::session::{self, NewSession, Role, clean_title, create, row_of, row_of_key, touch};
use crate::telemetry::{self, TurnTelemetry};
use crate::{SessionId, SessionInfo, Store, StoreError, What, limits, search};

pub(crate) const FINISHED: i64 = 0;
pub(crate) const OPEN: i64 = 1;
pub(crate) const INTERRUPTED: i64 = 2;
/// A line of an imported file that is no turn.
pub(crate) const KEPT_LINE: i64 = 3;

/// Which session a turn goes to.
#[derive(Debug, Clone)]
pub enum Target<'a> {
    /// One that is there.
    Session(&'a SessionId),
    /// One that is made with the turn, and goes with it when it is abandoned.
    New(NewSession<'a>),
}

/// A message that a turn begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewMessage<'a> {
    /// Who speaks.
    pub role: Role,
    /// What was said.
    pub content: &'a str,
}

/// A turn to begin.
#[derive(Debug, Clone)]
pub struct NewTurn<'a> {
    /// Where it goes.
    pub target: Target<'a>,
    /// The system prompt in force.
    pub system: Option<&'a str>,
    /// What was said before the reply: as a rule one message of the user's.
    pub messages: &'a [NewMessage<'a>],
    /// The model, as the host calls it.
    pub model: &'a str,
    /// Whether personal data was replaced in what is stored.
    pub sanitized: bool,
    /// A key under which the host may send the same call again.
    pub idempotency_key: Option<&'a str>,
}

/// A turn that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnHandle {
    session: SessionId,
    turn: i64,
}

impl TurnHandle {
    /// The session it belongs to.
    pub fn session(&self) -> &SessionId {
        &self.session
    }
}

/// What [`Store::begin_turn`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// A turn was begun.
    Started(TurnHandle),
    /// The same call was answered before.
    Replay {
        /// The session that the answer is in.
        session: SessionId,
        /// The reply that was kept under the key.
        reply: String,
    },
    /// The same call is being answered.
    InFlight {
        /// The session that the answer will be in.
        session: SessionId,
    },
}

/// The end of a turn.
#[derive(Debug, Clone, Default)]
pub struct FinishedTurn<'a> {
    /// What was said.
    pub content: &'a str,
    /// What the model thought before it.
    pub reasoning: Option<&'a str>,
    /// The model that answered, where it is another than the turn's.
    pub model: Option<&'a str>,
    /// Whether the reply was cut short: cancelled, or failed half-way.
    pub partial: bool,
    /// A title made from the conversation; the user's own is not replaced by it.
    pub automatic_title: Option<&'a str>,
    /// What to give back when the same idempotency key comes again.
    pub reply: Option<&'a str>,
    /// How the turn went.
    pub telemetry: Option<TurnTelemetry>,
}

/// A turn's row.
pub(crate) struct TurnRow<'a> {
    pub(crate) session: i64,
    pub(crate) number: i64,
    pub(crate) state: i64,
    pub(crate) at_ms: i64,
    pub(crate) model: Option<&'a str>,
    pub(crate) sanitized: bool,
    pub(crate) system: Option<&'a str>,
    pub(crate) rest: Option<&'a str>,
    pub(crate) source: Option<&'a str>,
}

/// A message's row.
pub(crate) struct MessageRow<'a> {
    pub(crate) turn: i64,
    pub(crate) role: Role,
    pub(crate) content: &'a str,
    pub(crate) reasoning: Option<&'a str>,
    pub(crate) model: Option<&'a str>,
    pub(crate) at_ms: i64,
    pub(crate) partial: bool,
}

fn prompt_key(conn: &Connection, text: &str) -> Result<i64, StoreError> {
    let known = conn
        .prepare_cached("SELECT key FROM prompts WHERE text = ?1")?
        .query_row([text], |row| row.get(0))
        .optional()?;
    if let Some(key) = known {
        return Ok(key);
    }
    conn.prepare_cached("INSERT INTO prompts (text) VALUES (?1)")?
        .execute([text])?;
    Ok(conn.last_insert_rowid())
}

pub(crate) fn insert_turn(conn: &Connection, row: &TurnRow<'_>) -> Result<i64, StoreError> {
    let prompt = row.system.map(|text| prompt_key(conn, text)).transpose()?;
    conn.prepare_cached(
        "INSERT INTO turns (session, number, state, at_ms, model, sanitized, prompt, rest, source)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        row.session,
        row.number,
        row.state,
        row.at_ms,
        row.model,
        row.sanitized,
        prompt,
        row.rest,
        row.source,
    ])?;
    Ok(conn.last_insert_rowid())
}

/// Writes a message, and its words into the index unless more of it is to come.
pub(crate) fn insert_message(conn: &Connection, row: &MessageRow<'_>) -> Result<i64, StoreError> {
    conn.prepare_cached(
        "INSERT INTO messages (turn, role, content, reasoning, model, at_ms, partial)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        row.turn,
        row.role.code(),
        row.content,
        row.reasoning,
        row.model,
        row.at_ms,
        row.partial,
    ])?;
    let key = conn.last_insert_rowid();
    search::index_message(conn, key, row.content)?;
    Ok(key)
}

pub(crate) fn next_number(conn: &Connection, session: i64) -> Result<i64, StoreError> {
    Ok(conn
        .prepare_cached("SELECT coalesce(max(number), 0) + 1 FROM turns WHERE session = ?1")?
        .query_row([session], |row| row.get(0))?)
}

/// Takes a turn away, with what the index holds of it.
fn remove_turn(conn: &Connection, turn: i64) -> Result<(), StoreError> {
    conn.execute(
        "DELETE FROM message_index WHERE rowid IN (SELECT key FROM messages WHERE turn = ?1)",
        [turn],
    )?;
    conn.execute("DELETE FROM turns WHERE key = ?1", [turn])?;
    Ok(())
}

/// What stands under an idempotency key.
struct Keyed {
    session: String,
    turn: i64,
    state: i64,
    reply: Option<String>,
}

fn keyed(conn: &Connection, key: &str) -> Result<Option<Keyed>, StoreError> {
    Ok(conn
        .query_row(
            "SELECT s.id, t.key, t.state, i.reply FROM idempotency i
                 JOIN turns t ON t.key = i.turn JOIN sessions s ON s.key = t.session
             WHERE i.key = ?1",
            [key],
            |row| {
                Ok(Keyed {
                    session: row.get(0)?,
                    turn: row.get(1)?,
                    state: row.get(2)?,
                    reply: row.get(3)?,
                })
            },
        )
        .optional()?)
}

fn check_new(new: &NewTurn<'_>) -> Result<(), StoreError> {
    check_bytes(What::Name, new.model, limits::NAME_BYTES)?;
    for text in new
        .messages
        .iter()
        .map(|message| message.content)
        .chain(new.system)
    {
        check_bytes(What::Message, text, limits::MESSAGE_BYTES)?;
    }
    if let Some(key) = new.idempotency_key {
        check_bytes(What::Idempotency, key, limits::IDEMPOTENCY_KEY_BYTES)?;
    }
    Ok(())
}

fn check_finished(finished: &FinishedTurn<'_>) -> Result<(), StoreError> {
    check_bytes(What::Message, finished.content, limits::MESSAGE_BYTES)?;
    if let Some(reasoning) = finished.reasoning {
        check_bytes(What::Message, reasoning, limits::MESSAGE_BYTES)?;
    }
    if let Some(model) = finished.model {
        check_bytes(What::Name, model, limits::NAME_BYTES)?;
    }
    if let Some(reply) = finished.reply {
        check_bytes(What::Idempotency, reply, limits::IDEMPOTENT_REPLY_BYTES)?;
    }
    if let Some(telemetry) = &finished.telemetry {
        telemetry::check(telemetry)?;
    }
    Ok(())
}

fn begin(
    conn: &Connection,
    new: &NewTurn<'_>,
    new_id: SessionId,
    now_ms: i64,
) -> Result<Begun, StoreError> {
    if let Some(key) = new.idempotency_key
        && let Some(known) = keyed(conn, key)?
    {
        let session = SessionId::parse(&known.session)
            .ok_or_else(|| StoreError::not_found(What::Session, known.session))?;
        match (known.state, known.reply) {
            (FINISHED, Some(reply)) => return Ok(Begun::Replay { session, reply }),
            (OPEN, _) => return Ok(Begun::InFlight { session }),
            // It never came to an end that could be given back: this call is the
            // second attempt, and takes the place of the first.
            (INTERRUPTED, _) => {
                conn.execute("DELETE FROM idempotency WHERE key = ?1", [key])?;
                let owner = row_of(conn, &session)?.key;
                remove_turn(conn, known.turn)?;
                let others: bool = conn.query_row(
                    "SELECT EXISTS (SELECT 1 FROM turns WHERE session = ?1)",
                    [owner],
                    |row| row.get(0),
                )?;
                if !others && matches!(new.target, Target::New(_)) {
                    session::remove(conn, owner)?;
                } else {
                    touch(conn, owner, now_ms)?;
                }
            }
            // Finished, without a reply to give back: the key is spent.
            _ => {
                return Err(StoreError::invalid(
                    What::Idempotency,
                    "its turn was stored without a reply to give back",
                ));
            }
        }
    }
    let (session, key) = match &new.target {
        Target::Session(id) => ((*id).clone(), row_of(conn, id)?.key),
        Target::New(wanted) => (new_id.clone(), create(conn, new_id, wanted, now_ms)?),
    };
    let turn = insert_turn(
        conn,
        &TurnRow {
            session: key,
            number: next_number(conn, key)?,
            state: OPEN,
            at_ms: now_ms,
            model: Some(new.model),
            sanitized: new.sanitized,
            system: new.system,
            rest: None,
            source: None,
        },
    )?;
    for message in new.messages {
        insert_message(
            conn,
            &MessageRow {
                turn,
                role: message.role,
                content: message.content,
                reasoning: None,
                model: None,
                at_ms: now_ms,
                partial: false,
            },
        )?;
    }
    if let Some(key) = new.idempotency_key {
        conn.execute(
            "INSERT INTO idempotency (key, turn, at_ms) VALUES (?1, ?2, ?3)",
            params![key, turn, now_ms],
        )?;
    }
    Ok(Begun::Started(TurnHandle { session, turn }))
}

/// The session and the state of a turn that is still to be finished.
fn unfinished(conn: &Connection, handle: &TurnHandle) -> Result<i64, StoreError> {
    conn.prepare_cached(
        "SELECT t.session FROM turns t JOIN sessions s ON s.key = t.session
         WHERE t.key = ?1 AND t.state IN (1, 2) AND s.id = ?2",
    )?
    .query_row(params![handle.turn, handle.session.as_str()], |row| {
        row.get(0)
    })
    .optional()?
    .ok_or_else(|| StoreError::not_found(What::Turn, handle.session.as_str()))
}

/// The key of the reply that was begun, if one was.
fn partial_reply(conn: &Connection, turn: i64) -> Result<Option<i64>, StoreError> {
    Ok(conn
        .prepare_cached("SELECT key FROM messages WHERE turn = ?1 AND role = 2 AND partial = 1")?
        .query_row([turn], |row| row.get(0))
        .optional()?)
}

fn finish(
    conn: &Connection,
    handle: &TurnHandle,
    finished: &FinishedTurn<'_>,
    now_ms: i64,
) -> Result<SessionInfo, StoreError> {
    let session = unfinished(conn, handle)?;
    if let Some(begun) = partial_reply(conn, handle.turn)? {
        search::forget_message(conn, begun)?;
        conn.execute("DELETE FROM messages WHERE key = ?1", [begun])?;
    }
    insert_message(
        conn,
        &MessageRow {
            turn: handle.turn,
            role: Role::Assistant,
            content: finished.content,
            reasoning: finished.reasoning,
            model: finished.model,
            at_ms: now_ms,
            partial: finished.partial,
        },
    )?;
    conn.prepare_cached("UPDATE turns SET state = 0, at_ms = ?2 WHERE key = ?1")?
        .execute(params![handle.turn, now_ms])?;
    if let Some(telemetry) = &finished.telemetry {
        telemetry::insert(conn, handle.turn, now_ms, telemetry)?;
    }
    match finished.reply {
        Some(reply) => conn
            .prepare_cached("UPDATE idempotency SET reply = ?2 WHERE turn = ?1")?
            .execute(params![handle.turn, reply])?,
        // A key without a reply would only stand in the way of a second attempt.
        None => conn
            .prepare_cached("DELETE FROM idempotency WHERE turn = ?1")?
            .execute([handle.turn])?,
    };
    touch(conn, session, now_ms)?;
    conn.prepare_cached(
        "UPDATE sessions SET (model, sanitized) = (SELECT model, sanitized FROM turns WHERE key = ?2)
         WHERE key = ?1",
    )?
    .execute([session, handle.turn])?;
    let row = row_of_key(conn, session)?;
    if let Some(title) = clean_title(finished.automatic_title)? {
        session::set_automatic_title(conn, &row, Some(title), now_ms)?;
        return Ok(row_of_key(conn, session)?.info);
    }
    Ok(row.info)
}

impl Store {
    /// Stores what was asked. From here on the turn is [`Open`](crate::TurnState)
    /// until it is finished or abandoned; when the process ends before that, the
    /// next one finds it interrupted.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the session, [`StoreError::TooLarge`].
    pub fn begin_turn(&mut self, new: &NewTurn<'_>) -> Result<Begun, StoreError> {
        check_new(new)?;
        let (id, now_ms) = (SessionId::new(&*self.host), self.host.now_ms());
        let tx = self.write()?;
        let begun = begin(&tx, new, id, now_ms)?;
        tx.commit()?;
        Ok(begun)
    }

    /// Stores what the model has said so far, in place of what was stored of it
    /// before.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the turn is finished or gone,
    /// [`StoreError::TooLarge`].
    pub fn save_partial(
        &mut self,
        handle: &TurnHandle,
        content: &str,
        reasoning: Option<&str>,
    ) -> Result<(), StoreError> {
        for text in [Some(content), reasoning].into_iter().flatten() {
            check_bytes(What::Message, text, limits::MESSAGE_BYTES)?;
        }
        let now_ms = self.host.now_ms();
        let tx = self.write()?;
        unfinished(&tx, handle)?;
        if let Some(key) = partial_reply(&tx, handle.turn)? {
            tx.prepare_cached(
                "UPDATE messages SET content = ?2, reasoning = ?3, at_ms = ?4 WHERE key = ?1",
            )?
            .execute(params![key, content, reasoning, now_ms])?;
            search::forget_message(&tx, key)?;
            search::index_message(&tx, key, content)?;
        } else {
            insert_message(
                &tx,
                &MessageRow {
                    turn: handle.turn,
                    role: Role::Assistant,
                    content,
                    reasoning,
                    model: None,
                    at_ms: now_ms,
                    partial: true,
                },
            )?;
        }
        Ok(tx.commit()?)
    }

    /// Stores the reply, its telemetry, the automatic title and what to give back
    /// under the idempotency key, in one transaction.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the turn is finished or gone,
    /// [`StoreError::TooLarge`].
    pub fn finish_turn(
        &mut self,
        handle: &TurnHandle,
        finished: &FinishedTurn<'_>,
    ) -> Result<SessionInfo, StoreError> {
        check_finished(finished)?;
        let now_ms = self.host.now_ms();
        let tx = self.write()?;
        let info = finish(&tx, handle, finished, now_ms)?;
        tx.commit()?;
        Ok(info)
    }

    /// Takes a turn back that came to nothing, and its session when it was the
    /// first one there.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the turn is finished or gone.
    pub fn abandon_turn(&mut self, handle: &TurnHandle) -> Result<(), StoreError> {
        let tx = self.write()?;
        let session = unfinished(&tx, handle)?;
        remove_turn(&tx, handle.turn)?;
        let used: bool = tx.query_row(
            "SELECT EXISTS (SELECT 1 FROM turns WHERE session = ?1)
                 OR (SELECT meta_state < 2 OR title_kind = 2 FROM sessions WHERE key = ?1)",
            [session],
            |row| row.get(0),
        )?;
        if !used {
            session::remove(&tx, session)?;
        }
        Ok(tx.commit()?)
    }

    /// Ends a turn that can't be finished: it is interrupted from here on, with what
    /// was stored of its reply. A call with its idempotency key takes its place.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the turn is finished or gone.
    pub fn interrupt_turn(&mut self, handle: &TurnHandle) -> Result<(), StoreError> {
        let now_ms = self.host.now_ms();
        let tx = self.write()?;
        let session = unfinished(&tx, handle)?;
        tx.prepare_cached("UPDATE turns SET state = ?2 WHERE key = ?1")?
            .execute([handle.turn, INTERRUPTED])?;
        touch(&tx, session, now_ms)?;
        Ok(tx.commit()?)
    }

    /// The number of the session's unfinished turn that
    /// [`begin_turn`](Self::begin_turn) with this key would replace.
    ///
    /// # Errors
    /// What SQLite reports.
    pub fn interrupted_turn_of_key(
        &self,
        session: &SessionId,
        key: &str,
    ) -> Result<Option<u64>, StoreError> {
        // Counted as the turns that are read are: without the lines that are none.
        let number: Option<i64> = self
            .conn
            .prepare_cached(
                "SELECT (SELECT count(*) FROM turns b WHERE b.session = t.session
                     AND b.state <> 3 AND b.number <= t.number)
                 FROM idempotency i JOIN turns t ON t.key = i.turn
                     JOIN sessions s ON s.key = t.session
                 WHERE i.key = ?1 AND s.id = ?2 AND t.state = 2",
            )?
            .query_row([key, session.as_str()], |row| row.get(0))
            .optional()?;
        Ok(number.and_then(|number| u64::try_from(number).ok()))
    }

    /// A whole turn at once.
    ///
    /// # Errors
    /// As [`begin_turn`](Self::begin_turn) and [`finish_turn`](Self::finish_turn).
    pub fn record_turn(
        &mut self,
        new: &NewTurn<'_>,
        finished: &FinishedTurn<'_>,
    ) -> Result<Begun, StoreError> {
        check_new(new)?;
        check_finished(finished)?;
        let (id, now_ms) = (SessionId::new(&*self.host), self.host.now_ms());
        let tx = self.write()?;
        let begun = begin(&tx, new, id, now_ms)?;
        if let Begun::Started(handle) = &begun {
            finish(&tx, handle, finished, now_ms)?;
        }
        tx.commit()?;
        Ok(begun)
    }

    /// Forgets the idempotency keys of turns that were begun before a moment; tells
    /// how many. The turns stay.
    ///
    /// # Errors
    /// What SQLite reports.
    pub fn forget_idempotency_keys(&mut self, before_ms: i64) -> Result<usize, StoreError> {
        Ok(self
            .conn
            .execute("DELETE FROM idempotency WHERE at_ms < ?1", [before_ms])?)
    }

    /// Marks what a process that is gone left unfinished. A second process that is
    /// still at work on one of them finishes it all the same.
    pub(crate) fn mark_interrupted(&mut self) -> Result<(), StoreError> {
        let left: bool = self.conn.query_row(
            "SELECT EXISTS (SELECT 1 FROM turns WHERE state = 1)",
            [],
            |row| row.get(0),
        )?;
        if !left {
            return Ok(());
        }
        let tx = self.write()?;
        let sessions: Vec<(i64, i64)> = tx
            .prepare("SELECT session, max(at_ms) FROM turns WHERE state = 1 GROUP BY session")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        tx.execute("UPDATE turns SET state = 2 WHERE state = 1", [])?;
        for (session, at_ms) in sessions {
            let updated_ms: i64 = tx.query_row(
                "SELECT updated_ms FROM sessions WHERE key = ?1",
                [session],
                |row| row.get(0),
            )?;
            touch(&tx, session, updated_ms.max(at_ms))?;
        }
        Ok(tx.commit()?)
    }
}
