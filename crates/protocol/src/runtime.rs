//! `hello`, `status`, `storage.estimate`, `self_test`, `$/cancel`: the runtime itself.

use serde::{Deserialize, Serialize};

use crate::chat::{Lane, LaneKind};
use crate::frame::Id;
use crate::models::{KvType, MemoryEstimate, ModelInfo};

/// Who speaks to the runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct HostInfo {
    /// The host program's name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Params of `hello`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct HelloParams {
    /// The oldest and the newest protocol version that the host speaks.
    pub protocol: [u32; 2],
    /// The host.
    pub host: HostInfo,
    /// When given, every later frame must carry it, in both directions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

/// A build that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct SkippedBuild {
    /// Its name in `wasm-pack.toml`.
    pub name: String,
    /// Why not.
    pub reason: String,
}

/// Which build of the runtime is running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct BuildInfo {
    /// Its name in `wasm-pack.toml`, or `native`.
    pub name: String,
    /// The product's version.
    pub version: String,
    /// Why this build was taken.
    pub why: String,
    /// Better builds that were passed over, best first.
    pub skipped: Vec<SkippedBuild>,
}

/// Where models or chats are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum StorageKind {
    /// The origin private file system.
    Opfs,
    /// Files of the operating system.
    Files,
    /// Memory: gone when the runtime ends.
    Memory,
}

/// The storage in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct StorageInfo {
    /// Its kind.
    pub kind: StorageKind,
    /// Why it is not the best kind, or what is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// Whether chats can be read and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum ChatsState {
    /// The database is being opened.
    Opening,
    /// They can.
    Open,
    /// Another tab or process has the database; `storage.take_over` asks it to let go.
    Busy,
    /// The database can't be opened.
    Failed,
}

/// The database of chats, users and settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct ChatsInfo {
    /// Whether it can be used.
    pub state: ChatsState,
    /// Where it lies.
    pub kind: StorageKind,
    /// Its size, while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// What the user should know: that nothing is kept, or that a damaged database
    /// was put aside and where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// Params of the notification `storage.changed`: the database was opened, or another
/// tab has taken it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct StorageChanged {
    /// The database as it is now.
    pub chats: ChatsInfo,
}

/// Result of `hello`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct HelloResult {
    /// The version that both sides will speak.
    pub protocol: u32,
    /// The build that is running.
    pub build: BuildInfo,
    /// Changes whenever the runtime restarts.
    pub instance: String,
    /// The lanes that this device can take, best first.
    pub lanes: Vec<Lane>,
    /// Where models are kept.
    pub storage: StorageInfo,
    /// Where chats are kept.
    pub chats: ChatsInfo,
    /// The models on this device.
    pub models: Vec<ModelInfo>,
}

/// Params of the notification `$/cancel`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct CancelParams {
    /// The call to end.
    pub id: Id,
}

/// Params of the notification `$/died`: the runtime met a defect of its own and
/// has ended. Open calls are lost; a new runtime can be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct DiedParams {
    /// What happened, for a bug report.
    pub message: String,
    /// Whether a new runtime may fare better. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
}

/// What computes a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum DecoderKind {
    /// The engine's own decoder.
    Own,
    /// candle-transformers, for what the own decoder lacks: slower and larger, and a
    /// prompt that does not go on from the one before is computed anew.
    Candle,
}

/// The model in memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct LoadedModel {
    /// Its id.
    pub id: String,
    /// Its context.
    pub n_ctx: u64,
    /// How keys and values are kept.
    pub kv_type: KvType,
    /// Tokens that are in the KV cache.
    pub n_past: u64,
    /// The lane that computes it.
    pub lane: Lane,
    /// What computes it there.
    pub decoder: DecoderKind,
    /// What it takes.
    pub memory: MemoryEstimate,
}

/// Memory of the whole runtime, as the platform tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct MemoryUsage {
    /// Bytes that it takes now. In a browser this is the size of the WebAssembly
    /// memory, of which nothing is given back before the worker ends: what was freed is
    /// used again.
    pub resident_bytes: Option<u64>,
    /// The most that it took.
    pub peak_bytes: Option<u64>,
}

/// Result of `status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct StatusResult {
    /// The build that is running.
    pub build: BuildInfo,
    /// Changes whenever the runtime restarts.
    pub instance: String,
    /// Time since it started.
    pub uptime_ms: f64,
    /// The kind of lane that this build computes with.
    pub lane: LaneKind,
    /// The instructions that the lane's kernels use here, for reports: `relaxed-32`.
    pub kernels: String,
    /// Threads in use, the calling one included.
    pub threads: u32,
    /// Where that number comes from: asked for, or measured.
    pub threads_why: String,
    /// The model in memory.
    pub model: Option<LoadedModel>,
    /// What the runtime takes.
    pub memory: MemoryUsage,
    /// Chat calls that are running or waiting.
    pub active_calls: u64,
    /// Chat calls that have ended.
    pub completed_calls: u64,
    /// Where models are kept.
    pub storage: StorageInfo,
    /// Where chats are kept.
    pub chats: ChatsInfo,
}

/// Result of `storage.persist`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct StoragePersistResult {
    /// Whether the platform promised not to evict what is stored; `null` where it
    /// knows no such promise.
    pub persisted: Option<bool>,
}

/// Result of `storage.take_over`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct StorageTakeOverResult {
    /// The database, which is open now.
    pub chats: ChatsInfo,
}

/// Result of `storage.estimate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct StorageEstimateResult {
    /// Bytes in use by this origin, as the platform tells.
    pub usage_bytes: Option<u64>,
    /// Bytes that it may use, as the platform tells; writes can fail before.
    pub quota_bytes: Option<u64>,
    /// Bytes of the model files.
    pub models_bytes: u64,
    /// Bytes of the database of chats; `null` while it is not open.
    pub chats_bytes: Option<u64>,
    /// Bytes of what was computed and kept for warm starts.
    #[serde(default)]
    pub snapshots_bytes: u64,
    /// Whether the platform promised not to evict them.
    pub persisted: Option<bool>,
}

/// One thing that `self_test` looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
#[cfg_attr(feature = "schema", ts(optional_fields))]
pub struct SelfTestCheck {
    /// What was checked.
    pub name: String,
    /// Whether it is as it should be.
    pub passed: bool,
    /// What was found instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Result of `self_test`: this build's kernels against their scalar twins, on
/// this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, ts_rs::TS))]
pub struct SelfTestResult {
    /// Whether every check passed.
    pub passed: bool,
    /// All checks.
    pub checks: Vec<SelfTestCheck>,
}
