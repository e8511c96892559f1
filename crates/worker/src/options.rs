//! What the worker's script tells at the start.

use nox_engine::Speculation;
use nox_protocol::SkippedBuild;
use serde::Deserialize;
use wasm_bindgen::JsValue;

/// The options of `start`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StartOptions {
    pub(crate) build: BuildOptions,
    /// Threads to compute with, this one included. Default: 1.
    #[serde(default)]
    pub(crate) threads: Option<usize>,
    /// The user wants just so many. Else up to so many are tried, and the best number
    /// is taken.
    #[serde(default)]
    pub(crate) threads_asked: bool,
    /// The script of a pool thread.
    #[serde(default)]
    pub(crate) pool_url: Option<String>,
    /// The address of this module's script. Default: `<build>/nox_worker.js`
    /// beside the pool's script.
    #[serde(default)]
    pub(crate) module_url: Option<String>,
    /// The address of the built-in model's file.
    pub(crate) builtin_url: String,
    /// Its SHA-256 in hexadecimal.
    #[serde(default)]
    pub(crate) builtin_sha256: Option<String>,
    /// What one model may take. Default: [`DEFAULT_MEMORY_LIMIT_BYTES`].
    #[serde(default)]
    pub(crate) memory_limit_bytes: Option<f64>,
    /// Whether tokens may be guessed and computed ahead. Default: yes.
    #[serde(default)]
    pub(crate) speculation: Option<bool>,
}

/// Which build this is, and why.
#[derive(Debug, Deserialize)]
pub(crate) struct BuildOptions {
    pub(crate) name: String,
    pub(crate) why: String,
    #[serde(default)]
    pub(crate) skipped: Vec<SkippedBuild>,
}

/// Phones end a page at about 1.5 GB, GPU buffers included.
const DEFAULT_MEMORY_LIMIT_BYTES: u64 = 1 << 30;
/// WebAssembly's address space less room for the rest of the program.
const MAX_MEMORY_LIMIT_BYTES: u64 = 3 << 30;

impl StartOptions {
    /// Reads the options.
    ///
    /// # Errors
    /// The text says which field is wrong.
    pub(crate) fn read(options: JsValue) -> Result<Self, String> {
        serde_wasm_bindgen::from_value(options).map_err(|error| format!("start options: {error}"))
    }

    /// What one model may take.
    pub(crate) fn memory_limit_bytes(&self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates"
        )]
        let wished = self.memory_limit_bytes.map(|bytes| bytes as u64);
        let limit = wished
            .filter(|&bytes| bytes > 0)
            .unwrap_or(DEFAULT_MEMORY_LIMIT_BYTES);
        limit.min(MAX_MEMORY_LIMIT_BYTES)
    }

    /// Whether tokens are guessed and computed ahead.
    pub(crate) fn speculation(&self) -> Speculation {
        match self.speculation {
            Some(false) => Speculation::Off,
            Some(true) | None => Speculation::Auto,
        }
    }
}
