//! The runtime in a dedicated web worker: its doors, and the platform under it.
//!
//! Everything that names the browser stands here: postMessage and gloo-worker,
//! OPFS, fetch, clocks, nested workers as threads. What a frame means is
//! `nox-runtime`'s matter. The crate works in a browser only, so natively it is
//! empty.

#[cfg(target_arch = "wasm32")]
mod chats;
#[cfg(all(target_arch = "wasm32", feature = "conformance"))]
mod conformance;
#[cfg(target_arch = "wasm32")]
mod death;
#[cfg(target_arch = "wasm32")]
mod door;
#[cfg(all(target_arch = "wasm32", feature = "conformance"))]
mod faults;
#[cfg(target_arch = "wasm32")]
mod folders;
#[cfg(target_arch = "wasm32")]
mod gloo_door;
#[cfg(target_arch = "wasm32")]
mod js;
#[cfg(target_arch = "wasm32")]
mod kept_threads;
#[cfg(target_arch = "wasm32")]
mod opfs;
#[cfg(target_arch = "wasm32")]
mod options;
#[cfg(target_arch = "wasm32")]
mod platform;
#[cfg(target_arch = "wasm32")]
mod snapshots;
#[cfg(target_arch = "wasm32")]
mod start;
#[cfg(target_arch = "wasm32")]
mod streams;
#[cfg(target_arch = "wasm32")]
mod threads;

#[cfg(all(target_arch = "wasm32", feature = "conformance"))]
pub use conformance::{compare_recording, store_scale};
#[cfg(all(target_arch = "wasm32", feature = "conformance"))]
pub use faults::{panic_in_pool, panic_now, trap_in_pool, trap_now};
#[cfg(all(target_arch = "wasm32", feature = "conformance"))]
pub use start::{check_chats, check_storage};
#[cfg(target_arch = "wasm32")]
pub use start::{pool_worker_main, start};
