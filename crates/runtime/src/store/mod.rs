//! Stores that need no browser, and the tests that every model store must pass.

#[cfg(not(target_arch = "wasm32"))]
mod chats_file;
mod chats_memory;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(not(target_arch = "wasm32"))]
mod files;
mod memory;

#[cfg(not(target_arch = "wasm32"))]
pub use chats_file::FileChats;
pub use chats_memory::MemoryChats;
#[cfg(not(target_arch = "wasm32"))]
pub use files::FileStore;
pub use memory::MemoryStore;
