//! A turn that is kept: begun in the database before the model is asked, saved while
//! it speaks, and finished before its result is sent.

use std::rc::Rc;

use nox_core::{CancelToken, PreparedTurn, ReplyPiece, TurnOutcome};
use nox_protocol::{FinishReason, HandleChatResult, SessionMeta};
use nox_store::{
    Begun, FinishedTurn, NewMessage, NewTurn, Role, SessionId, SessionInfo, Store, StoreError,
    Target, TitleKind, TurnHandle, TurnTelemetry,
};
use serde_json::{Value, json};

use crate::chat_replies::RequestKey;
use crate::chats::{Chats, Writing};
use crate::error::RuntimeError;
use crate::warm::Warm;

/// What was said is not saved more often, however fast it comes.
const SAVE_INTERVAL_MS: f64 = 1000.0;

/// What beginning a turn came to.
pub(crate) enum Beginning {
    Started(KeptTurn),
    /// The same call was answered before.
    Answered(Box<HandleChatResult>),
}

/// A turn in the database that is not finished. Dropped, it is ended with what was
/// said, or interrupted with what was stored of that; one without a word is taken
/// back.
pub(crate) struct KeptTurn {
    chats: Rc<Chats>,
    /// `None` when it has been ended.
    handle: Option<TurnHandle>,
    /// Keeps the database from being handed over meanwhile.
    _writing: Writing,
    key: Option<RequestKey>,
    alias: String,
    automatic_title: Option<String>,
    said: ReplyPiece,
    saved_ms: f64,
}

impl KeptTurn {
    /// Stores what was asked, unless it was answered before.
    pub(crate) fn begin(
        chats: &Rc<Chats>,
        target: Target<'_>,
        prepared: &PreparedTurn,
        key: Option<&RequestKey>,
        cancel: &CancelToken,
        now_ms: f64,
    ) -> Result<Beginning, RuntimeError> {
        let writing = chats.begin_writing(cancel);
        let request = prepared.request();
        let begun = chats.with(|store| {
            store.begin_turn(&NewTurn {
                target,
                system: prepared.system_prompt(),
                messages: &[NewMessage {
                    role: Role::User,
                    content: prepared.user_text(),
                }],
                model: &request.model,
                sanitized: request.sanitize,
                idempotency_key: key.map(|key| key.key.as_str()),
            })
        })?;
        match begun {
            Begun::Started(handle) => Ok(Beginning::Started(Self {
                chats: Rc::clone(chats),
                handle: Some(handle),
                _writing: writing,
                key: key.cloned(),
                alias: request.model.clone(),
                automatic_title: prepared.automatic_title(),
                said: ReplyPiece::default(),
                saved_ms: now_ms,
            })),
            Begun::Replay { reply, .. } => {
                let result = read_reply(&reply, key)?;
                Ok(Beginning::Answered(Box::new(result)))
            }
            // This process waits for its own calls: it is one that could not be ended.
            Begun::InFlight { .. } => Err(StoreError::Busy.into()),
        }
    }

    /// The chat that the turn belongs to, while it goes on.
    pub(crate) fn chat(&self) -> Option<&SessionId> {
        self.handle.as_ref().map(TurnHandle::session)
    }

    /// Takes in more of the reply, and saves it now and then. A save that fails costs
    /// nothing that finishing doesn't bring back.
    pub(crate) fn take_in(&mut self, piece: &ReplyPiece, now_ms: f64) {
        self.said.text.push_str(&piece.text);
        self.said.reasoning.push_str(&piece.reasoning);
        let Some(handle) = &self.handle else {
            return;
        };
        if now_ms - self.saved_ms < SAVE_INTERVAL_MS {
            return;
        }
        self.saved_ms = now_ms;
        let said = &self.said;
        let reasoning = Some(said.reasoning.as_str()).filter(|text| !text.is_empty());
        let _ = self
            .chats
            .with(|store| store.save_partial(handle, &said.text, reasoning));
    }

    /// Stores the turn with what is known of it, and completes the result by where
    /// it stands. A cancelled turn in which nothing was said is taken back. Where there
    /// is no room for it, what is kept for warm starts goes first.
    ///
    /// # Cancel safety
    /// Dropped, it ends the turn as dropping the turn does.
    pub(crate) async fn finish(
        mut self,
        outcome: TurnOutcome,
        warm: &Warm,
    ) -> Result<HandleChatResult, RuntimeError> {
        let mut result = outcome.result;
        let Some(handle) = self.handle.clone() else {
            return Ok(result);
        };
        let is_cut = matches!(
            result.meta.finish_reason,
            FinishReason::Cancelled | FinishReason::Error
        );
        let ending = Ending {
            key: self.key.as_ref().filter(|_| !is_cut),
            alias: &self.alias,
            title: outcome.title.as_deref(),
            automatic_title: self.automatic_title.as_deref(),
            is_cut,
        };
        let is_kept = !is_cut || has_text(&result);
        let mut end = || {
            self.chats.with(|store| {
                if is_kept {
                    ending.store(store, &handle, &mut result)
                } else {
                    store.abandon_turn(&handle)
                }
            })
        };
        let mut ended = end();
        if is_full(&ended) && warm.clear().await {
            ended = end();
        }
        match ended {
            Ok(()) if is_kept => {}
            // Somebody may have deleted the chat meanwhile.
            Ok(()) | Err(RuntimeError::Store(StoreError::NotFound { .. })) => {
                result.meta.session = None;
                result.meta.session_log = None;
                result.meta.target.logging_enabled = false;
            }
            // Dropping tries to end it with less.
            Err(error) => return Err(error),
        }
        self.handle = None;
        Ok(result)
    }

    /// Ends a turn that failed: what was said stays, a turn without a word goes.
    pub(crate) async fn fail(
        self,
        partial: Option<Box<TurnOutcome>>,
        warm: &Warm,
    ) -> Result<(), RuntimeError> {
        match partial {
            Some(outcome) => self.finish(*outcome, warm).await.map(drop),
            // Dropping does the rest.
            None => Ok(()),
        }
    }
}

impl Drop for KeptTurn {
    fn drop(&mut self) {
        let Some(handle) = self.handle.take() else {
            return;
        };
        let said = &self.said;
        let reasoning = Some(said.reasoning.as_str()).filter(|text| !text.is_empty());
        let finished = FinishedTurn {
            content: &said.text,
            reasoning,
            partial: true,
            ..FinishedTurn::default()
        };
        let ended = self.chats.with(|store| {
            if said.is_empty() {
                return store.abandon_turn(&handle);
            }
            store.finish_turn(&handle, &finished).map(drop)
        });
        if ended.is_err() {
            self.chats.interrupt(handle);
        }
    }
}

/// How a turn ends, beside its result.
struct Ending<'a> {
    key: Option<&'a RequestKey>,
    alias: &'a str,
    /// The title that the model gave.
    title: Option<&'a str>,
    /// One for a chat that has none.
    automatic_title: Option<&'a str>,
    is_cut: bool,
}

impl Ending<'_> {
    /// The result that is kept for a repeated key names the chat, so what the chat
    /// will be is worked out before it is stored.
    fn store(
        &self,
        store: &mut Store,
        handle: &TurnHandle,
        result: &mut HandleChatResult,
    ) -> Result<(), StoreError> {
        // Calls on one chat come one after the other, so its last turn is this one.
        let page = store.turns_before(handle.session(), None, 1)?;
        let number = page.turns.last().map_or(0, |(turn, _)| turn.number);
        let before = page.session;
        let new_title = self
            .title
            .or(self.automatic_title.filter(|_| before.title.is_none()))
            .filter(|_| before.title_kind != TitleKind::Custom);
        complete(result, &before, number, new_title);
        let reply = self.key.map(|key| written_reply(key, result));
        let message = &result.message;
        let model = &result.meta.route.model;
        let after = store.finish_turn(
            handle,
            &FinishedTurn {
                content: &message.content,
                reasoning: message.reasoning.as_deref(),
                model: Some(model.as_str()).filter(|model| *model != self.alias),
                partial: self.is_cut,
                automatic_title: new_title,
                reply: reply.as_deref(),
                telemetry: Some(telemetry(result)),
            },
        )?;
        debug_assert_eq!(
            result
                .meta
                .session
                .as_ref()
                .and_then(|it| it.title.as_deref()),
            after.title.as_deref()
        );
        Ok(())
    }
}

/// Tells in the result which chat it belongs to.
fn complete(
    result: &mut HandleChatResult,
    before: &SessionInfo,
    number: u64,
    new_title: Option<&str>,
) {
    let meta = &mut result.meta;
    meta.session = Some(SessionMeta {
        id: before.id.to_string(),
        title: new_title
            .map(str::to_owned)
            .or_else(|| before.title.clone()),
        turn: number,
    });
    meta.session_log = Some(before.path.clone());
}

/// Whether the database found no room.
pub(crate) fn is_full<T>(outcome: &Result<T, RuntimeError>) -> bool {
    matches!(outcome, Err(RuntimeError::Store(StoreError::Full)))
}

fn has_text(result: &HandleChatResult) -> bool {
    !result.message.content.is_empty() || result.message.reasoning.is_some()
}

/// The facts of `meta` that are kept.
fn telemetry(result: &HandleChatResult) -> TurnTelemetry {
    let meta = &result.meta;
    let word = |value: Value| value.as_str().unwrap_or_default().to_owned();
    let (usage, timings) = (meta.usage, meta.timings);
    TurnTelemetry {
        alias: meta.route.alias.clone(),
        backend: meta.route.backend.clone(),
        model: meta.route.model.clone(),
        lane: meta.lane.as_ref().map(|lane| word(json!(lane.kind))),
        left_device: meta.route.left_device,
        fallbacks: u32::try_from(meta.route.fallback_from.len()).unwrap_or(u32::MAX),
        prompt_tokens: Some(usage.prompt_tokens),
        cached_tokens: Some(usage.cached_tokens),
        completion_tokens: Some(usage.completion_tokens),
        queued_ms: Some(timings.queued_ms),
        load_ms: Some(timings.load_ms),
        prefill_ms: Some(timings.prefill_ms),
        decode_ms: Some(timings.decode_ms),
        // 0 stands for none.
        first_token_ms: Some(timings.first_token_ms).filter(|ms| *ms > 0.0),
        finish_reason: word(json!(meta.finish_reason)),
        score: meta.score.map(f64::from),
    }
}

/// What is kept under a key: the result, and what it was the answer to.
fn written_reply(key: &RequestKey, result: &HandleChatResult) -> String {
    json!({ "request": key.fingerprint, "result": result }).to_string()
}

fn read_reply(reply: &str, key: Option<&RequestKey>) -> Result<HandleChatResult, RuntimeError> {
    let unreadable = |detail: String| StoreError::Corrupt { detail };
    let mut reply: Value =
        serde_json::from_str(reply).map_err(|error| unreadable(error.to_string()))?;
    if let Some(key) = key
        && reply["request"] != key.fingerprint
    {
        return Err(key.reused().into());
    }
    let result = serde_json::from_value(reply["result"].take());
    Ok(result.map_err(|error| unreadable(error.to_string()))?)
}
