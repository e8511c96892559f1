//! A Rust page's client of the runtime: typed calls over gloo-worker.
//!
//! The worker's script does everything else; this crate knows neither builds nor
//! storage. It works in browsers only, so natively it is empty.

#[cfg(target_arch = "wasm32")]
mod client;
#[cfg(target_arch = "wasm32")]
mod codec;
#[cfg(target_arch = "wasm32")]
mod page;

#[cfg(target_arch = "wasm32")]
pub use client::{ChatCall, ChatEvent, NoxClient};
#[cfg(target_arch = "wasm32")]
pub use codec::GlooCodec;
