//! `sessions.*` and `users.*`: the chats that are kept on this device, and whose
//! they are.
//!
//! Wherever a chat is named, its id will do, and so will its short name or the end
//! of it, as long as no other chat's ends the same.

use serde::{Deserialize, Serialize};

use crate::chat::{FinishReason, Role};

/// What a chat came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum SessionKind {
    /// A conversation.
    Chat,
    /// Several chats put together.
    Merged,
    /// Older chats put together and aside.
    Archive,
}

/// Where a chat's title comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum TitleKind {
    /// It has none.
    None,
    /// Made from the conversation.
    Automatic,
    /// The user's own; nothing automatic replaces it.
    Custom,
    /// Made at an import that brought none.
    Imported,
}

/// A chat, without what was said in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct SessionInfo {
    /// Its id; no two chats on any device have the same.
    pub id: String,
    /// A short name that people can type, e.g. `session-20261122-133037`.
    pub name: String,
    /// The name as a person reads it, for a chat without title.
    pub display_name: String,
    /// Its title, if it has one.
    pub title: Option<String>,
    /// Where the title comes from.
    pub title_kind: TitleKind,
    /// What it came from.
    pub kind: SessionKind,
    /// Whether it was put aside.
    pub archived: bool,
    /// The id of the user whose it is.
    pub user: String,
    /// What that user is called.
    pub user_display: String,
    /// The model of its last turn, as the host called it.
    pub model: Option<String>,
    /// Whether personal data was replaced before it was stored; `null` where an
    /// import did not say.
    pub sanitized: Option<bool>,
    /// How many turns it has.
    pub turns: u64,
    /// When it began, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it last changed, in milliseconds since 1970.
    pub updated_ms: i64,
}

/// How far a turn came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum TurnState {
    /// Its reply is stored.
    Complete,
    /// It is being answered.
    Open,
    /// The runtime ended while it was being answered.
    Interrupted,
}

/// One message of a kept chat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct SessionMessage {
    /// Who speaks.
    pub role: Role,
    /// What was said.
    pub content: String,
    /// What the model thought before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// The model that answered; on replies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Whether it is only the beginning of what was to be said: it was stopped, or
    /// it broke off.
    pub partial: bool,
}

/// One turn of a kept chat: what was asked, and the reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct SessionTurn {
    /// Its place in the chat, from 1.
    pub turn: u64,
    /// How far it came.
    pub state: TurnState,
    /// What was said, in order.
    pub messages: Vec<SessionMessage>,
    /// How the reply came about, where that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<TurnTelemetry>,
}

/// How a reply came about, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct TurnTelemetry {
    /// The alias that was asked for.
    pub alias: String,
    /// The kind of backend that answered.
    pub backend: String,
    /// The model that answered.
    pub model: String,
    /// The lane that computed it; `null` where it was not this device.
    pub lane: Option<String>,
    /// Whether any byte of the conversation left the device.
    pub left_device: bool,
    /// How many routes failed before.
    pub n_fallbacks: u64,
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u64>,
    /// Those of them that were still in the KV cache.
    pub cached_tokens: Option<u64>,
    /// Tokens of the reply.
    pub completion_tokens: Option<u64>,
    /// From the call's arrival to the first token.
    pub first_token_ms: Option<f64>,
    /// Tokens of the reply per second of decoding.
    pub tokens_per_second: Option<f64>,
    /// Why the reply ended; `null` where an import brought another word.
    pub finish_reason: Option<FinishReason>,
    /// The model's grade for its own reply, 0 to 10.
    pub score: Option<f64>,
}

/// Params of `sessions.list`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct SessionsListParams {
    /// One user's, by id or name; `*` for everybody's. Default: the current user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The ones put aside instead of the others. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived: Option<bool>,
    /// How many to leave out at the beginning. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// How many to give, at most 500. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// Result of `sessions.list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct SessionsListResult {
    /// The chats, last changed first.
    pub sessions: Vec<SessionInfo>,
    /// How many there are on all pages.
    pub total: u64,
}

/// Params of `sessions.get`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct SessionsGetParams {
    /// The chat.
    pub session: String,
    /// Leave out turns from this one on, to page backwards. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_turn: Option<u64>,
    /// How many turns to give, the last ones first chosen; at most 500. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// Result of `sessions.get`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct SessionsGetResult {
    /// The chat.
    pub session: SessionInfo,
    /// The system prompt in force at its last turn.
    pub system: Option<String>,
    /// Its turns, oldest first.
    pub turns: Vec<SessionTurn>,
    /// Whether there are earlier ones.
    pub has_earlier: bool,
}

/// Params of `sessions.rename`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct SessionsRenameParams {
    /// The chat.
    pub session: String,
    /// Its new title; `null` takes the title away.
    pub title: Option<String>,
}

/// Result of `sessions.rename`, and of `sessions.merge`, whose chat is the new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct SessionResult {
    /// The chat as it is now.
    pub session: SessionInfo,
}

/// Params of `sessions.delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct SessionsDeleteParams {
    /// The chat.
    pub session: String,
}

/// Result of `sessions.delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct SessionsDeleteResult {
    /// The id of the chat that is gone.
    pub deleted: String,
}

/// Params of `sessions.merge`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct SessionsMergeParams {
    /// The chats, in the order in which they are put together; at least two. They stay.
    pub sessions: Vec<String>,
    /// The new chat's title. Default: made from the first three titles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// Params of `sessions.archive`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct SessionsArchiveParams {
    /// The chat to put aside as it is. Without one, all chats of a user but the one
    /// that changed last are put together into one archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// With `session`: `false` takes it back among the others. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived: Option<bool>,
    /// Without `session`: whose chats. Default: the current user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// Result of `sessions.archive`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct SessionsArchiveResult {
    /// The chat as it is now, or the archive; `null` where there was nothing to
    /// put together.
    pub session: Option<SessionInfo>,
    /// How many chats this put aside or took back.
    pub n_sessions: u64,
}

/// Params of `sessions.search`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct SessionsSearchParams {
    /// Words that title, name or text must contain; beginnings of words count.
    pub query: String,
    /// One user's chats, by id or name; `*` for everybody's. Default: the current user's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The ones put aside instead of the others. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived: Option<bool>,
    /// How many to give, at most 500. Default: 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// A piece of a chat's text with what was found in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct Snippet {
    /// The text, on one line.
    pub text: String,
    /// Where the words stand in it: beginning and end of each, in UTF-16 code units.
    pub matches: Vec<[u64; 2]>,
}

/// A chat that a search found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct SearchHit {
    /// The chat.
    pub session: SessionInfo,
    /// Where in its text; `null` when it was found by title, name or model.
    pub snippet: Option<Snippet>,
}

/// Result of `sessions.search`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct SessionsSearchResult {
    /// The chats, last changed first.
    pub hits: Vec<SearchHit>,
    /// Whether there are more than were asked for.
    pub has_more: bool,
}

/// Params of `sessions.export`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct SessionsExportParams {
    /// Only these chats. Default: everything that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<Vec<String>>,
}

/// A file that the runtime made. An object frame carries its bytes as a `Uint8Array`
/// under the key `file` beside these fields; JSON text carries `data_base64`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct ExportedFile {
    /// A name to save it under.
    pub file_name: String,
    /// Its kind, e.g. `application/zip`.
    pub media_type: String,
    /// Its size.
    pub size_bytes: u64,
    /// How many chats are in it.
    pub n_sessions: u64,
    /// Its bytes, in frames of JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
}

/// Params of `sessions.import`. The zip comes as a `File` or `Blob` under the key
/// `file` of an object frame, or as `data_base64`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct SessionsImportParams {
    /// The bytes of a zip, in frames of JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
}

/// What is wrong with a file of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum ImportProblemKind {
    /// Its path leads out of the tree. It was left out.
    BadPath,
    /// It is nothing that belongs into such a tree. It was left out.
    Foreign,
    /// It, or a line of it, is over a cap. That was left out.
    TooLarge,
    /// It is no UTF-8. It is kept as it is, unread.
    NotText,
    /// It, or a line of it, can't be read. It is kept as it is, unread.
    Unreadable,
    /// It describes a chat or a user in a way that is not usable; the rest was taken.
    Unusable,
    /// A chat of that path is there already, with other contents. Both are kept.
    Conflict,
}

/// Something in an import that was not taken as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct ImportProblem {
    /// The file, as it is called.
    pub path: String,
    /// What is wrong.
    pub kind: ImportProblemKind,
    /// More about it, for a person.
    pub detail: String,
}

/// Result of `sessions.import`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct SessionsImportResult {
    /// How many chats came in.
    pub n_sessions: u64,
    /// How many turns they have.
    pub n_turns: u64,
    /// How many chats were there already, the same.
    pub n_unchanged: u64,
    /// How many users were read.
    pub n_users: u64,
    /// How many files are kept for the way back, unread.
    pub n_kept_files: u64,
    /// What was not taken as it is, at most 100 entries.
    pub problems: Vec<ImportProblem>,
    /// How many such entries there are in all.
    pub n_problems: u64,
}

/// A user of this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct UserInfo {
    /// The id, made from the name.
    pub id: String,
    /// The name.
    pub display: String,
    /// How many chats are theirs, those put aside included.
    pub n_sessions: u64,
    /// Whether new chats are theirs.
    pub current: bool,
}

/// Result of `users.list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct UsersListResult {
    /// The current one first, then by name.
    pub users: Vec<UserInfo>,
}

/// Params of `users.set`: whose chats new ones are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct UsersSetParams {
    /// The name, or the id of a user that there is.
    pub user: String,
    /// What the user is called. Default: the name, or what they were called before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
}

/// Result of `users.set`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct UsersSetResult {
    /// The current user.
    pub user: UserInfo,
}
