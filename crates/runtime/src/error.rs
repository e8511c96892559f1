//! Everything that can go wrong with a call, and the one place where it becomes
//! an error of the protocol.

use nox_core::{CommandError, ConfigError, PersonaError, RequestError, SettingsError};
use nox_engine::gguf::GgufError;
use nox_engine::quant::WeightError;
use nox_engine::sampler::SamplerError;
use nox_engine::template::TemplateError;
use nox_engine::tokenizer::TokenizerError;
use nox_engine::{EngineError, ModelError, SchemaError};
use nox_protocol::{ErrorKind, PROTOCOL_VERSIONS, RpcError};
use nox_store::{StoreError, ZipError};
use serde_json::json;

use crate::chat_routes::RouteFailure;
use crate::model_id::{InvalidModelId, ModelId};
use crate::platform::{StorageError, StreamError};

/// A frame that is no proper call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The text is not JSON, or the value can't be carried as JSON.
    #[error("the frame can't be read: {reason}")]
    Unreadable {
        /// Why.
        reason: String,
    },
    /// Several frames at once.
    #[error("batches are not supported; send one frame at a time")]
    Batch,
    /// Some other value.
    #[error("a frame must be an object")]
    NotAnObject,
    /// No or another version tag.
    #[error("jsonrpc must be \"2.0\"")]
    WrongVersion,
    /// The id has a type that ids can't have.
    #[error("id must be a string or a whole number")]
    BadId,
    /// No method, or one that is no text.
    #[error("method must be a string")]
    BadMethod,
    /// The nonce is missing or not the one of `hello`.
    #[error("the frame does not carry the nonce given in hello")]
    WrongNonce,
    /// A call with this id is going on.
    #[error("a call with id {id} is still open")]
    DuplicateId {
        /// The id.
        id: nox_protocol::Id,
    },
    /// Something else came before `hello`.
    #[error("send hello before {method}")]
    HelloFirst {
        /// What came.
        method: String,
    },
    /// Too many calls at once.
    #[error("{n_open} calls are open; wait for one of them to end")]
    TooManyCalls {
        /// How many.
        n_open: usize,
    },
}

/// Params that don't fit their method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// An array, or something simpler.
    #[error("params must be an object")]
    NotAnObject,
    /// A required field is not there.
    #[error("{field} is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field has the wrong type.
    #[error("{field} must be {expected}")]
    WrongType {
        /// The field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A number is outside its range.
    #[error("{field} must be between {min} and {max}, not {found}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// The least value.
        min: u64,
        /// The greatest value.
        max: u64,
        /// The value that came.
        found: u64,
    },
    /// An id of a model that can't be one.
    #[error(transparent)]
    ModelId(#[from] InvalidModelId),
    /// Host and runtime have no version in common.
    #[error(
        "protocol versions {found_min} to {found_max} are not spoken here; this runtime speaks {} to {}",
        PROTOCOL_VERSIONS[0],
        PROTOCOL_VERSIONS[1]
    )]
    NoCommonVersion {
        /// The host's oldest.
        found_min: u64,
        /// The host's newest.
        found_max: u64,
    },
    /// A list has too few entries.
    #[error("{field} must name at least {min} chats")]
    TooFew {
        /// The field.
        field: &'static str,
        /// How many there have to be.
        min: usize,
    },
    /// A name stands for nothing.
    #[error("{field} names nothing that there is: {found:?}; known: {}", .known.join(", "))]
    UnknownName {
        /// The field.
        field: &'static str,
        /// What it says; shortened if it is long.
        found: String,
        /// All that it may say.
        known: Vec<String>,
    },
    /// Of two fields exactly one has to be there.
    #[error("give either {0} or {1}, and not both")]
    EitherOr(&'static str, &'static str),
    /// A field says something only together with another.
    #[error("{field} needs {other}")]
    Needs {
        /// The field.
        field: &'static str,
        /// The other.
        other: &'static str,
    },
    /// The key was given before, with something else to do.
    #[error("idempotency_key {key:?} was used for another request")]
    KeyReused {
        /// The key.
        key: String,
    },
}

/// An import that can't be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// No bytes are named.
    #[error("give either a file or a url to import from")]
    NoSource,
    /// Two sources are named.
    #[error("give a file or a url, not both")]
    TwoSources,
    /// The file's name does not make an id.
    #[error("no id can be made from {name:?}; give one")]
    NoId {
        /// The name.
        name: String,
    },
    /// The id is taken.
    #[error(
        "there is a model {id} already; remove it first, or import the file under another name"
    )]
    Exists {
        /// The id.
        id: ModelId,
    },
    /// The id is the product's own.
    #[error("{id} is the built-in model; it can't be replaced or removed")]
    Builtin {
        /// The id.
        id: ModelId,
    },
    /// No model is that large.
    #[error("the file has {found_bytes} bytes, more than the {cap_bytes} that are accepted")]
    TooLarge {
        /// Its size.
        found_bytes: u64,
        /// The cap.
        cap_bytes: u64,
    },
    /// It is being imported already.
    #[error("{id} is being imported already")]
    Running {
        /// The id.
        id: ModelId,
    },
    /// The template renders no conversation, however short.
    #[error("the model's chat template refuses every conversation: {reason}")]
    TemplateRefuses {
        /// What it says.
        reason: String,
    },
    /// A part of a split model whose name does not say so, or says something else.
    #[error(
        "the file is part {part} of {count} of a split model; import it under a name that ends in -{part:05}-of-{count:05}"
    )]
    PartName {
        /// Its number, from 1.
        part: usize,
        /// How many there are.
        count: usize,
    },
    /// A part that does not belong to those that are there.
    #[error(
        "the file is part {part} of another model than the files of {id} that are there; import it under another id, or remove {id} first"
    )]
    ForeignPart {
        /// The model's id.
        id: ModelId,
        /// The file's number, from 1.
        part: usize,
    },
    /// The parts that are there are of different models, or some can't be read.
    #[error("the files of {id} that are there can't be used: {reason}")]
    DamagedSet {
        /// The model's id.
        id: ModelId,
        /// Why.
        reason: String,
    },
    /// The file's SHA-256 is not the expected one.
    #[error("the file has SHA-256 {found}, expected {expected}")]
    WrongHash {
        /// What was expected.
        expected: String,
        /// What came.
        found: String,
    },
}

/// A file of chats that can't be taken in or made.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// There is no file.
    #[error("give the zip as a file, or as data_base64")]
    NoSource,
    /// There are two.
    #[error("give the zip as a file or as data_base64, not both")]
    TwoSources,
    /// The text is no base64.
    #[error("data_base64 can't be read: {reason}")]
    NotBase64 {
        /// Why not.
        reason: String,
    },
    /// It is larger than any export.
    #[error("the zip has {found_bytes} bytes or more; at most {cap_bytes} are read")]
    TooLarge {
        /// Its size, as far as it was read.
        found_bytes: u64,
        /// The cap.
        cap_bytes: u64,
    },
    /// It is no zip, or one that can't be taken.
    #[error(transparent)]
    Zip(#[from] ZipError),
}

/// Why chats can't be read or kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChatsError {
    /// Another holds the database.
    #[error(
        "another tab or process has the chats; close it, or take them over with storage.take_over"
    )]
    Busy,
    /// Another holds the database, and was asked in vain to let go.
    #[error("the other tab or process that has the chats does not let go; close it and try again")]
    NotLetGo,
    /// The database could not be opened.
    #[error("the database of chats can't be opened: {reason}")]
    Failed {
        /// Why.
        reason: String,
    },
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The frame is no proper call.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The params don't fit the method.
    #[error(transparent)]
    Params(#[from] ParamError),
    /// The params of `handle_chat` are refused.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// No such method.
    #[error("there is no method {method:?}")]
    UnknownMethod {
        /// The name.
        method: String,
    },
    /// No such model.
    #[error("there is no model {model:?} on this device; {}", installed_text(.installed))]
    UnknownModel {
        /// What was asked for.
        model: String,
        /// The ids that are there.
        installed: Vec<String>,
    },
    /// The model is known, but its file is not there.
    #[error("the model {model} is not on this device: {reason}")]
    NotInstalled {
        /// Its id.
        model: String,
        /// Why not.
        reason: String,
    },
    /// Some of the files that make the model are not there.
    #[error(
        "the model {model} is not complete: it is split into {count} files; import {} too",
        part_names(.model, .missing, *.count)
    )]
    Incomplete {
        /// Its id.
        model: ModelId,
        /// The numbers of those that are missing, from 1.
        missing: Vec<u32>,
        /// How many there are to be.
        count: u32,
    },
    /// The import can't be done.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The engine can't.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The storage can't.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A setting is refused.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The routing configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What is to change about the persona is refused.
    #[error(transparent)]
    Persona(#[from] PersonaError),
    /// A slash command is refused.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A file of chats can't be taken in or made.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// No route gave a reply.
    #[error(transparent)]
    Route(#[from] RouteFailure),
    /// There is no database of chats to work on.
    #[error(transparent)]
    Chats(#[from] ChatsError),
    /// The database of chats refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bytes did not arrive.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// Too many wait for the engine.
    #[error("{n_waiting} calls are waiting already; try again later")]
    Busy {
        /// How many.
        n_waiting: usize,
    },
    /// The model is in use.
    #[error("{model} is in use; cancel the running chat or wait for it")]
    InUse {
        /// Its id.
        model: ModelId,
    },
    /// The caller cancelled the call.
    #[error("cancelled")]
    Cancelled,
}

fn part_names(model: &ModelId, missing: &[u32], count: u32) -> String {
    const MAX_NAMED: usize = 8;
    let named = missing.iter().take(MAX_NAMED);
    let named = named.map(|part| format!("{model}-{part:05}-of-{count:05}"));
    let mut names: Vec<_> = named.collect();
    if missing.len() > MAX_NAMED {
        names.push(format!("{} more", missing.len() - MAX_NAMED));
    }
    names.join(", ")
}

fn installed_text(installed: &[String]) -> String {
    if installed.is_empty() {
        "none is installed".to_owned()
    } else {
        format!("installed: {}", installed.join(", "))
    }
}

impl RuntimeError {
    /// The protocol's name for this failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Frame(FrameError::TooManyCalls { .. })
            | Self::Busy { .. }
            | Self::InUse { .. } => ErrorKind::Busy,
            Self::Frame(_)
            | Self::Params(_)
            | Self::Request(_)
            | Self::Settings(_)
            | Self::Config(_)
            | Self::Persona(_)
            | Self::Command(_)
            | Self::Exchange(_) => ErrorKind::InvalidRequest,
            Self::UnknownMethod { .. } => ErrorKind::UnknownMethod,
            Self::UnknownModel { .. } => ErrorKind::UnknownModel,
            Self::NotInstalled { .. } | Self::Incomplete { .. } => ErrorKind::ModelNotInstalled,
            Self::Import(error) => import_kind(error),
            Self::Engine(error) => engine_kind(error),
            Self::Storage(error) => storage_kind(error),
            Self::Route(error) => error.kind(),
            Self::Chats(error) => chats_kind(error),
            Self::Store(error) => store_kind(error),
            Self::Stream(error) => stream_kind(error),
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }
}

impl RuntimeError {
    /// For a person: what is wrong and what to do about it, then the details.
    pub fn message(&self) -> String {
        match self.advice() {
            Some(advice) => format!("{advice} ({self})"),
            None => self.to_string(),
        }
    }

    /// Plain words for what a person meets when choosing, importing or loading a file.
    /// `None` where the error's own words are plain, or meant for the host's author.
    fn advice(&self) -> Option<&'static str> {
        const DAMAGED: &str =
            "This model file is damaged or not complete. Get it again from where it came from.";
        const TOO_LARGE: &str = "This model is too large for the memory there is. Choose a smaller one, or a shorter context.";
        let error = match self {
            Self::Engine(error) => error,
            Self::Import(ImportError::WrongHash { .. }) => return Some(DAMAGED),
            Self::Import(ImportError::TemplateRefuses { .. }) => {
                return Some("This model can't be used for a chat. Choose another one.");
            }
            Self::Stream(StreamError::Status { .. }) => {
                return Some("There is no file to be had at this address.");
            }
            _ => return None,
        };
        // What is said of parts names the one.
        if let EngineError::Gguf(GgufError::Split(_)) = error {
            return None;
        }
        if let EngineError::Gguf(GgufError::NotGguf { found }) = error {
            return Some(not_a_model(found));
        }
        match engine_kind(error) {
            // To get it again would not help.
            ErrorKind::CorruptModel if matches!(error, EngineError::Template(_)) => Some(
                "This model's instructions for laying out a chat don't work. Choose another model.",
            ),
            ErrorKind::CorruptModel => Some(DAMAGED),
            ErrorKind::OutOfMemory => Some(TOO_LARGE),
            ErrorKind::UnsupportedModel => match error {
                EngineError::Template(TemplateError::Missing) => Some(
                    "This model is not made for chat. Choose one that is; such models often have \
                     \"instruct\" or \"chat\" in their names.",
                ),
                _ => Some("This kind of model is not supported. Choose another one."),
            },
            ErrorKind::StorageFailed => {
                Some("The model file could not be read. Try again, or import it anew.")
            }
            ErrorKind::InvalidRequest => match error {
                EngineError::ContextOverflow { .. } => {
                    Some("The message is too long for this model. Shorten it.")
                }
                _ => None,
            },
            _ => None,
        }
    }
}

/// What was chosen instead of a model, judged by its first bytes.
fn not_a_model(found: &[u8]) -> &'static str {
    match found {
        [] => "This file is empty. Get it again from where it came from.",
        [b'<', ..] => {
            "This is a web page, not a model. Open the address in a browser and download the \
             file itself."
        }
        b"vers" => {
            "This is a pointer to a model, not the model itself. Download the file that it \
             stands for."
        }
        b"PK\x03\x04" => {
            "This is an archive, not a model. Choose a file in the format GGUF; its name usually \
             ends in .gguf."
        }
        _ => {
            "This file is not a model that can be used here. Choose one in the format GGUF; its \
             name usually ends in .gguf."
        }
    }
}

impl From<&RuntimeError> for RpcError {
    fn from(error: &RuntimeError) -> Self {
        let rpc = Self::new(error.kind(), error.message());
        match error {
            RuntimeError::Params(ParamError::NoCommonVersion { .. }) => {
                rpc.with_detail(json!({ "protocol": PROTOCOL_VERSIONS }))
            }
            RuntimeError::Incomplete { missing, count, .. } => {
                rpc.with_detail(json!({ "missing_parts": missing, "n_parts": count }))
            }
            RuntimeError::UnknownModel { installed, .. } => {
                rpc.with_detail(json!({ "installed": installed }))
            }
            RuntimeError::Engine(EngineError::NotEnoughMemory {
                needed_bytes,
                limit_bytes,
                n_ctx,
            }) => rpc.with_detail(json!({
                "needed_bytes": needed_bytes,
                "limit_bytes": limit_bytes,
                "n_ctx": n_ctx,
            })),
            RuntimeError::Engine(EngineError::ContextOverflow { needed, n_ctx }) => {
                rpc.with_detail(json!({ "needed_tokens": needed, "n_ctx": n_ctx }))
            }
            RuntimeError::Storage(StorageError::Full {
                needed_bytes,
                usage,
            }) => rpc.with_detail(json!({
                "needed_bytes": needed_bytes,
                "usage_bytes": usage.usage_bytes,
                "quota_bytes": usage.quota_bytes,
            })),
            RuntimeError::Store(StoreError::Ambiguous { candidates, .. }) => {
                rpc.with_detail(json!({ "candidates": candidates }))
            }
            RuntimeError::Stream(StreamError::Status { status, .. }) => {
                rpc.with_detail(json!({ "status": status }))
            }
            _ => rpc,
        }
    }
}

fn import_kind(error: &ImportError) -> ErrorKind {
    match error {
        ImportError::NoSource
        | ImportError::TwoSources
        | ImportError::NoId { .. }
        | ImportError::Exists { .. }
        | ImportError::Builtin { .. }
        | ImportError::PartName { .. }
        | ImportError::ForeignPart { .. }
        | ImportError::TooLarge { .. } => ErrorKind::InvalidRequest,
        ImportError::Running { .. } => ErrorKind::Busy,
        ImportError::TemplateRefuses { .. } => ErrorKind::UnsupportedModel,
        ImportError::WrongHash { .. } | ImportError::DamagedSet { .. } => ErrorKind::CorruptModel,
    }
}

fn storage_kind(error: &StorageError) -> ErrorKind {
    match error {
        StorageError::NotFound { .. } => ErrorKind::ModelNotInstalled,
        StorageError::Busy { .. } => ErrorKind::StorageBusy,
        StorageError::Full { .. } => ErrorKind::QuotaExceeded,
        StorageError::Failed { .. } => ErrorKind::StorageFailed,
    }
}

fn chats_kind(error: &ChatsError) -> ErrorKind {
    match error {
        ChatsError::Busy | ChatsError::NotLetGo => ErrorKind::StorageBusy,
        ChatsError::Failed { .. } => ErrorKind::StorageFailed,
    }
}

fn store_kind(error: &StoreError) -> ErrorKind {
    match error {
        StoreError::NotFound { .. }
        | StoreError::Ambiguous { .. }
        | StoreError::TooLarge { .. }
        | StoreError::Invalid { .. } => ErrorKind::InvalidRequest,
        StoreError::Full => ErrorKind::QuotaExceeded,
        StoreError::Busy => ErrorKind::StorageBusy,
        StoreError::Newer { .. }
        | StoreError::Foreign { .. }
        | StoreError::Corrupt { .. }
        | StoreError::Unavailable { .. }
        | StoreError::Sqlite(_) => ErrorKind::StorageFailed,
    }
}

fn stream_kind(error: &StreamError) -> ErrorKind {
    match error {
        StreamError::ForeignOrigin { .. } | StreamError::InvalidUrl { .. } => {
            ErrorKind::InvalidRequest
        }
        StreamError::Status { .. } | StreamError::Network { .. } => ErrorKind::Network,
        StreamError::File { .. } => ErrorKind::StorageFailed,
    }
}

fn engine_kind(error: &EngineError) -> ErrorKind {
    match error {
        EngineError::Gguf(error) => gguf_kind(error),
        EngineError::Tokenizer(error) => tokenizer_kind(error),
        EngineError::Template(error) => template_kind(error),
        EngineError::Model(error) => model_kind(error),
        EngineError::Sampler(error) => sampler_kind(error),
        // Weights whose products leave the floats' range.
        EngineError::KvNotFinite(_) => ErrorKind::CorruptModel,
        EngineError::KvOutOfMemory(_) | EngineError::NotEnoughMemory { .. } => {
            ErrorKind::OutOfMemory
        }
        EngineError::ContextOverflow { .. } | EngineError::InvalidOption { .. } => {
            ErrorKind::InvalidRequest
        }
        EngineError::Schema(error) => schema_kind(error),
        // The model's own template and tokenizer made these prompts.
        EngineError::EmptyPrompt | EngineError::UnknownToken { .. } => ErrorKind::CorruptModel,
        EngineError::Threads(_) => ErrorKind::Internal,
        // Whatever could be wrong with the file has been checked before.
        EngineError::Fallback(_) => ErrorKind::Internal,
    }
}

fn schema_kind(error: &SchemaError) -> ErrorKind {
    match error {
        SchemaError::Unsupported { .. }
        | SchemaError::WrongType { .. }
        | SchemaError::TooMuch { .. }
        | SchemaError::Reference { .. }
        | SchemaError::Refused { .. }
        | SchemaError::TooComplex { .. } => ErrorKind::InvalidRequest,
        // It lacks bytes that any text may need.
        SchemaError::NoTokens => ErrorKind::UnsupportedModel,
    }
}

fn gguf_kind(error: &GgufError) -> ErrorKind {
    match error {
        GgufError::Io { .. } => ErrorKind::StorageFailed,
        GgufError::InFile { source, .. } => gguf_kind(source),
        GgufError::BigEndian
        | GgufError::UnsupportedVersion { .. }
        | GgufError::UnknownTensorType { .. } => ErrorKind::UnsupportedModel,
        GgufError::NotGguf { .. }
        | GgufError::Truncated { .. }
        | GgufError::TooLarge { .. }
        | GgufError::InvalidUtf8 { .. }
        | GgufError::UnknownValueType { .. }
        | GgufError::InvalidBool { .. }
        | GgufError::DuplicateKey { .. }
        | GgufError::DuplicateTensor { .. }
        | GgufError::InvalidAlignment { .. }
        | GgufError::DimensionCount { .. }
        | GgufError::ZeroDimension { .. }
        | GgufError::DimensionOverflow { .. }
        | GgufError::RowNotBlocked { .. }
        | GgufError::TensorMisaligned { .. }
        | GgufError::TensorOutOfFile { .. }
        | GgufError::TensorsOverlap { .. }
        | GgufError::Split(_)
        | GgufError::MissingKey { .. }
        | GgufError::WrongType { .. } => ErrorKind::CorruptModel,
    }
}

fn tokenizer_kind(error: &TokenizerError) -> ErrorKind {
    match error {
        TokenizerError::Missing
        | TokenizerError::Unsupported { .. }
        | TokenizerError::UnknownPreTokenizer { .. } => ErrorKind::UnsupportedModel,
        TokenizerError::EmptyVocabulary
        | TokenizerError::LengthMismatch { .. }
        | TokenizerError::NoTokenForByte { .. }
        | TokenizerError::Colliding { .. }
        | TokenizerError::Bpe(_) => ErrorKind::CorruptModel,
        TokenizerError::Gguf(error) => gguf_kind(error),
    }
}

fn template_kind(error: &TemplateError) -> ErrorKind {
    match error {
        TemplateError::Missing | TemplateError::JoinsTemplates { .. } => {
            ErrorKind::UnsupportedModel
        }
        // The template is sound and says that it can't take this conversation.
        TemplateError::Refused(_) => ErrorKind::InvalidRequest,
        TemplateError::TooLarge { .. }
        | TemplateError::Syntax(_)
        | TemplateError::TooExpensive
        | TemplateError::TooNested { .. }
        | TemplateError::Render(_) => ErrorKind::CorruptModel,
        TemplateError::Gguf(error) => gguf_kind(error),
    }
}

fn model_kind(error: &ModelError) -> ErrorKind {
    match error {
        ModelError::Gguf(error) => gguf_kind(error),
        ModelError::Weight(error) => match error {
            WeightError::UnsupportedQuantization { .. } => ErrorKind::UnsupportedModel,
            WeightError::WrongShape { .. } => ErrorKind::CorruptModel,
            WeightError::OutOfMemory { .. } => ErrorKind::OutOfMemory,
            WeightError::Io { .. } => ErrorKind::StorageFailed,
        },
        ModelError::UnsupportedArchitecture { .. }
        | ModelError::UnsupportedFeature { .. }
        | ModelError::UnexpectedTensor { .. } => ErrorKind::UnsupportedModel,
        ModelError::MissingTensor { .. }
        | ModelError::OutOfRange { .. }
        | ModelError::VocabularyMismatch { .. } => ErrorKind::CorruptModel,
    }
}

fn sampler_kind(error: &SamplerError) -> ErrorKind {
    match error {
        SamplerError::OutOfRange { .. } => ErrorKind::InvalidRequest,
        // Weights whose products leave the floats' range.
        SamplerError::NotFinite { .. } | SamplerError::Empty => ErrorKind::CorruptModel,
    }
}
