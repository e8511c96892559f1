//! The wire types of every front door of the runtime: JSON-RPC 2.0 frames, and
//! the params, results and notifications of each method.
//!
//! This crate is the only place where a wire shape is defined; TypeScript and
//! JSON Schema are generated from it (feature `schema`). It holds no logic: it
//! knows neither how a frame arrives nor what a method does.
//!
//! Field names are snake_case. Optional fields are left out when absent, except
//! where `null` is part of the contract.

pub mod chat;
pub mod command;
pub mod config;
pub mod error;
pub mod frame;
pub mod models;
pub mod persona;
pub mod runtime;
#[cfg(feature = "schema")]
pub mod schema;
pub mod sessions;
pub mod telemetry;

pub use chat::{
    ChatDelta, ChatMeta, ChatPhase, ChatProgress, ChatTarget, FinishReason, HandleChatParams,
    HandleChatResult, Lane, LaneKind, Message, ReplyMessage, RequestMessage, Role, Route,
    RouteFallback, SessionMeta, StopStrings, Timings, Usage,
};
pub use command::{CommandEffect, CommandInfo, CommandParams, CommandResult, CommandsListResult};
pub use config::{ConfigResult, ConfigSetParams, Settings};
pub use error::{ErrorData, ErrorKind, RpcError};
pub use frame::{Id, JsonRpc, Notification, Request, Response, ResponseOutcome, RuntimeFrame};
pub use models::{
    KvType, MemoryEstimate, ModelInfo, ModelParams, ModelParts, ModelsImportParams,
    ModelsImportResult, ModelsListResult, ModelsLoadParams, ModelsLoadResult, ModelsRemoveResult,
    ModelsUnloadResult, Progress, ProgressPhase,
};
pub use persona::{
    PersonaGetParams, PersonaInfo, PersonaResetParams, PersonaResult, PersonaSetParams,
};
pub use runtime::{
    BuildInfo, CancelParams, ChatsInfo, ChatsState, DecoderKind, DiedParams, HelloParams,
    HelloResult, HostInfo, LoadedModel, MemoryUsage, SelfTestCheck, SelfTestResult, SkippedBuild,
    StatusResult, StorageChanged, StorageEstimateResult, StorageInfo, StorageKind,
    StoragePersistResult, StorageTakeOverResult,
};
pub use sessions::{
    ExportedFile, ImportProblem, ImportProblemKind, SearchHit, SessionInfo, SessionKind,
    SessionMessage, SessionResult, SessionTurn, SessionsArchiveParams, SessionsArchiveResult,
    SessionsDeleteParams, SessionsDeleteResult, SessionsExportParams, SessionsGetParams,
    SessionsGetResult, SessionsImportParams, SessionsImportResult, SessionsListParams,
    SessionsListResult, SessionsMergeParams, SessionsRenameParams, SessionsSearchParams,
    SessionsSearchResult, Snippet, TitleKind, TurnState, TurnTelemetry, UserInfo, UsersListResult,
    UsersSetParams, UsersSetResult,
};
pub use telemetry::{FinishCount, ModelTelemetry, TelemetrySummaryParams, TelemetrySummaryResult};

/// The protocol versions that this crate speaks, oldest and newest.
pub const PROTOCOL_VERSIONS: [u32; 2] = [1, 1];

/// Names of the methods and notifications, as they stand in `method`.
pub mod method {
    /// Opens a connection; must come before anything else.
    pub const HELLO: &str = "hello";
    /// One turn of a chat.
    pub const HANDLE_CHAT: &str = "handle_chat";
    /// Notification to the runtime: end a call within one token.
    pub const CANCEL: &str = "$/cancel";
    /// The models on this device.
    pub const MODELS_LIST: &str = "models.list";
    /// Takes a GGUF file into storage.
    pub const MODELS_IMPORT: &str = "models.import";
    /// Deletes a model from storage.
    pub const MODELS_REMOVE: &str = "models.remove";
    /// Loads a model into memory.
    pub const MODELS_LOAD: &str = "models.load";
    /// Frees the memory of the loaded model.
    pub const MODELS_UNLOAD: &str = "models.unload";
    /// What the runtime is, has and does.
    pub const STATUS: &str = "status";
    /// Checks this build's kernels on this device.
    pub const SELF_TEST: &str = "self_test";
    /// Bytes used and free.
    pub const STORAGE_ESTIMATE: &str = "storage.estimate";
    /// The chats that are kept.
    pub const SESSIONS_LIST: &str = "sessions.list";
    /// What was said in a chat.
    pub const SESSIONS_GET: &str = "sessions.get";
    /// Gives a chat another title.
    pub const SESSIONS_RENAME: &str = "sessions.rename";
    /// Deletes a chat.
    pub const SESSIONS_DELETE: &str = "sessions.delete";
    /// Puts chats together into a new one.
    pub const SESSIONS_MERGE: &str = "sessions.merge";
    /// Puts chats aside, or takes one back.
    pub const SESSIONS_ARCHIVE: &str = "sessions.archive";
    /// Finds chats by words.
    pub const SESSIONS_SEARCH: &str = "sessions.search";
    /// Makes a zip of chats.
    pub const SESSIONS_EXPORT: &str = "sessions.export";
    /// Takes chats in from such a zip.
    pub const SESSIONS_IMPORT: &str = "sessions.import";
    /// The users of this device.
    pub const USERS_LIST: &str = "users.list";
    /// Whose new chats are.
    pub const USERS_SET: &str = "users.set";
    /// Who the assistant is.
    pub const PERSONA_GET: &str = "persona.get";
    /// Changes who the assistant is.
    pub const PERSONA_SET: &str = "persona.set";
    /// Takes such changes back.
    pub const PERSONA_RESET: &str = "persona.reset";
    /// The settings and the routing configuration.
    pub const CONFIG_GET: &str = "config.get";
    /// Changes them.
    pub const CONFIG_SET: &str = "config.set";
    /// Carries out a slash command.
    pub const COMMAND: &str = "command";
    /// The slash commands that there are.
    pub const COMMANDS_LIST: &str = "commands.list";
    /// Sums over the turns on this device.
    pub const TELEMETRY_SUMMARY: &str = "telemetry.summary";
    /// Asks the platform not to evict what is stored.
    pub const STORAGE_PERSIST: &str = "storage.persist";
    /// Takes the database of chats over from another tab.
    pub const STORAGE_TAKE_OVER: &str = "storage.take_over";
    /// Notification from the runtime: the database of chats was opened or lost.
    pub const STORAGE_CHANGED: &str = "storage.changed";
    /// Notification from the runtime: a piece of a reply.
    pub const CHAT_DELTA: &str = "chat.delta";
    /// Notification from the runtime: what a chat call is waiting for.
    pub const CHAT_PROGRESS: &str = "chat.progress";
    /// Notification from the runtime: how far a long call has come.
    pub const PROGRESS: &str = "progress";
    /// Notification from the runtime: its last word; nothing comes after it.
    pub const DIED: &str = "$/died";
}
