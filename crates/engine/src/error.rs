//! What can go wrong between a model file and a reply.

use std::io;

use crate::constraint::SchemaError;
use crate::decoder::{KvNotFinite, KvOutOfMemory, ModelError};
use crate::gguf::GgufError;
use crate::quant::WeightError;
use crate::sampler::SamplerError;
use crate::template::TemplateError;
use crate::tokenizer::TokenizerError;

/// Any failure of the engine; each family of operations keeps its own type inside.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the fields are named by the messages
pub enum EngineError {
    /// The file is not sound GGUF.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The file's tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template is missing, broken, or refuses the messages.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The file is sound, but its model cannot be run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A sampling parameter is out of range, or the computation has failed numerically.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    /// The reply can't be held to the format that was asked for.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error(transparent)]
    KvOutOfMemory(#[from] KvOutOfMemory),
    #[error(transparent)]
    KvNotFinite(#[from] KvNotFinite),
    /// Nothing has been allocated yet.
    #[error(
        "the model needs {needed_bytes} bytes with a context of {n_ctx} tokens, more than the {limit_bytes} that there may be"
    )]
    NotEnoughMemory {
        needed_bytes: u64,
        limit_bytes: u64,
        n_ctx: usize,
    },
    /// What must stay of the conversation is longer than the context.
    #[error("the message needs {needed} tokens, but the context has room for {n_ctx}")]
    ContextOverflow { needed: usize, n_ctx: usize },
    #[error("the prompt has no tokens")]
    EmptyPrompt,
    #[error("token {token} is not in the vocabulary of {n_vocab}")]
    UnknownToken { token: u32, n_vocab: usize },
    #[error("{field} is {found}, it must be {expected}")]
    InvalidOption {
        field: &'static str,
        found: String,
        expected: String,
    },
    /// Candle-transformers, which runs what the decoder lacks.
    #[error("candle-transformers can't run the model: {0}")]
    Fallback(#[source] candle_core::Error),
    #[error("a compute thread could not be started: {0}")]
    Threads(#[source] io::Error),
}

impl From<WeightError> for EngineError {
    fn from(error: WeightError) -> Self {
        Self::Model(error.into())
    }
}
