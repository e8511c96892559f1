//! `handle_chat`: a turn of nox-core's client, told to the host as notifications
//! and a result, and given again to whoever asks with the same key.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use futures::StreamExt;
use futures::channel::oneshot;
use nox_core::{ChatClient, ChatRequest, Phase, ReplyPiece, TurnEvent};
use nox_protocol::{ChatDelta, ChatPhase, ChatProgress, FinishReason, HandleChatResult, method};
use serde_json::Value;

use crate::backend::LocalBackend;
use crate::connection::Call;
use crate::error::{ParamError, RuntimeError};
use crate::loader::or_cancelled;
use crate::runtime::Shared;

/// Deltas are not sent more often than a screen is drawn.
const MIN_DELTA_INTERVAL_MS: f64 = 16.0;
/// Progress of one phase is not told more often than a person can read.
const MIN_PROGRESS_INTERVAL_MS: f64 = 50.0;
/// Replies that are kept for a repeated key.
const MAX_KEPT_REPLIES: usize = 64;

impl Shared {
    pub(crate) async fn handle_chat(
        self: &Rc<Self>,
        call: &Call,
        params: &Value,
    ) -> Result<Rc<HandleChatResult>, RuntimeError> {
        let request = ChatRequest::parse(params)?;
        let _active = ActiveChat::new(self);
        match request.idempotency_key.clone() {
            None => self.run_turn(call, request).await.map(Rc::new),
            Some(key) => self.run_keyed_turn(call, request, &key).await,
        }
    }

    /// The same key gives the same reply: an earlier one's result, or the result of
    /// the one that is going on. One that failed or was cancelled is not kept.
    async fn run_keyed_turn(
        self: &Rc<Self>,
        call: &Call,
        request: ChatRequest,
        key: &str,
    ) -> Result<Rc<HandleChatResult>, RuntimeError> {
        loop {
            match self.replies.look_up(key, &request)? {
                Lookup::Kept(result) => {
                    repeat(call, &request, &result);
                    return Ok(result);
                }
                Lookup::Running(end) => {
                    // When the first call ends without a reply to keep, this one takes its place.
                    let _ = or_cancelled(&call.cancel, end).await?;
                }
                Lookup::New => break,
            }
        }
        let mut running = self.replies.begin(key, &request);
        let result = Rc::new(self.run_turn(call, request).await?);
        if result.meta.finish_reason != FinishReason::Cancelled {
            running.keep(&result);
        }
        Ok(result)
    }

    async fn run_turn(
        self: &Rc<Self>,
        call: &Call,
        request: ChatRequest,
    ) -> Result<HandleChatResult, RuntimeError> {
        let client = ChatClient::new(LocalBackend::new(Rc::clone(self)));
        let mut teller = Teller::new(call, self, request.stream);
        let mut turn = client.turn(request, call.cancel.clone());
        while let Some(event) = turn.next().await {
            match event? {
                TurnEvent::Progress { phase, done, total } => teller.progress(phase, done, total),
                TurnEvent::Delta(piece) => teller.delta(&piece),
                TurnEvent::Done(result) => {
                    teller.flush();
                    return Ok(*result);
                }
            }
        }
        unreachable!("a backend's stream ends with Done or an error")
    }
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

/// Tells the host what a turn is doing; silent for a call that does not stream.
struct Teller<'a> {
    call: &'a Call,
    shared: &'a Shared,
    is_streaming: bool,
    /// Text that has not been sent.
    pending: ReplyPiece,
    next_seq: u64,
    delta_ms: Option<f64>,
    progress_ms: Option<(Phase, f64)>,
}

impl<'a> Teller<'a> {
    fn new(call: &'a Call, shared: &'a Shared, is_streaming: bool) -> Self {
        Self {
            call,
            shared,
            is_streaming,
            pending: ReplyPiece::default(),
            next_seq: 0,
            delta_ms: None,
            progress_ms: None,
        }
    }

    fn progress(&mut self, phase: Phase, done: u64, total: u64) {
        let now_ms = self.shared.platform.now_ms();
        let is_due = match self.progress_ms {
            Some((told, told_ms)) if told == phase && done < total => {
                now_ms - told_ms >= MIN_PROGRESS_INTERVAL_MS
            }
            _ => true,
        };
        if !self.is_streaming || !is_due {
            return;
        }
        self.progress_ms = Some((phase, now_ms));
        self.call.notify(
            method::CHAT_PROGRESS,
            &ChatProgress {
                id: self.call.id.clone(),
                phase: match phase {
                    Phase::Queued => ChatPhase::Queued,
                    Phase::Loading => ChatPhase::Loading,
                    Phase::Prefill => ChatPhase::Prefill,
                },
                done,
                total,
            },
        );
    }

    /// The first delta goes out at once, later ones when the last is old enough.
    fn delta(&mut self, piece: &ReplyPiece) {
        self.pending.text.push_str(&piece.text);
        self.pending.reasoning.push_str(&piece.reasoning);
        let now_ms = self.shared.platform.now_ms();
        if self
            .delta_ms
            .is_none_or(|sent_ms| now_ms - sent_ms >= MIN_DELTA_INTERVAL_MS)
        {
            self.delta_ms = Some(now_ms);
            self.flush();
        }
    }

    fn flush(&mut self) {
        let piece = std::mem::take(&mut self.pending);
        if !self.is_streaming || piece.is_empty() {
            return;
        }
        self.call.notify(
            method::CHAT_DELTA,
            &ChatDelta {
                id: self.call.id.clone(),
                seq: self.next_seq,
                text: piece.text,
                reasoning: Some(piece.reasoning).filter(|text| !text.is_empty()),
            },
        );
        self.next_seq += 1;
    }
}

/// Gives a kept reply as if it had just been made.
fn repeat(call: &Call, request: &ChatRequest, result: &HandleChatResult) {
    let message = &result.message;
    if !request.stream || (message.content.is_empty() && message.reasoning.is_none()) {
        return;
    }
    call.notify(
        method::CHAT_DELTA,
        &ChatDelta {
            id: call.id.clone(),
            seq: 0,
            text: message.content.clone(),
            reasoning: message.reasoning.clone(),
        },
    );
}

/// Replies by idempotency key: the ones being made, and the last ones made.
#[derive(Default)]
pub(crate) struct ReplyCache {
    entries: RefCell<HashMap<String, CacheEntry>>,
    next_age: std::cell::Cell<u64>,
}

struct CacheEntry {
    request: ChatRequest,
    state: CacheState,
}

enum CacheState {
    /// Whoever waits is told by dropping the senders.
    Running(Vec<oneshot::Sender<()>>),
    Kept {
        result: Rc<HandleChatResult>,
        age: u64,
    },
}

enum Lookup {
    New,
    /// Completes when the running call has ended.
    Running(oneshot::Receiver<()>),
    Kept(Rc<HandleChatResult>),
}

impl ReplyCache {
    fn look_up(&self, key: &str, request: &ChatRequest) -> Result<Lookup, ParamError> {
        let mut entries = self.entries.borrow_mut();
        let Some(entry) = entries.get_mut(key) else {
            return Ok(Lookup::New);
        };
        // Whether it is streamed does not make it another request.
        let same = ChatRequest {
            stream: entry.request.stream,
            ..request.clone()
        };
        if same != entry.request {
            return Err(ParamError::KeyReused {
                key: key.to_owned(),
            });
        }
        Ok(match &mut entry.state {
            CacheState::Running(waiting) => {
                let (sender, receiver) = oneshot::channel();
                waiting.push(sender);
                Lookup::Running(receiver)
            }
            CacheState::Kept { result, age } => {
                *age = self.next_age.replace(self.next_age.get() + 1);
                Lookup::Kept(Rc::clone(result))
            }
        })
    }

    fn begin(&self, key: &str, request: &ChatRequest) -> RunningReply<'_> {
        let entry = CacheEntry {
            request: request.clone(),
            state: CacheState::Running(Vec::new()),
        };
        self.entries.borrow_mut().insert(key.to_owned(), entry);
        RunningReply {
            cache: self,
            key: key.to_owned(),
        }
    }

    fn forget_oldest(&self) {
        let mut entries = self.entries.borrow_mut();
        let kept = |entry: &CacheEntry| match entry.state {
            CacheState::Kept { age, .. } => Some(age),
            CacheState::Running(_) => None,
        };
        if entries.values().filter_map(kept).count() <= MAX_KEPT_REPLIES {
            return;
        }
        let oldest = entries
            .iter()
            .filter_map(|(key, entry)| Some((kept(entry)?, key.clone())))
            .min();
        if let Some((_, key)) = oldest {
            entries.remove(&key);
        }
    }
}

/// A keyed reply that is being made. Dropped without [`keep`](Self::keep), it is
/// forgotten.
struct RunningReply<'a> {
    cache: &'a ReplyCache,
    key: String,
}

impl RunningReply<'_> {
    fn keep(&mut self, result: &Rc<HandleChatResult>) {
        let age = self.cache.next_age.replace(self.cache.next_age.get() + 1);
        if let Some(entry) = self.cache.entries.borrow_mut().get_mut(&self.key) {
            entry.state = CacheState::Kept {
                result: Rc::clone(result),
                age,
            };
        }
        self.cache.forget_oldest();
    }
}

impl Drop for RunningReply<'_> {
    fn drop(&mut self) {
        let mut entries = self.cache.entries.borrow_mut();
        let is_running = entries
            .get(&self.key)
            .is_some_and(|entry| matches!(entry.state, CacheState::Running(_)));
        if is_running {
            entries.remove(&self.key);
        }
    }
}
