//! `persona.*`: who the assistant is, and what the user changes about that.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A persona with everything applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct PersonaInfo {
    /// The scale under which it is overridden.
    pub scale: String,
    /// What the assistant calls itself.
    pub central_name: String,
    /// The variant that it belongs to.
    pub variant_name: String,
    /// The model that it is made for.
    pub model_target: String,
    /// How large that model is, in words.
    pub parameter_label: String,
    /// One sentence about it.
    pub tagline: String,
    /// What it is good at.
    pub strengths: Vec<String>,
    /// What it is not good at.
    pub limits: Vec<String>,
    /// `<scale>-tier · <parameter_label>`.
    pub scale_label: String,
    /// One line that says who this is.
    pub summary: String,
}

/// Params of `persona.get`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct PersonaGetParams {
    /// A scale, e.g. `nox` or `nano`. Default: that of the alias `nox`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<String>,
}

/// Result of `persona.get`, `persona.set` and `persona.reset`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct PersonaResult {
    /// The persona as it is now.
    pub persona: PersonaInfo,
    /// The same without anything that the user has set.
    pub builtin: PersonaInfo,
    /// What the user has set: `{"global": {…}, "scales": {"<scale>": {…}}}`.
    #[cfg_attr(
        feature = "schema",
        ts(
            type = "{ global?: Record<string, string | string[]>; scales?: Record<string, Record<string, string | string[]>> }"
        )
    )]
    pub overrides: Value,
    /// The scales that there are.
    pub scales: Vec<String>,
    /// What in the params had no effect, each with the reason.
    pub notices: Vec<String>,
}

/// Params of `persona.set`: some fields, or a whole document of overrides.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct PersonaSetParams {
    /// The scale that the fields are for; `null` for all scales. Default: that of the
    /// alias `nox`.
    #[serde(
        default,
        deserialize_with = "crate::chat::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", ts(type = "string | null"))]
    pub scale: Option<Option<String>>,
    /// Fields and their values; `null` takes one back. Lists may come as text with
    /// `|`, commas or newlines between the items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        ts(type = "Record<string, string | string[] | null>")
    )]
    pub fields: Option<Value>,
    /// A document that takes the place of everything set before:
    /// `{"global": {…}, "scales": {"<scale>": {…}}}`, or scale → fields. It may come
    /// as its JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", ts(type = "Record<string, unknown> | string"))]
    pub overrides: Option<Value>,
}

/// Params of `persona.reset`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct PersonaResetParams {
    /// Only this scale. Default: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<String>,
    /// Only this field. Default: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}
