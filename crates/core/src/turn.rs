//! One turn: from a checked request to a reply and the facts about it.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::{LocalBoxStream, Stream};
use nox_protocol::{ChatMeta, ChatTarget, HandleChatResult, Message, ReplyMessage, Role, Route};

use crate::backend::{Backend, BackendEvent, Completion, GenerateRequest, Phase};
use crate::cancel::CancelToken;
use crate::persona::{DEFAULT_SYSTEM_PROMPT, PERSONA};
use crate::redact::redact;
use crate::reply::{ReplyEffects, ReplyFilter, ReplyPiece};
use crate::request::ChatRequest;

/// What a turn tells while it goes on.
#[derive(Debug, Clone, PartialEq)]
pub enum TurnEvent {
    /// How far a phase before the first text has come.
    Progress {
        /// The phase.
        phase: Phase,
        /// How much of it is done.
        done: u64,
        /// How much there is.
        total: u64,
    },
    /// More of the reply; never empty.
    Delta(ReplyPiece),
    /// The whole reply; nothing comes after it. Its `content` is the deltas' text
    /// joined.
    Done(Box<HandleChatResult>),
}

/// Takes turns with one backend.
#[derive(Debug, Clone)]
pub struct ChatClient<B> {
    backend: B,
}

impl<B: Backend> ChatClient<B> {
    /// A client of `backend`.
    pub fn new(backend: B) -> Self {
        Self { backend }
    }

    /// The backend.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Starts a turn; it goes on while the stream is polled. Raising `cancel` ends
    /// it with what it has and `finish_reason: cancelled`.
    ///
    /// # Cancel safety
    /// Dropping the stream ends the turn.
    pub fn turn(&self, request: ChatRequest, cancel: CancelToken) -> Turn<'_, B::Error> {
        let target = describe_target(&request);
        let generate = GenerateRequest {
            model: request.model.clone(),
            sampling: request.sampling,
            max_tokens: request.token_limit(),
            messages: prepare_messages(request.messages, request.sanitize),
            stop: request.stop,
            cancel,
        };
        Turn {
            events: self.backend.generate(generate),
            filter: ReplyFilter::new(request.strip_reasoning),
            alias: request.model,
            backend_kind: self.backend.kind().to_owned(),
            leaves_device: self.backend.leaves_device(),
            target,
            reply: ReplyPiece::default(),
            last: None,
        }
    }
}

/// A turn that is going on: a stream of [`TurnEvent`]s that ends with
/// [`TurnEvent::Done`] or an error.
pub struct Turn<'a, E> {
    events: LocalBoxStream<'a, Result<BackendEvent, E>>,
    filter: ReplyFilter,
    alias: String,
    backend_kind: String,
    leaves_device: bool,
    target: ChatTarget,
    /// Everything given out so far.
    reply: ReplyPiece,
    /// The result, when only it is left to give.
    last: Option<Box<HandleChatResult>>,
}

impl<E> Turn<'_, E> {
    /// What the reply asks for beside what it says; whole after
    /// [`TurnEvent::Done`].
    pub fn effects(&self) -> ReplyEffects {
        self.filter.effects()
    }

    /// Records a piece as given out; `None` when there is nothing in it.
    fn give(&mut self, piece: ReplyPiece) -> Option<TurnEvent> {
        if piece.is_empty() {
            return None;
        }
        self.reply.text.push_str(&piece.text);
        self.reply.reasoning.push_str(&piece.reasoning);
        Some(TurnEvent::Delta(piece))
    }

    fn finish(&mut self, completion: Completion) -> TurnEvent {
        let last_delta = self.filter.finish();
        let last_delta = self.give(last_delta);
        let result = Box::new(self.result(completion));
        match last_delta {
            Some(delta) => {
                self.last = Some(result);
                delta
            }
            None => TurnEvent::Done(result),
        }
    }

    fn result(&mut self, completion: Completion) -> HandleChatResult {
        let reply = std::mem::take(&mut self.reply);
        let mut target = self.target.clone();
        target.target_model.clone_from(&completion.model);
        HandleChatResult {
            message: ReplyMessage {
                role: Role::Assistant,
                content: reply.text,
                reasoning: Some(reply.reasoning).filter(|text| !text.is_empty()),
            },
            meta: ChatMeta {
                target,
                route: Route {
                    alias: self.alias.clone(),
                    backend: self.backend_kind.clone(),
                    model: completion.model,
                    left_device: self.leaves_device,
                    fallback_from: Vec::new(),
                },
                lane: completion.lane,
                usage: completion.usage,
                timings: completion.timings,
                finish_reason: completion.finish_reason,
                session: None,
                score: None,
                instrument_warning: None,
                session_log: None,
            },
        }
    }
}

impl<E> Stream for Turn<'_, E> {
    type Item = Result<TurnEvent, E>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(result) = this.last.take() {
            return Poll::Ready(Some(Ok(TurnEvent::Done(result))));
        }
        loop {
            let event = match this.events.as_mut().poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Some(Ok(event))) => event,
            };
            let given = match event {
                BackendEvent::Progress { phase, done, total } => {
                    Some(TurnEvent::Progress { phase, done, total })
                }
                BackendEvent::Delta { text } => {
                    let piece = this.filter.push(&text);
                    this.give(piece)
                }
                BackendEvent::Done(completion) => Some(this.finish(completion)),
            };
            if let Some(event) = given {
                return Poll::Ready(Some(Ok(event)));
            }
        }
    }
}

impl<E> Unpin for Turn<'_, E> {}

/// One system message at the front: all that the conversation brings, a paragraph
/// each, or the default one. Chat templates of most models allow no other place.
fn prepare_messages(messages: Vec<Message>, sanitize: bool) -> Vec<Message> {
    let (system, turns): (Vec<Message>, Vec<Message>) = messages
        .into_iter()
        .partition(|message| message.role == Role::System);
    let system: Vec<String> = system
        .into_iter()
        .map(|message| message.content.trim().to_owned())
        .filter(|text| !text.is_empty())
        .collect();
    let content = if system.is_empty() {
        DEFAULT_SYSTEM_PROMPT.to_owned()
    } else {
        system.join("\n\n")
    };
    let mut prepared = vec![Message {
        role: Role::System,
        content,
    }];
    prepared.extend(turns);
    if sanitize {
        for message in &mut prepared {
            message.content = redact(&message.content);
        }
    }
    prepared
}

fn describe_target(request: &ChatRequest) -> ChatTarget {
    ChatTarget {
        url: None,
        model: request.model.clone(),
        central_name: PERSONA.central_name.to_owned(),
        central_scale: PERSONA.central_scale.to_owned(),
        noctics_variant: PERSONA.variant_name.to_owned(),
        model_target: PERSONA.model_target.to_owned(),
        stream: request.stream,
        temperature: request.temperature,
        max_tokens: request.max_tokens,
        sanitize: request.sanitize,
        strip_reasoning: request.strip_reasoning,
        logging_enabled: false,
        target_model: request.model.clone(),
        has_api_key: false,
        instrument: None,
        instrument_warning: None,
    }
}
