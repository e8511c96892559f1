//! The seam between a chat and whatever answers it.

use std::rc::Rc;

use futures::stream::LocalBoxStream;
use nox_protocol::{FinishReason, Lane, Message, Timings, Usage};
use serde_json::{Map, Value};

use crate::cancel::CancelToken;

/// How the next token is chosen; every field is known to be in range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingOptions {
    /// 0 always takes the likeliest token.
    pub temperature: f32,
    /// Choose among so many of the likeliest tokens; 0 means all.
    pub top_k: u32,
    /// Choose among the likeliest tokens that together reach this share.
    pub top_p: f32,
    /// Leave out tokens less likely than this share of the likeliest.
    pub min_p: f32,
    /// Divides the logits of tokens already used; 1 changes nothing.
    pub repeat_penalty: f32,
    /// `None` lets the backend draw one.
    pub seed: Option<u64>,
}

/// What a reply has to be.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum ReplyFormat {
    /// Any text.
    #[default]
    Text,
    /// A JSON object.
    Json,
    /// A JSON value that fits this JSON Schema.
    Schema(Map<String, Value>),
}

impl ReplyFormat {
    /// Whether the reply is for a program to read: it stays then as the model gave it.
    pub fn is_structured(&self) -> bool {
        *self != Self::Text
    }
}

/// One reply to be made.
#[derive(Debug, Clone)]
pub struct GenerateRequest {
    /// The alias or model id that was asked for.
    pub model: String,
    /// The whole conversation: at most one system message, at the front, and the
    /// user's turn at the end.
    pub messages: Vec<Message>,
    /// How tokens are chosen.
    pub sampling: SamplingOptions,
    /// Tokens that the reply may have; `None` means no limit but the context's.
    pub max_tokens: Option<u64>,
    /// Texts that end the reply and are not part of it.
    pub stop: Vec<String>,
    /// What the reply has to be. A backend that can't keep to it fails.
    pub format: ReplyFormat,
    /// Raised when nobody wants the rest any more.
    pub cancel: CancelToken,
}

/// What a backend is busy with before the first text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Other calls come first.
    Queued,
    /// The model is being read; counts are bytes.
    Loading,
    /// The prompt is being evaluated; counts are tokens.
    Prefill,
}

/// What a backend tells while it works.
#[derive(Debug, Clone, PartialEq)]
pub enum BackendEvent {
    /// How far a phase has come.
    Progress {
        /// The phase.
        phase: Phase,
        /// How much of it is done.
        done: u64,
        /// How much there is.
        total: u64,
    },
    /// More of the reply; never empty.
    Delta {
        /// The text.
        text: String,
    },
    /// The reply is complete. Nothing comes after it.
    Done(Completion),
}

/// The facts of a complete reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The model that answered.
    pub model: String,
    /// Why it ended. A call cancelled through its token ends with
    /// [`FinishReason::Cancelled`], not with an error.
    pub finish_reason: FinishReason,
    /// Token counts.
    pub usage: Usage,
    /// Where the time went.
    pub timings: Timings,
    /// The code that computed it, when that was on this device.
    pub lane: Option<Lane>,
}

/// Something that answers conversations.
pub trait Backend {
    /// Why it can't.
    type Error: std::error::Error;

    /// The kind of backend as `meta.route.backend` names it, e.g. `local`.
    fn kind(&self) -> &str;

    /// Whether the conversation leaves this device.
    fn leaves_device(&self) -> bool;

    /// Makes one reply. The stream gives any number of progress and delta events,
    /// then exactly one [`BackendEvent::Done`], or ends with an error. It looks at
    /// the request's token at least once per token and per prefill chunk.
    ///
    /// # Cancel safety
    /// Dropping the stream ends the work and leaves the backend ready for the
    /// next request.
    fn generate(
        &self,
        request: GenerateRequest,
    ) -> LocalBoxStream<'_, Result<BackendEvent, Self::Error>>;
}

impl<B: Backend + ?Sized> Backend for Rc<B> {
    type Error = B::Error;

    fn kind(&self) -> &str {
        (**self).kind()
    }

    fn leaves_device(&self) -> bool {
        (**self).leaves_device()
    }

    fn generate(
        &self,
        request: GenerateRequest,
    ) -> LocalBoxStream<'_, Result<BackendEvent, Self::Error>> {
        (**self).generate(request)
    }
}
