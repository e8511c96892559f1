//! What the decoder lacks, run by candle-transformers.
//!
//! A [`Plan`] says whether a file is of a family that is run here and checks all that
//! candle would trust: the sizes, every tensor's shape and type. [`Fallback`] is such a
//! model in memory, and [`Running`] one conversation with it.
//!
//! It is slower and larger than the decoder: candle makes f32 of the embedding table
//! and of all that is not quantised, keeps keys and values in f32, copies them for
//! every token, computes on one thread in WebAssembly, and loads in one step. Its cache
//! can't go back, so a prompt that does not go on from what is held is computed anew.
//! The numbers may differ in their last bits with how a prompt is cut; the decoder's
//! promise of equal bits is not made here.
//!
//! This module knows neither text nor sampling.

mod content;
mod family;

use candle_core::{Device, Tensor};
use candle_transformers::models::{quantized_llama, quantized_phi};

use crate::decoder::{ModelError, PREFILL_CHUNK};
use crate::error::EngineError;
use crate::gguf::{Gguf, GgufError, TensorInfo};
use crate::loader::{MemoryEstimate, SAMPLED_TOKEN_BYTES};
use crate::source::ModelSource;
use content::{SourceReader, content};
use family::{Family, Kind, Sizes, Wanted};

pub(crate) use family::fallback_architectures;

/// Candle's tables for RoPE are this long.
const N_CTX_CAP: usize = 4096;

/// A checked file of a family that candle-transformers runs.
pub(crate) struct Plan {
    family: &'static Family,
    sizes: Sizes,
    name: Option<String>,
    tensors: Vec<(Wanted, TensorInfo)>,
}

/// A model as candle-transformers holds it, with keys and values of its own. A copy
/// shares the weights.
#[derive(Clone)]
pub(crate) enum Weights {
    Llama(quantized_llama::ModelWeights),
    Phi2(quantized_phi::ModelWeights),
}

/// A model in memory.
pub(crate) struct Fallback {
    plan: Box<Plan>,
    weights: Weights,
}

/// A conversation with a [`Fallback`].
pub(crate) struct Running {
    weights: Weights,
    n_past: usize,
    kv_bytes_per_token: usize,
}

/// Whether candle-transformers is used for files like this one.
pub(crate) fn is_of_family(gguf: &Gguf) -> Result<bool, ModelError> {
    Ok(Family::of(gguf)?.is_some())
}

/// How many threads candle computes with.
pub(crate) fn n_threads() -> usize {
    match cfg!(target_arch = "wasm32") {
        true => 1,
        false => candle_core::utils::get_num_threads(),
    }
}

impl Plan {
    /// `None`: candle-transformers does not run such a model either.
    ///
    /// # Errors
    /// It runs the family, but not this file; or the file is broken.
    pub(crate) fn from_gguf(gguf: &Gguf) -> Result<Option<Self>, ModelError> {
        let Some(family) = Family::of(gguf)? else {
            return Ok(None);
        };
        let sizes = family.sizes(gguf)?;
        let tensors = family::plan(family, &sizes, gguf)?;
        let name = gguf.metadata().str("general.name").ok().map(str::to_owned);
        Ok(Some(Self {
            family,
            sizes,
            name,
            tensors,
        }))
    }

    pub(crate) fn architecture(&self) -> &'static str {
        self.family.architecture
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn n_vocab(&self) -> usize {
        self.sizes.n_vocab
    }

    /// The longest context: what the model was trained for, or what candle's tables hold.
    pub(crate) fn n_ctx_max(&self) -> usize {
        self.sizes.n_ctx_train.min(N_CTX_CAP)
    }

    /// Bytes of the tensors in the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        let tensors = self.tensors.iter();
        tensors.map(|(_, tensor)| tensor.size_bytes).sum()
    }

    pub(crate) fn memory_estimate(&self, gguf: &Gguf, n_ctx: usize) -> MemoryEstimate {
        let sizes = &self.sizes;
        let weights_bytes = self.weights_bytes();
        let n_ctx = n_ctx as u64;
        let (n_q, n_kv) = (sizes.n_q() as u64, sizes.n_kv() as u64);
        let n_layer = sizes.n_layer as u64;
        let kv_bytes = 2 * 4 * n_layer * n_kv * n_ctx;
        let chunk = PREFILL_CHUNK as u64;
        // A layer's keys and values are copied when they grow, and again for every
        // query head; scores exist before and after scale, mask and softmax.
        let attention = 2 * (n_kv + 2 * n_q) * n_ctx + 4 * chunk * sizes.n_head as u64 * n_ctx;
        let per_token = 6 * sizes.n_embd as u64 + 4 * sizes.n_ff as u64 + 4 * n_q;
        let rope = N_CTX_CAP as u64 * sizes.n_rot as u64;
        let logits = 2 * sizes.n_vocab as u64;
        // Masks are kept for every chunk that there was.
        let masks = n_ctx * n_ctx;
        let sampling = SAMPLED_TOKEN_BYTES * sizes.n_vocab as u64;
        let scratch = 4 * (attention + chunk * per_token + rope + logits) + masks + sampling;
        // While a tensor is read it is there twice, but then there is no context yet.
        let largest = self.tensors.iter().map(|(_, tensor)| tensor.size_bytes);
        let reading = largest.max().unwrap_or(0).saturating_sub(kv_bytes);
        let scratch_bytes = scratch.max(reading);
        MemoryEstimate::new(gguf, weights_bytes, kv_bytes, scratch_bytes)
    }

    /// The weights as candle holds them.
    fn weights_bytes(&self) -> u64 {
        let f32_bytes = |tensor: &TensorInfo| 4 * tensor.n_elements() as u64;
        let as_matrix = |tensor: &TensorInfo| match tensor.quant.block_len() {
            1 => f32_bytes(tensor),
            _ => tensor.size_bytes,
        };
        let is_tied = !self.tensors.iter().any(|(wanted, _)| wanted.is_head);
        let tensors = self.tensors.iter();
        let bytes = tensors.map(|(wanted, tensor)| match wanted.kind {
            Kind::Vector => f32_bytes(tensor),
            Kind::Matrix => as_matrix(tensor),
            Kind::Table if is_tied => f32_bytes(tensor) + as_matrix(tensor),
            Kind::Table => f32_bytes(tensor),
        });
        bytes.sum()
    }

    /// Reads everything, in one step: candle offers no smaller ones.
    ///
    /// # Errors
    /// The source fails, or candle does.
    pub(crate) fn read(&self, source: &dyn ModelSource) -> Result<Weights, EngineError> {
        let mut reader = SourceReader::new(source);
        let content = content(self);
        let device = &Device::Cpu;
        let weights = match self.family.architecture {
            "llama" => quantized_llama::ModelWeights::from_gguf(content, &mut reader, device)
                .map(Weights::Llama),
            _ => quantized_phi::ModelWeights::from_gguf(content, &mut reader, device)
                .map(Weights::Phi2),
        };
        // Candle takes a head that it can't read for one that is not there.
        if let Some((offset, n_bytes, source)) = reader.into_failure() {
            let error = GgufError::Io {
                offset,
                n_bytes,
                source,
            };
            return Err(error.into());
        }
        weights.map_err(EngineError::Fallback)
    }
}

impl Fallback {
    /// `weights` is what `plan` has read.
    pub(crate) fn new(plan: Box<Plan>, weights: Weights) -> Self {
        Self { plan, weights }
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) fn start(&self) -> Running {
        let sizes = &self.plan.sizes;
        Running {
            weights: self.weights.clone(),
            n_past: 0,
            kv_bytes_per_token: 2 * 4 * sizes.n_layer * sizes.n_kv(),
        }
    }
}

impl Running {
    /// Computes `tokens` after those before, and what follows the last.
    ///
    /// # Errors
    /// Candle fails.
    pub(crate) fn forward(
        &mut self,
        tokens: &[u32],
        logits: &mut [f32],
    ) -> Result<(), EngineError> {
        let found = self.compute(tokens).map_err(EngineError::Fallback)?;
        logits.copy_from_slice(&found);
        self.n_past += tokens.len();
        Ok(())
    }

    /// The bytes that keys and values take now.
    pub(crate) fn kv_size_bytes(&self) -> usize {
        self.kv_bytes_per_token * self.n_past
    }

    fn compute(&mut self, tokens: &[u32]) -> candle_core::Result<Vec<f32>> {
        let tokens = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        let logits = match &mut self.weights {
            Weights::Llama(model) => model.forward(&tokens, self.n_past),
            Weights::Phi2(model) => model.forward(&tokens, self.n_past),
        };
        logits?.flatten_all()?.to_vec1()
    }
}
