//! `handle_chat`: one turn of a chat, its notifications and its `meta`.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::frame::Id;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions to the model.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The name that chat templates use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One message, as the runtime understands it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// One message as a host may send it. Entries that are no objects and roles
/// other than the three are dropped; a list of parts is joined with newlines
/// (each part's `text`, else its `value`, or a bare string).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct RequestMessage {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// A string, or a list of parts.
    #[cfg_attr(
        feature = "schema",
        ts(type = "string | Array<string | { text: string } | { value: string }> | null")
    )]
    pub content: Value,
}

/// Texts that end a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[serde(untagged)]
pub enum StopStrings {
    /// Just one.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl StopStrings {
    /// All of them.
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// Params of `handle_chat`. The last message must be the user's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct HandleChatParams {
    /// The conversation so far, oldest first.
    pub messages: Vec<RequestMessage>,
    /// An alias, or a model's id. Default: `nox`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// A chat's id; absent begins a new chat, `null` keeps nothing.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", ts(type = "string | null"))]
    pub session: Option<Option<String>>,
    /// Randomness of the choice; 0 always takes the likeliest token. Default: 0.7.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Choose among the `k` likeliest tokens; 0 means all. Default: 40.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Choose among the likeliest tokens that together reach this share. Default: 0.95.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Leave out tokens less likely than this share of the likeliest. Default: 0.05.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Divides the logits of tokens already used; 1 changes nothing. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat_penalty: Option<f32>,
    /// The same seed, prompt and build give the same reply. Default: random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Ends the reply after so many tokens; -1 means no limit. Default: -1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<i64>,
    /// Texts that end the reply; they are not part of it. Only with `format: "text"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopStrings>,
    /// `"text"`, `"json"` for an object, or a JSON Schema that the reply fits unless
    /// `finish_reason` is `length`. Default: `"text"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        ts(type = "\"text\" | \"json\" | Record<string, unknown>")
    )]
    pub format: Option<Value>,
    /// Send `chat.progress` and `chat.delta` before the result. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// Keep closed `<think>` blocks out of `content`. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strip_reasoning: Option<bool>,
    /// Replace personal data in the user's text before the model sees it. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sanitize: Option<bool>,
    /// Let the model grade its own reply. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_score: Option<bool>,
    /// Whose memory the chat belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_user: Option<String>,
    /// How that user is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_user_display: Option<String>,
    /// The same key twice gives the same reply and keeps one turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// Tells a field that is `null` from one that is absent.
pub(crate) fn present<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// What a chat call is busy with before its first delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum ChatPhase {
    /// Other calls come first; `done` of `total` have ended.
    Queued,
    /// The model is being read; counts are bytes.
    Loading,
    /// The prompt is being evaluated; counts are tokens.
    Prefill,
}

/// Params of the notification `chat.progress`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct ChatProgress {
    /// The call that it belongs to.
    pub id: Id,
    /// What is going on.
    pub phase: ChatPhase,
    /// How much is done, in the phase's unit.
    pub done: u64,
    /// How much there is.
    pub total: u64,
}

/// Params of the notification `chat.delta`. The `text` of all deltas of a call,
/// joined, is the reply's `content`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct ChatDelta {
    /// The call that it belongs to.
    pub id: Id,
    /// Counts the call's deltas from 0.
    pub seq: u64,
    /// More of the reply.
    pub text: String,
    /// More of the reasoning, where the model reasons aloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
}

/// The reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct ReplyMessage {
    /// Always `assistant`.
    pub role: Role,
    /// What was said.
    pub content: String,
    /// What was thought, when it was kept apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
}

/// Result of `handle_chat`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct HandleChatResult {
    /// The reply.
    pub message: ReplyMessage,
    /// How it came about.
    pub meta: ChatMeta,
}

/// How a reply came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct ChatMeta {
    /// Who was asked, and with which settings.
    pub target: ChatTarget,
    /// Which backend answered.
    pub route: Route,
    /// Which code computed the reply; local routes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
    /// Token counts.
    pub usage: Usage,
    /// Where the time went.
    pub timings: Timings,
    /// Why the reply ended.
    pub finish_reason: FinishReason,
    /// The chat that the turn belongs to; absent when nothing is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionMeta>,
    /// The model's grade for its own reply, 0 to 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
    /// Why an instrument was not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instrument_warning: Option<String>,
    /// Where the turn was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_log: Option<String>,
}

/// The sixteen fields by which the original described its target, in its order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct ChatTarget {
    /// Address of the backend; `null` for a local one.
    pub url: Option<String>,
    /// What was asked for: alias or model id.
    pub model: String,
    /// The persona's name.
    pub central_name: String,
    /// The persona's scale.
    pub central_scale: String,
    /// The persona's variant.
    pub noctics_variant: String,
    /// The model that the persona is made for.
    pub model_target: String,
    /// Whether deltas were sent.
    pub stream: bool,
    /// The temperature used.
    pub temperature: f64,
    /// The limit used; -1 for none.
    pub max_tokens: i64,
    /// Whether personal data was replaced.
    pub sanitize: bool,
    /// Whether reasoning was kept apart.
    pub strip_reasoning: bool,
    /// Whether the turn was kept.
    pub logging_enabled: bool,
    /// The model that answered.
    pub target_model: String,
    /// Whether the backend has a key configured.
    pub has_api_key: bool,
    /// The instrument in use.
    pub instrument: Option<String>,
    /// Why the instrument can't be used.
    pub instrument_warning: Option<String>,
}

/// Which backend answered, after which others failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Route {
    /// The alias that was asked for.
    pub alias: String,
    /// The kind of backend that answered: `local` for this device.
    pub backend: String,
    /// The model that answered.
    pub model: String,
    /// Whether any byte of the conversation left the device.
    pub left_device: bool,
    /// Backends that were tried before, oldest first.
    pub fallback_from: Vec<RouteFallback>,
}

/// A backend that was tried and failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct RouteFallback {
    /// The backend.
    pub backend: String,
    /// Why it did not answer.
    pub reason: String,
}

/// The kinds of code that compute a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[serde(rename_all = "kebab-case")]
pub enum LaneKind {
    /// WebGPU kernels.
    Webgpu,
    /// WebAssembly with SIMD, relaxed SIMD and shared memory.
    WasmThreads,
    /// WebAssembly with SIMD and relaxed SIMD.
    WasmRelaxed,
    /// WebAssembly with SIMD.
    WasmSimd,
    /// Machine code.
    Native,
}

/// Which code computed a reply, and why that one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Lane {
    /// The kind of code.
    pub kind: LaneKind,
    /// Threads in use, the calling one included.
    pub threads: u32,
    /// Why this lane was taken.
    pub why: String,
}

/// Token counts of one turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Usage {
    /// Tokens of the prompt, the cached ones included.
    pub prompt_tokens: u64,
    /// Tokens of the prompt that need not be computed: they were still in the KV
    /// cache, or came from storage.
    pub cached_tokens: u64,
    /// Those of them that came from storage.
    #[serde(default)]
    pub restored_tokens: u64,
    /// Tokens of the reply.
    pub completion_tokens: u64,
}

/// Where the time of one turn went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Timings {
    /// Waiting for other calls.
    pub queued_ms: f64,
    /// Reading the model; 0 when it was in memory.
    pub load_ms: f64,
    /// Evaluating the prompt.
    pub prefill_ms: f64,
    /// Making the reply.
    pub decode_ms: f64,
    /// From the call's arrival to the first token; 0 when there was none.
    pub first_token_ms: f64,
    /// Tokens of the reply per second of decoding.
    pub tokens_per_second: f64,
}

/// Why a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended it, or a stop string did.
    Stop,
    /// `max_tokens` or the context was used up.
    Length,
    /// The caller cancelled it.
    Cancelled,
    /// It broke off.
    Error,
}

/// The chat that a turn belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct SessionMeta {
    /// The chat's id.
    pub id: String,
    /// Its title, if it has one.
    pub title: Option<String>,
    /// Counts the chat's turns from 1.
    pub turn: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_null_differs_from_session_absent() {
        let absent: HandleChatParams = serde_json::from_str(r#"{"messages":[]}"#).unwrap();
        let null: HandleChatParams =
            serde_json::from_str(r#"{"messages":[],"session":null}"#).unwrap();
        assert_eq!(absent.session, None);
        assert_eq!(null.session, Some(None));
    }

    #[test]
    fn target_keeps_the_originals_order_of_fields() {
        let target = ChatTarget {
            url: None,
            model: String::new(),
            central_name: String::new(),
            central_scale: String::new(),
            noctics_variant: String::new(),
            model_target: String::new(),
            stream: false,
            temperature: 0.5,
            max_tokens: -1,
            sanitize: false,
            strip_reasoning: true,
            logging_enabled: false,
            target_model: String::new(),
            has_api_key: false,
            instrument: None,
            instrument_warning: None,
        };
        let value = serde_json::to_value(target).unwrap();
        let keys: Vec<&str> = value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            keys.join(", "),
            "url, model, central_name, central_scale, noctics_variant, model_target, stream, \
             temperature, max_tokens, sanitize, strip_reasoning, logging_enabled, target_model, \
             has_api_key, instrument, instrument_warning"
        );
    }
}
