//! `config.*`: the user's settings, and the routing configuration.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the user has set. A call's own params go first, then its alias's options,
/// then these, then the defaults that `handle_chat` names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct Settings {
    /// The alias or model id that answers where a call names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The system prompt of chats that bring none. It may hold placeholders such as
    /// `{{NOX_NAME}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// As in `handle_chat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// As in `handle_chat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<i64>,
    /// As in `handle_chat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strip_reasoning: Option<bool>,
    /// As in `handle_chat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sanitize: Option<bool>,
    /// As in `handle_chat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_score: Option<bool>,
    /// The alias that may be asked when the model asks for help or grades its reply
    /// low. What it is asked may leave the device; absent means that nobody is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instrument: Option<String>,
    /// How many of the last turns are sent to the model. Default: as many as fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_turns: Option<u64>,
    /// Whether chats are kept where a call does not say. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_chats: Option<bool>,
    /// Room in storage for what was computed for chats that are kept, so that after a
    /// reload they go on at once; in MiB. 0 keeps nothing and removes what there is.
    /// Default: what the host gives, 256 in a browser.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_start_mib: Option<u64>,
}

/// Params of `config.set`. What is left out stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct ConfigSetParams {
    /// Settings to change; `null` takes one back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        ts(type = "{ [K in keyof Settings]: Settings[K] | null }")
    )]
    pub settings: Option<Value>,
    /// A whole routing configuration (`runtime.json`, version 1), or its JSON text;
    /// `null` goes back to the product's own.
    #[serde(
        default,
        deserialize_with = "crate::chat::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(
        feature = "schema",
        ts(type = "Record<string, unknown> | string | null")
    )]
    pub runtime: Option<Option<Value>>,
}

/// Result of `config.get` and `config.set`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct ConfigResult {
    /// What the user has set.
    pub settings: Settings,
    /// The routing configuration in force (`runtime.json`, version 1).
    #[cfg_attr(feature = "schema", ts(type = "Record<string, unknown>"))]
    pub runtime: Value,
    /// Whether that is the user's own.
    pub is_runtime_custom: bool,
    /// The aliases of the configuration, in its order.
    pub aliases: Vec<String>,
}
