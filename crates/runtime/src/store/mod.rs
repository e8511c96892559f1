//! Stores that need no browser, and the tests that every store must pass.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(not(target_arch = "wasm32"))]
mod files;
mod memory;

#[cfg(not(target_arch = "wasm32"))]
pub use files::FileStore;
pub use memory::MemoryStore;
