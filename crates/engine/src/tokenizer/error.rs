//! Why a model's tokenizer cannot be built, or a text not be turned into tokens.

use crate::gguf::GgufError;

/// What went wrong in building or using a [`Tokenizer`](super::Tokenizer).
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the fields are named by the messages
pub enum TokenizerError {
    /// The file holds no tokenizer at all.
    #[error(
        "the model file has no tokenizer (the metadata key \"tokenizer.ggml.model\" is missing)"
    )]
    Missing,
    /// A kind of tokenizer that this crate does not implement.
    #[error("tokenizer model {model:?}{kind} is not supported; supported are {supported}")]
    Unsupported {
        model: String,
        kind: &'static str,
        supported: &'static str,
    },
    /// A way to split text into words that this crate does not know. To guess one
    /// would give wrong tokens without a sign of it.
    #[error("pre-tokenizer {pre:?} is not known; known are {known}")]
    UnknownPreTokenizer { pre: String, known: String },
    #[error("the model's vocabulary is empty")]
    EmptyVocabulary,
    /// Arrays that run parallel to the vocabulary are shorter than it.
    #[error("metadata key {key:?} has {found} elements for {n_vocab} tokens")]
    LengthMismatch {
        key: &'static str,
        n_vocab: usize,
        found: usize,
    },
    /// Text holds a byte that the vocabulary cannot express, not even as unknown.
    #[error("the vocabulary has no token for the byte 0x{byte:02X} and none for unknown text")]
    NoTokenForByte { byte: u8 },
    /// Entries that were chosen to make look-ups slow.
    #[error("too many of the vocabulary's {what} have hashes that collide")]
    Colliding { what: &'static str },
    /// A metadata key is missing or has the wrong type.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The `tokenizers` crate refused.
    #[error("byte-pair encoding failed: {0}")]
    Bpe(#[source] Box<dyn std::error::Error + Send + Sync>),
}
