//! The runtime behind every door: a connection takes JSON-RPC frames, the method
//! table answers them, and chats, models and storage are put together here.
//!
//! It knows no platform. Storage, time, the network and the event loop come in
//! through [`Platform`], [`ModelStore`], [`SnapshotStore`] and [`ChatDatabase`]; how
//! frames travel is the doors' matter.
//! It is single-threaded: everything runs on the event loop that
//! [`Platform::spawn`] stands for, and long work gives way to it between steps.

mod backend;
mod builtin;
mod catalogue;
mod chat;
mod chat_order;
mod chat_replies;
mod chat_routes;
mod chat_teller;
mod chat_turn;
mod chats;
mod claim;
mod connection;
mod error;
mod import;
mod loader;
mod methods;
mod model_id;
mod models;
mod params;
mod platform;
#[cfg(not(target_arch = "wasm32"))]
mod process_memory;
mod progress;
mod queue;
mod runtime;
mod status;
pub mod store;
mod stored;
mod warm;

pub use builtin::BuiltinModel;
pub use chat_routes::{BackendFailure, HostBackend, RouteFailure};
pub use connection::{Attachment, Connection, Outgoing, OutgoingFile};
pub use error::{ChatsError, ExchangeError, FrameError, ImportError, ParamError, RuntimeError};
pub use model_id::{InvalidModelId, ModelId};
pub use platform::{
    ByteStream, ChatDatabase, FixedThreads, ModelStore, ModelWriter, OpenError, Platform,
    SnapshotStore, StorageError, StoreUsage, StoredModel, StoredSnapshot, StreamError, ThreadTuner,
};
#[cfg(not(target_arch = "wasm32"))]
pub use process_memory::process_memory;
pub use runtime::{DEFAULT_SNAPSHOT_BUDGET_BYTES, Runtime, RuntimeOptions};
pub use warm::SnapshotName;
