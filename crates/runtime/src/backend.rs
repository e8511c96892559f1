//! The backend on this device: the engine behind nox-core's [`Backend`].
//!
//! One generation runs at a time; others wait in line. Between two steps the event
//! loop has a turn, so that a cancellation is seen within one token, or one chunk
//! of the prompt.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use futures::channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use futures::future::LocalBoxFuture;
use futures::stream::{LocalBoxStream, Stream};
use futures::{FutureExt, StreamExt};
use nox_core::{
    Backend, BackendEvent, Completion, GenerateRequest, Phase, ReplyFormat, SamplingOptions,
};
use nox_engine::sampler::SamplerError;
use nox_engine::snapshot::Restored;
use nox_engine::template::{ChatMessage, TemplateError};
use nox_engine::{
    EngineError, GenerateOptions, Generation, Model, OutputFormat, Prompt, PromptOptions,
    SamplingParams, Step,
};
use nox_protocol::{FinishReason, Message, Role, Timings, Usage};
use nox_store::SessionId;

use crate::error::RuntimeError;
use crate::loader::{Engine, LoadSpec, Loaded, or_cancelled};
use crate::runtime::Shared;

/// Room that a prompt leaves for the reply when the caller sets no limit.
const DEFAULT_RESERVE_TOKENS: u64 = 256;
/// A higher limit of the caller's must not push the conversation out of the context.
const MAX_RESERVE_TOKENS: u64 = 1024;
/// How far back the repeat penalty looks; llama.cpp's default.
const REPEAT_LAST_N: usize = 64;

/// Answers with a model on this device.
pub(crate) struct LocalBackend {
    shared: Rc<Shared>,
    /// The chat that its replies are kept in, if they are.
    chat: Option<SessionId>,
}

impl LocalBackend {
    pub(crate) fn new(shared: Rc<Shared>, chat: Option<SessionId>) -> Self {
        Self { shared, chat }
    }
}

impl Backend for LocalBackend {
    type Error = RuntimeError;

    fn kind(&self) -> &str {
        "local"
    }

    fn leaves_device(&self) -> bool {
        false
    }

    fn generate(
        &self,
        request: GenerateRequest,
    ) -> LocalBoxStream<'_, Result<BackendEvent, RuntimeError>> {
        let (events, received) = mpsc::unbounded();
        let reply = Reply {
            shared: &self.shared,
            chat: self.chat.as_ref(),
            arrived_ms: self.shared.platform.now_ms(),
            model: request.model.clone(),
            request,
            events,
            usage: Usage::default(),
            restored: Restored::default(),
            timings: Timings::default(),
        };
        WorkStream {
            work: Some(reply.run().boxed_local()),
            received,
            end: None,
        }
        .boxed_local()
    }
}

/// Makes a stream of a future that sends events while it works. It sends few events
/// between two of its pauses, so the channel needs no bound.
struct WorkStream<'a> {
    /// `None` when it has ended.
    work: Option<LocalBoxFuture<'a, Result<Completion, RuntimeError>>>,
    received: UnboundedReceiver<BackendEvent>,
    /// How it ended, until that is told.
    end: Option<Result<Completion, RuntimeError>>,
}

impl Stream for WorkStream<'_> {
    type Item = Result<BackendEvent, RuntimeError>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Self::Item>> {
        if let Ok(event) = self.received.try_recv() {
            return Poll::Ready(Some(Ok(event)));
        }
        if let Some(work) = &mut self.work
            && let Poll::Ready(end) = work.as_mut().poll(context)
        {
            self.work = None;
            self.end = Some(end);
        }
        // What was sent comes before the end.
        if let Ok(event) = self.received.try_recv() {
            return Poll::Ready(Some(Ok(event)));
        }
        match self.end.take() {
            Some(end) => Poll::Ready(Some(end.map(BackendEvent::Done))),
            None if self.work.is_some() => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

/// A reply in the making.
struct Reply<'a> {
    shared: &'a Shared,
    chat: Option<&'a SessionId>,
    arrived_ms: f64,
    request: GenerateRequest,
    events: UnboundedSender<BackendEvent>,
    /// The model's name: the one asked for, then the one that it stands for.
    model: String,
    usage: Usage,
    /// What came from storage of it.
    restored: Restored,
    timings: Timings,
}

impl Reply<'_> {
    async fn run(mut self) -> Result<Completion, RuntimeError> {
        let finish_reason = match self.generate().await {
            Ok(reason) => reason,
            // Cancelling ends a reply with what there is, in whatever phase it is.
            Err(RuntimeError::Cancelled) => FinishReason::Cancelled,
            Err(error) => return Err(error),
        };
        Ok(Completion {
            model: self.model,
            finish_reason,
            usage: self.usage,
            timings: self.timings,
            lane: Some(self.shared.lane_in_use()),
        })
    }

    async fn generate(&mut self) -> Result<FinishReason, RuntimeError> {
        let shared = self.shared;
        let cancel = self.request.cancel.clone();
        // What can't be done need not wait in line to be told so.
        self.format().validate().map_err(EngineError::from)?;
        or_cancelled(&cancel, shared.resolve(&self.request.model)).await??;
        let mut engine = shared
            .take_engine(&cancel, |done, total| self.tell(Phase::Queued, done, total))
            .await?;
        self.timings.queued_ms = self.elapsed_ms();
        let id = shared.resolve(&self.request.model).await?;
        self.model = id.to_string();
        let spec = LoadSpec {
            id: &id,
            n_ctx: None,
            kv_type: None,
        };
        self.timings.load_ms = shared
            .load(&mut engine, &spec, &cancel, |done, total| {
                self.tell(Phase::Loading, done, total);
            })
            .await?;
        self.decode(&mut engine).await
    }

    /// From the messages to the last token.
    async fn decode(&mut self, engine: &mut Engine) -> Result<FinishReason, RuntimeError> {
        let Some(loaded) = &mut engine.loaded else {
            unreachable!("a model was loaded just before");
        };
        let started_ms = self.shared.platform.now_ms();
        let prompt = self.prompt(&loaded.model)?;
        let options = self.options();
        // From here on the context holds what belongs to this call.
        loaded.chat = self.chat.cloned();
        let cancel = self.request.cancel.clone();
        let brought_back = self.shared.bring_back(loaded, &prompt.tokens, &cancel);
        self.restored = brought_back.await?;
        let Loaded {
            id, model, context, ..
        } = loaded;
        let mut generation = model.generate(context, prompt.tokens, options)?;
        let outcome = self.take_steps(&mut generation, started_ms).await;
        self.count(&generation);
        drop(generation);
        self.shared.note_n_past(context.n_past());
        if self.restored.n_restored > 0 && outcome.as_ref().is_err_and(is_of_wrong_numbers) {
            // They may have come from storage.
            self.shared.warm.remove_model(id).await;
        }
        outcome
    }

    async fn take_steps(
        &mut self,
        generation: &mut Generation<'_>,
        started_ms: f64,
    ) -> Result<FinishReason, RuntimeError> {
        let shared = self.shared;
        let mut prefilled_ms = started_ms;
        self.count(generation);
        self.tell(
            Phase::Prefill,
            self.usage.cached_tokens,
            self.usage.prompt_tokens,
        );
        loop {
            shared.platform.yield_now().await;
            if self.request.cancel.is_cancelled() {
                return Err(RuntimeError::Cancelled);
            }
            let step = generation.step()?;
            let now_ms = shared.platform.now_ms();
            match step {
                Step::Prefill { done, total } => {
                    prefilled_ms = now_ms;
                    self.timings.prefill_ms = now_ms - started_ms;
                    self.tell(Phase::Prefill, done as u64, total as u64);
                }
                Step::Token { text, .. } => {
                    self.count(generation);
                    self.time_token(now_ms, now_ms - prefilled_ms);
                    if !text.is_empty() {
                        self.send(BackendEvent::Delta { text });
                    }
                }
                Step::Done(reason) => {
                    return Ok(match reason {
                        nox_engine::FinishReason::Stop => FinishReason::Stop,
                        nox_engine::FinishReason::Length => FinishReason::Length,
                    });
                }
            }
        }
    }

    fn time_token(&mut self, now_ms: f64, decode_ms: f64) {
        if self.timings.first_token_ms == 0.0 {
            self.timings.first_token_ms = now_ms - self.arrived_ms;
        }
        self.timings.decode_ms = decode_ms;
        #[expect(clippy::cast_precision_loss, reason = "no reply has 2^53 tokens")]
        let n_tokens = self.usage.completion_tokens as f64;
        if decode_ms > 0.0 {
            self.timings.tokens_per_second = n_tokens * 1000.0 / decode_ms;
        }
    }

    fn count(&mut self, generation: &Generation<'_>) {
        let usage = generation.usage();
        self.usage = Usage {
            prompt_tokens: usage.prompt_tokens as u64,
            // Some were computed to check the others.
            cached_tokens: usage.cached_tokens.saturating_sub(self.restored.n_computed) as u64,
            restored_tokens: self.restored.n_restored as u64,
            completion_tokens: usage.completion_tokens as u64,
        };
    }

    /// Renders the conversation. Some templates know no system role and refuse it;
    /// the system text then goes in front of the first message.
    fn prompt(&self, model: &Model) -> Result<Prompt, EngineError> {
        let limit = self.request.max_tokens.unwrap_or(DEFAULT_RESERVE_TOKENS);
        let options = PromptOptions {
            reserve_tokens: usize::try_from(limit.min(MAX_RESERVE_TOKENS)).unwrap_or(usize::MAX),
            now_unix_s: Some(self.shared.platform.local_unix_seconds()),
            ..PromptOptions::default()
        };
        let messages = &self.request.messages;
        let as_sent: Vec<ChatMessage> = messages.iter().map(chat_message).collect();
        match (
            model.prompt(&as_sent, &options),
            without_system_role(messages),
        ) {
            (Err(EngineError::Template(TemplateError::Refused(_))), Some(folded)) => {
                model.prompt(&folded, &options)
            }
            (prompt, _) => prompt,
        }
    }

    fn options(&self) -> GenerateOptions {
        let SamplingOptions {
            temperature,
            top_k,
            top_p,
            min_p,
            repeat_penalty,
            seed,
        } = self.request.sampling;
        let limit = self.request.max_tokens;
        GenerateOptions {
            sampling: SamplingParams {
                temperature,
                top_k: usize::try_from(top_k).unwrap_or(usize::MAX),
                top_p,
                min_p,
                repeat_penalty,
                repeat_last_n: REPEAT_LAST_N,
                seed: seed.unwrap_or_else(|| self.shared.platform.random_u64()),
            },
            logit_bias: Vec::new(),
            max_tokens: limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            stop: self.request.stop.clone(),
            format: self.format(),
            speculation: self.shared.options.speculation,
        }
    }

    fn format(&self) -> OutputFormat {
        match self.request.format.clone() {
            ReplyFormat::Text => OutputFormat::Text,
            ReplyFormat::Json => OutputFormat::Json,
            ReplyFormat::Schema(schema) => OutputFormat::Schema(schema),
        }
    }

    fn tell(&self, phase: Phase, done: u64, total: u64) {
        self.send(BackendEvent::Progress { phase, done, total });
    }

    /// Nobody listens any more when the stream is being dropped, and this future with it.
    fn send(&self, event: BackendEvent) {
        let _ = self.events.unbounded_send(event);
    }

    fn elapsed_ms(&self) -> f64 {
        self.shared.platform.now_ms() - self.arrived_ms
    }
}

fn chat_message(message: &Message) -> ChatMessage {
    ChatMessage::new(message.role.as_str(), message.content.as_str())
}

/// Whether the engine failed because of the numbers that it computed with, rather than
/// for want of memory or by what it was asked.
fn is_of_wrong_numbers(error: &RuntimeError) -> bool {
    matches!(
        error,
        RuntimeError::Engine(
            EngineError::KvNotFinite(_)
                | EngineError::Sampler(SamplerError::NotFinite { .. } | SamplerError::Empty)
        )
    )
}

/// The conversation with its system text in front of the first other message;
/// `None` when it has none.
fn without_system_role(messages: &[Message]) -> Option<Vec<ChatMessage>> {
    let (system, turns) = messages.split_first()?;
    if system.role != Role::System {
        return None;
    }
    let mut folded: Vec<ChatMessage> = turns.iter().map(chat_message).collect();
    let first = folded.first_mut()?;
    first.content = format!("{}\n\n{}", system.content, first.content);
    Some(folded)
}

#[cfg(test)]
mod tests {
    use nox_engine::KvNotFinite;

    use super::*;

    #[test]
    fn only_wrong_numbers_count_against_what_was_brought_back() {
        let out_of_range = SamplerError::OutOfRange {
            field: "temperature",
            found: -1.0,
            expected: "at least 0",
        };
        let overflow = EngineError::ContextOverflow {
            needed: 2,
            n_ctx: 1,
        };
        let not_finite = SamplerError::NotFinite {
            token: 0,
            found: f32::NAN,
        };
        for (error, expected) in [
            (EngineError::from(not_finite), true),
            (SamplerError::Empty.into(), true),
            (KvNotFinite { position: 3 }.into(), true),
            (out_of_range.into(), false),
            (overflow, false),
            (EngineError::EmptyPrompt, false),
        ] {
            let error = RuntimeError::from(error);
            assert_eq!(is_of_wrong_numbers(&error), expected, "{error:?}");
        }
        assert!(!is_of_wrong_numbers(&RuntimeError::Cancelled));
    }
}
