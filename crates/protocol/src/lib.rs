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
pub mod error;
pub mod frame;
pub mod models;
pub mod runtime;
#[cfg(feature = "schema")]
pub mod schema;

pub use chat::{
    ChatDelta, ChatMeta, ChatPhase, ChatProgress, ChatTarget, FinishReason, HandleChatParams,
    HandleChatResult, Lane, LaneKind, Message, ReplyMessage, RequestMessage, Role, Route,
    RouteFallback, SessionMeta, StopStrings, Timings, Usage,
};
pub use error::{ErrorData, ErrorKind, RpcError};
pub use frame::{Id, JsonRpc, Notification, Request, Response, ResponseOutcome, RuntimeFrame};
pub use models::{
    MemoryEstimate, ModelInfo, ModelParams, ModelsImportParams, ModelsImportResult,
    ModelsListResult, ModelsLoadParams, ModelsLoadResult, ModelsRemoveResult, ModelsUnloadResult,
    Progress, ProgressPhase,
};
pub use runtime::{
    BuildInfo, CancelParams, DiedParams, HelloParams, HelloResult, HostInfo, LoadedModel,
    SelfTestCheck, SelfTestResult, SkippedBuild, StatusResult, StorageEstimateResult, StorageInfo,
    StorageKind,
};

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
    /// Notification from the runtime: a piece of a reply.
    pub const CHAT_DELTA: &str = "chat.delta";
    /// Notification from the runtime: what a chat call is waiting for.
    pub const CHAT_PROGRESS: &str = "chat.progress";
    /// Notification from the runtime: how far a long call has come.
    pub const PROGRESS: &str = "progress";
    /// Notification from the runtime: its last word; nothing comes after it.
    pub const DIED: &str = "$/died";
}
