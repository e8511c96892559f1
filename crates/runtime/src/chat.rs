//! `handle_chat`: a turn of nox-core's client with what the user has set and what was
//! said before, told to the host as notifications and a result, and kept in the
//! database where it is to be kept.

use std::rc::Rc;

use futures::StreamExt;
use futures::future::{Either, select};
use nox_core::{ChatClient, ChatRequest, Phase, PreparedTurn, TurnContext, TurnEvent, user_id};
use nox_protocol::{FinishReason, HandleChatResult, Message, Role};
use nox_store::{NewSession, SessionId, SessionInfo, Target, TurnContent, TurnState, UserId};
use serde_json::Value;

use crate::chat_order::InOrder;
use crate::chat_replies::{Lookup, RequestKey};
use crate::chat_routes::call_error;
use crate::chat_teller::Teller;
use crate::chat_turn::{Beginning, KeptTurn, is_full};
use crate::connection::Call;
use crate::error::RuntimeError;
use crate::loader::or_cancelled;
use crate::runtime::Shared;
use crate::stored::{CurrentUser, Stored};

/// Turns of a chat that are sent along at most; no context that a device holds has
/// room for more.
const MAX_HISTORY_TURNS: usize = 500;
/// Names that stand for any user.
const NO_NAMES: [&str; 3] = ["default", "user", "you"];

/// A call that was read.
struct Ask<'a> {
    params: &'a Value,
    /// Without what the user has set: a call may wait, and what counts is what is set
    /// when its turn comes.
    request: ChatRequest,
    key: Option<RequestKey>,
}

/// Where a turn is kept.
enum Place {
    Nowhere,
    /// In a chat that begins with it.
    New(CurrentUser),
    /// In a chat that is there; its other calls wait.
    Session {
        info: Box<SessionInfo>,
        _order: InOrder,
    },
}

impl Shared {
    pub(crate) async fn handle_chat(
        self: &Rc<Self>,
        call: &Call,
        params: &Value,
    ) -> Result<Rc<HandleChatResult>, RuntimeError> {
        // What is refused for its form need not wait for the settings.
        let request = ChatRequest::parse(params)?;
        let _active = ActiveChat::new(self);
        // A cancelled call goes on: its result says so.
        let _ = or_cancelled(&call.cancel, self.chats.settled()).await;
        let key = request.idempotency_key.as_deref();
        let key = key.zip(params.as_object());
        let ask = Ask {
            params,
            key: key.map(|(key, params)| RequestKey::new(key, params)),
            request,
        };
        match ask.key.clone() {
            None => self.take_turn(call, ask).await.map(Rc::new),
            Some(key) => self.take_keyed_turn(call, ask, &key).await,
        }
    }

    /// The same key gives the same reply: an earlier one's result, or the result of
    /// the one that is going on. One that failed or was cancelled is not kept.
    async fn take_keyed_turn(
        self: &Rc<Self>,
        call: &Call,
        ask: Ask<'_>,
        key: &RequestKey,
    ) -> Result<Rc<HandleChatResult>, RuntimeError> {
        loop {
            match self.replies.look_up(key)? {
                Lookup::Kept(result) => {
                    Teller::new(call, self, ask.request.stream).repeat(&result);
                    return Ok(result);
                }
                Lookup::Running(end) => {
                    // When the first call ends without a reply to keep, this one takes its place.
                    let waited = or_cancelled(&call.cancel, end).await;
                    if waited.is_err() {
                        // Its result is its own; the other call's is still to come.
                        return self.take_turn(call, ask).await.map(Rc::new);
                    }
                }
                Lookup::New => break,
            }
        }
        let mut running = self.replies.begin(key);
        let result = Rc::new(self.take_turn(call, ask).await?);
        let is_in_database = result.meta.session.is_some();
        if !is_in_database && result.meta.finish_reason != FinishReason::Cancelled {
            running.keep(&result);
        }
        Ok(result)
    }

    async fn take_turn(
        self: &Rc<Self>,
        call: &Call,
        ask: Ask<'_>,
    ) -> Result<HandleChatResult, RuntimeError> {
        let key = ask.key.as_ref();
        let mut teller = Teller::new(call, self, ask.request.stream);
        let place = self.place(call, &ask.request, &mut teller).await?;
        self.chats.interrupt_left();
        let stored = self.chats.stored();
        let request = ChatRequest::parse_with(ask.params, &stored.settings, &stored.runtime)?;
        let context = self.context(&request, &stored, &place, key)?;
        let prepared = PreparedTurn::new(request, context);
        let mut begun = self.begin(call, &prepared, &place, key);
        if is_full(&begun) && self.warm.clear().await {
            begun = self.begin(call, &prepared, &place, key);
        }
        let kept = match begun? {
            Some(Beginning::Answered(result)) => {
                teller.repeat(&result);
                return Ok(*result);
            }
            Some(Beginning::Started(kept)) => Some(kept),
            None => None,
        };
        self.run(call, &stored, prepared, kept, &mut teller).await
    }

    /// Finds out where the turn is to be kept, and waits until its chat is free.
    async fn place(
        &self,
        call: &Call,
        request: &ChatRequest,
        teller: &mut Teller<'_>,
    ) -> Result<Place, RuntimeError> {
        let name = match &request.session {
            Some(None) => return Ok(Place::Nowhere),
            None if !self.chats.stored().settings.keep_chats() => return Ok(Place::Nowhere),
            // Nothing will be said, so there is nothing to keep.
            _ if call.cancel.is_cancelled() => return Ok(Place::Nowhere),
            None => None,
            Some(Some(name)) => Some(name),
        };
        self.chats.ready().await?;
        let Some(name) = name else {
            return Ok(Place::New(self.user_of(request)?));
        };
        let id = self.chats.with(|store| store.resolve(name))?.id;
        let order = self.session_order.enter(&id, |done, total| {
            teller.progress(Phase::Queued, done, total);
        });
        let order = match select(Box::pin(order), Box::pin(call.cancel.cancelled())).await {
            Either::Left((order, _)) => order?,
            Either::Right(_) => return Ok(Place::Nowhere),
        };
        // The database may have been handed over meanwhile.
        self.chats.ready().await?;
        // Read when it is this call's turn: the earlier ones have changed it.
        let info = self.chats.with(|store| store.session(&id))?;
        Ok(Place::Session {
            info: Box::new(info),
            _order: order,
        })
    }

    /// Whose a new chat is.
    fn user_of(&self, request: &ChatRequest) -> Result<CurrentUser, RuntimeError> {
        let name = request.memory_user.as_deref().map(str::trim);
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Ok(self.chats.stored().user.clone());
        };
        let wanted = UserId::parse(&user_id(name))?;
        let display = request.memory_user_display.as_deref();
        let user = self
            .chats
            .with(|store| store.user_named(name, &wanted, display))?;
        Ok(CurrentUser {
            id: user.id,
            display: user.display,
        })
    }

    /// What the turn goes by beside its request.
    fn context(
        &self,
        request: &ChatRequest,
        stored: &Stored,
        place: &Place,
        key: Option<&RequestKey>,
    ) -> Result<TurnContext, RuntimeError> {
        let row = self.persona_row(stored, &request.model);
        let settings = &stored.settings;
        let history_limits = settings.history_limits();
        let user = match place {
            Place::Nowhere => &stored.user.display,
            Place::New(user) => &user.display,
            Place::Session { info, .. } => &info.user_display,
        };
        let history = match place {
            Place::Session { info, .. } if brings_no_history(request) => {
                let limit = history_limits.max_turns.unwrap_or(MAX_HISTORY_TURNS);
                self.history(&info.id, limit.min(MAX_HISTORY_TURNS), key)?
            }
            _ => Vec::new(),
        };
        Ok(TurnContext {
            persona: self.persona_as_set(stored, row),
            system_prompt: settings.system_prompt().map(str::to_owned),
            history,
            history_limits,
            instrument: settings.instrument().map(str::to_owned),
            user_names: names(user, request),
            is_kept: !matches!(place, Place::Nowhere),
        })
    }

    /// What was said last in a chat. A turn that was interrupted and whose place this
    /// call takes is not part of it.
    fn history(
        &self,
        id: &SessionId,
        limit: usize,
        key: Option<&RequestKey>,
    ) -> Result<Vec<Message>, RuntimeError> {
        let (page, replaced) = self.chats.with(|store| {
            let replaced = match key {
                Some(key) => store.interrupted_turn_of_key(id, &key.key)?,
                None => None,
            };
            let limit = limit + usize::from(replaced.is_some());
            Ok((store.turns_before(id, None, limit)?, replaced))
        })?;
        let turns = page.turns.into_iter().map(|(turn, _)| turn);
        let turns = turns.filter(|turn| Some(turn.number) != replaced);
        Ok(turns.flat_map(said_in).collect())
    }

    fn begin(
        &self,
        call: &Call,
        prepared: &PreparedTurn,
        place: &Place,
        key: Option<&RequestKey>,
    ) -> Result<Option<Beginning>, RuntimeError> {
        let request = prepared.request();
        let target = match place {
            Place::Nowhere => return Ok(None),
            Place::Session { info, .. } => Target::Session(&info.id),
            Place::New(user) => Target::New(NewSession {
                user: Some(user.id.clone()),
                user_display: None,
                model: Some(&request.model),
                sanitized: request.sanitize,
            }),
        };
        let now_ms = self.platform.now_ms();
        KeptTurn::begin(&self.chats, target, prepared, key, &call.cancel, now_ms).map(Some)
    }

    async fn run(
        self: &Rc<Self>,
        call: &Call,
        stored: &Stored,
        prepared: PreparedTurn,
        mut kept: Option<KeptTurn>,
        teller: &mut Teller<'_>,
    ) -> Result<HandleChatResult, RuntimeError> {
        let chat = kept.as_ref().and_then(KeptTurn::chat).cloned();
        let router = self.router(&stored.runtime, chat.as_ref());
        // The turn may wait for the engine, and another tab may take the chats over.
        let may_ask = |alias: &str| self.chats.stored().settings.instrument() == Some(alias);
        let client = ChatClient::new(&router).with_permission(&may_ask);
        let mut turn = client.turn(prepared, call.cancel.clone());
        while let Some(event) = turn.next().await {
            match event {
                Ok(TurnEvent::Progress { phase, done, total }) => {
                    teller.progress(phase, done, total);
                }
                Ok(TurnEvent::Delta(piece)) => {
                    teller.delta(&piece);
                    if let Some(kept) = &mut kept {
                        kept.take_in(&piece, self.platform.now_ms());
                    }
                }
                Ok(TurnEvent::Done(outcome)) => {
                    teller.flush();
                    let Some(kept) = kept else {
                        return Ok(outcome.result);
                    };
                    let result = kept.finish(*outcome, &self.warm).await?;
                    // Where another answered, the engine may still hold a turn that was taken
                    // back.
                    let is_ours = result.meta.session.is_some() && result.meta.lane.is_some();
                    if let Some(chat) = chat.filter(|_| is_ours) {
                        self.keep_warm(&chat);
                    }
                    return Ok(result);
                }
                Err(failure) => {
                    teller.flush();
                    if let Some(kept) = kept {
                        kept.fail(failure.partial, &self.warm).await?;
                    }
                    return Err(call_error(failure.error));
                }
            }
        }
        unreachable!("a turn ends with Done or an error")
    }
}

fn brings_no_history(request: &ChatRequest) -> bool {
    let messages = request.messages.iter();
    messages
        .filter(|message| message.role != Role::System)
        .count()
        == 1
}

/// What was said in a turn, a reply that was cut short included. What was never
/// answered is left out.
fn said_in(turn: TurnContent) -> Vec<Message> {
    let is_open = turn.state == TurnState::Open;
    let messages: Vec<Message> = turn
        .messages
        .into_iter()
        .map(|message| Message {
            role: match message.role {
                nox_store::Role::User => Role::User,
                nox_store::Role::Assistant => Role::Assistant,
            },
            content: message.content,
        })
        .collect();
    let is_answered = messages
        .iter()
        .any(|message| message.role == Role::Assistant && !message.content.trim().is_empty());
    if is_open || !is_answered {
        return Vec::new();
    }
    messages
}

/// What an instrument must not read of who asks.
fn names(user_display: &str, request: &ChatRequest) -> Vec<String> {
    let given = [&request.memory_user_display, &request.memory_user];
    let given = given.into_iter().flatten().map(String::as_str);
    let mut names: Vec<String> = Vec::new();
    for name in std::iter::once(user_display).chain(given).map(str::trim) {
        let stands_for_any = NO_NAMES.iter().any(|none| name.eq_ignore_ascii_case(none));
        if !name.is_empty() && !stands_for_any {
            names.push(name.to_owned());
        }
    }
    names
}

/// Counts a chat call as active while it lives.
struct ActiveChat<'a> {
    shared: &'a Shared,
}

impl<'a> ActiveChat<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.n_active_chats.set(shared.n_active_chats.get() + 1);
        Self { shared }
    }
}

impl Drop for ActiveChat<'_> {
    fn drop(&mut self) {
        let shared = self.shared;
        shared.n_active_chats.set(shared.n_active_chats.get() - 1);
        shared
            .n_completed_chats
            .set(shared.n_completed_chats.get() + 1);
    }
}
