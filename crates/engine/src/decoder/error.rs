//! Why a well-formed GGUF file is not a model that the decoder runs.

use crate::gguf::GgufError;
use crate::quant::WeightError;

/// Why a file's model cannot be run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the fields are named by the messages
pub enum ModelError {
    /// A key of the metadata is missing or of the wrong type.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A tensor's type or shape, or reading it.
    #[error(transparent)]
    Weight(#[from] WeightError),
    #[error("the architecture {found:?} is not supported (supported: {supported})")]
    UnsupportedArchitecture { found: String, supported: String },
    /// Running the model without it would give wrong text without a sign of it.
    #[error("{key} is {found}, which is not supported (supported: {supported})")]
    UnsupportedFeature {
        key: String,
        found: String,
        supported: &'static str,
    },
    #[error("the model has no tensor {tensor:?}, which the architecture {architecture:?} needs")]
    MissingTensor {
        tensor: String,
        architecture: &'static str,
    },
    /// As for `UnsupportedFeature`: a tensor that nothing reads would be missed silently.
    #[error(
        "the model has a tensor {tensor:?}, which the architecture {architecture:?} does not use"
    )]
    UnexpectedTensor {
        tensor: String,
        architecture: &'static str,
    },
    #[error("{key} is {found}, it must be {expected}")]
    OutOfRange {
        key: String,
        found: String,
        expected: String,
    },
    #[error("the tokenizer has {n_tokens} tokens, but the embedding table {n_rows} rows")]
    VocabularyMismatch { n_tokens: usize, n_rows: usize },
}
