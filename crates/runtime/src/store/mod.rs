//! Stores that need no browser, and the tests that every model store and every
//! snapshot store must pass.

#[cfg(not(target_arch = "wasm32"))]
mod chats_file;
mod chats_memory;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(not(target_arch = "wasm32"))]
mod files;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod folder;
mod memory;
#[cfg(not(target_arch = "wasm32"))]
mod snapshots_files;
mod snapshots_memory;

#[cfg(not(target_arch = "wasm32"))]
pub use chats_file::FileChats;
pub use chats_memory::MemoryChats;
#[cfg(not(target_arch = "wasm32"))]
pub use files::FileStore;
pub use memory::MemoryStore;
#[cfg(not(target_arch = "wasm32"))]
pub use snapshots_files::FileSnapshots;
pub use snapshots_memory::MemorySnapshots;
