//! `models.*`: the model files on this device, and the one in memory.

use serde::{Deserialize, Serialize};

use crate::frame::Id;

/// The files of a model that was split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct ModelParts {
    /// How many there are.
    pub count: u32,
    /// The numbers, from 1, of those that are not on this device yet. Until they are,
    /// the model can't be loaded.
    pub missing: Vec<u32>,
}

/// A model on this device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct ModelInfo {
    /// By this name a call asks for it: lower-case letters, digits, `.`, `_` and `-`.
    pub id: String,
    /// The name that the file gives itself.
    pub name: String,
    /// GGUF's `general.architecture`.
    pub architecture: String,
    /// The quantisation that most of its weights have, e.g. `Q4_K`.
    pub quantization: String,
    /// Number of weights.
    pub parameters: u64,
    /// Size of the file, or of all its files that are here.
    pub size_bytes: u64,
    /// Tokens that the model was made to take in.
    pub context_length: u64,
    /// Whether it came with the product.
    pub builtin: bool,
    /// Whether it is in memory now.
    pub loaded: bool,
    /// Where the file states a licence, its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Of a model in several files: which there are. While the first one is missing,
    /// the name is the id and the architecture is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<ModelParts>,
}

/// Result of `models.list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct ModelsListResult {
    /// The built-in one first, then by name.
    pub models: Vec<ModelInfo>,
}

/// Params of `models.import`. The bytes come from `url`, or from a `File` or
/// `Blob` under the key `file` of an object frame (JSON text can't carry one).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct ModelsImportParams {
    /// The id it shall have. Default: made from the file's name. The files of a split
    /// model are told apart by the ends of their names, `-00001-of-00003` and so on;
    /// the id is without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A same-origin address to read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Replace a model of the same id. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<bool>,
}

/// Result of `models.import`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct ModelsImportResult {
    /// The model, ready to be loaded unless it is split and `parts.missing` names more
    /// files.
    pub model: ModelInfo,
    /// SHA-256 of its file, in hexadecimal.
    pub sha256: String,
}

/// Params of `models.remove` and `models.unload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct ModelParams {
    /// A model's id or an alias.
    pub model: String,
}

/// Result of `models.remove`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct ModelsRemoveResult {
    /// The model that is gone.
    pub removed: String,
    /// Bytes that this gave back.
    pub freed_bytes: u64,
}

/// Params of `models.load`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct ModelsLoadParams {
    /// A model's id or an alias.
    pub model: String,
    /// Tokens of context to provide for. Default: as the model has it in memory, else what
    /// it was made for, at most 4096, and less where the memory allows no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_ctx: Option<u64>,
    /// How keys and values are kept. Default: as the model has it in memory, else `f16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_type: Option<KvType>,
}

/// How keys and values of past tokens are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum KvType {
    /// In half precision.
    F16,
    /// In blocks of 32 whole numbers with a scale: about half the memory, and a little
    /// less exact. Not for models whose heads have no multiple of 32 elements, nor for those
    /// that candle-transformers computes.
    Q8,
}

/// Memory that a model needs, worked out before it is loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct MemoryEstimate {
    /// The weights.
    pub weights_bytes: u64,
    /// The KV cache at full context.
    pub kv_bytes: u64,
    /// Room to compute in.
    pub scratch_bytes: u64,
    /// Tokenizer and template.
    pub vocabulary_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
}

/// Result of `models.load`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct ModelsLoadResult {
    /// The model.
    pub model: ModelInfo,
    /// The context that it was given.
    pub n_ctx: u64,
    /// How its keys and values are kept.
    pub kv_type: KvType,
    /// What it takes.
    pub memory: MemoryEstimate,
    /// How long it took; 0 when it was in memory already.
    pub load_ms: f64,
}

/// Result of `models.unload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct ModelsUnloadResult {
    /// Whether it was in memory.
    pub unloaded: bool,
}

/// What a long call is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum ProgressPhase {
    /// Bytes are being copied into storage.
    Copying,
    /// The file is being checked.
    Verifying,
    /// The model is being read into memory.
    Loading,
}

/// Params of the notification `progress`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct Progress {
    /// The call that it belongs to.
    pub id: Id,
    /// What is going on.
    pub phase: ProgressPhase,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all; absent when not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Speed so far; absent in the first moments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<f64>,
    /// Time left at that speed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_ms: Option<f64>,
}
