//! candle-transformers' own quantised models as a web page would use them: read the
//! file, evaluate the prompt, decode greedily token by token. It is what the product
//! would be without an engine of its own, and it is kept plain on purpose: nothing here
//! is tuned, and nothing is slowed down.
//!
//! It has no tokenizer and no clock; the page brings ids and measures.

mod model;

use std::io::Cursor;

pub use model::Model;
use wasm_bindgen::JsError;
use wasm_bindgen::prelude::wasm_bindgen;

/// [`Model`] for a page.
#[wasm_bindgen]
pub struct Baseline(Model);

#[wasm_bindgen]
impl Baseline {
    /// Reads a whole GGUF file.
    ///
    /// # Errors
    /// As [`Model::from_gguf`].
    #[wasm_bindgen(constructor)]
    pub fn new(file: &[u8]) -> Result<Self, JsError> {
        Ok(Self(Model::from_gguf(&mut Cursor::new(file))?))
    }

    /// As [`Model::prefill`].
    ///
    /// # Errors
    /// As there.
    pub fn prefill(&mut self, tokens: &[u32]) -> Result<u32, JsError> {
        Ok(self.0.prefill(tokens)?)
    }

    /// As [`Model::decode`].
    ///
    /// # Errors
    /// As there.
    pub fn decode(&mut self, token: u32) -> Result<u32, JsError> {
        Ok(self.0.decode(token)?)
    }
}
