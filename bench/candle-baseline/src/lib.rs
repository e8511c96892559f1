//! candle-transformers' `quantized_llama` as a web page would use it: read the
//! file, evaluate the prompt, decode greedily token by token. It is what the
//! product would be without an engine of its own, and it is kept plain on purpose:
//! nothing here is tuned, and nothing is slowed down.
//!
//! It has no tokenizer and no clock; the page brings ids and measures.

use std::io::Cursor;

use candle_core::quantized::gguf_file;
use candle_core::{D, Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;
use wasm_bindgen::JsError;
use wasm_bindgen::prelude::wasm_bindgen;

/// A loaded model with its KV cache.
#[wasm_bindgen]
pub struct Baseline {
    weights: ModelWeights,
    n_past: usize,
}

#[wasm_bindgen]
impl Baseline {
    /// Reads a whole GGUF file of a Llama.
    ///
    /// # Errors
    /// candle cannot read it.
    #[wasm_bindgen(constructor)]
    pub fn new(file: &[u8]) -> Result<Self, JsError> {
        let mut reader = Cursor::new(file);
        let content = gguf_file::Content::read(&mut reader)?;
        let weights = ModelWeights::from_gguf(content, &mut reader, &Device::Cpu)?;
        Ok(Self { weights, n_past: 0 })
    }

    /// Evaluates a prompt from an empty cache and gives the likeliest next token.
    ///
    /// # Errors
    /// `tokens` is empty, too long, or holds an id outside the vocabulary.
    pub fn prefill(&mut self, tokens: &[u32]) -> Result<u32, JsError> {
        self.weights.clear_kv_cache();
        self.n_past = 0;
        self.forward(tokens)
    }

    /// Evaluates one more token and gives the likeliest next one.
    ///
    /// # Errors
    /// The cache is full, or the id is outside the vocabulary.
    pub fn decode(&mut self, token: u32) -> Result<u32, JsError> {
        self.forward(&[token])
    }

    fn forward(&mut self, tokens: &[u32]) -> Result<u32, JsError> {
        let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        let logits = self.weights.forward(&input, self.n_past)?;
        self.n_past += tokens.len();
        Ok(logits.argmax(D::Minus1)?.squeeze(0)?.to_scalar()?)
    }
}
