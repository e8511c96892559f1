//! The model that candle-transformers has for a file, whichever it is.

use std::io::{Read, Seek};

use candle_core::quantized::gguf_file;
use candle_core::{D, Device, Result, Tensor};
use candle_transformers::models::{quantized_llama, quantized_qwen2};

/// A loaded model with its KV cache.
pub struct Model {
    weights: Weights,
    n_past: usize,
}

enum Weights {
    Llama(quantized_llama::ModelWeights),
    Qwen2(quantized_qwen2::ModelWeights),
}

impl Model {
    /// Reads a GGUF file.
    ///
    /// # Errors
    /// candle cannot read it, or it is of another family.
    pub fn from_gguf<R: Read + Seek>(reader: &mut R) -> Result<Self> {
        let content = gguf_file::Content::read(reader)?;
        let architecture = match content.metadata.get("general.architecture") {
            Some(value) => value.to_string()?.clone(),
            None => candle_core::bail!("the file names no architecture"),
        };
        let device = &Device::Cpu;
        let weights = match architecture.as_str() {
            "llama" => Weights::Llama(quantized_llama::ModelWeights::from_gguf(
                content, reader, device,
            )?),
            "qwen2" => Weights::Qwen2(quantized_qwen2::ModelWeights::from_gguf(
                content, reader, device,
            )?),
            other => candle_core::bail!("no model for {other}"),
        };
        Ok(Self { weights, n_past: 0 })
    }

    /// Evaluates a prompt from an empty cache and gives the likeliest next token.
    ///
    /// # Errors
    /// `tokens` is empty, too long, or holds an id outside the vocabulary.
    pub fn prefill(&mut self, tokens: &[u32]) -> Result<u32> {
        match &mut self.weights {
            Weights::Llama(weights) => weights.clear_kv_cache(),
            Weights::Qwen2(weights) => weights.clear_kv_cache(),
        }
        self.n_past = 0;
        self.forward(tokens)
    }

    /// Evaluates one more token and gives the likeliest next one.
    ///
    /// # Errors
    /// The cache is full, or the id is outside the vocabulary.
    pub fn decode(&mut self, token: u32) -> Result<u32> {
        self.forward(&[token])
    }

    fn forward(&mut self, tokens: &[u32]) -> Result<u32> {
        let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        let logits = match &mut self.weights {
            Weights::Llama(weights) => weights.forward(&input, self.n_past)?,
            Weights::Qwen2(weights) => weights.forward(&input, self.n_past)?,
        };
        self.n_past += tokens.len();
        logits.argmax(D::Minus1)?.squeeze(0)?.to_scalar()
    }
}
