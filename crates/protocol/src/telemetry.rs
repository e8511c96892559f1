//! `telemetry.summary`: sums over the turns on this device. They never leave it by
//! themselves.

use serde::{Deserialize, Serialize};

/// Params of `telemetry.summary`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct TelemetrySummaryParams {
    /// Only turns since then, in milliseconds since 1970. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
}

/// The turns of one model on one lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct ModelTelemetry {
    /// The model.
    pub model: String,
    /// The kind of backend that answered.
    pub backend: String,
    /// The lane that computed the replies; `null` where it was not this device.
    pub lane: Option<String>,
    /// How many turns.
    pub turns: u64,
    /// Tokens of all prompts.
    pub prompt_tokens: u64,
    /// Those of them that were still in the KV cache.
    pub cached_tokens: u64,
    /// Tokens of all replies.
    pub completion_tokens: u64,
    /// Tokens per second of decoding, over all turns.
    pub tokens_per_second: Option<f64>,
    /// Mean time to the first token.
    pub first_token_ms: Option<f64>,
    /// Mean of the model's own grades, 0 to 10.
    pub score: Option<f64>,
}

/// How many turns ended for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct FinishCount {
    /// The reason, as in `meta.finish_reason`.
    pub finish_reason: String,
    /// How many turns.
    pub turns: u64,
}

/// Result of `telemetry.summary`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct TelemetrySummaryResult {
    /// How many turns.
    pub turns: u64,
    /// How many of them left the device.
    pub left_device: u64,
    /// How many were answered by another route than the first.
    pub fell_back: u64,
    /// Turns by why they ended.
    pub finish_reasons: Vec<FinishCount>,
    /// By model and lane, the most used first.
    pub models: Vec<ModelTelemetry>,
}
