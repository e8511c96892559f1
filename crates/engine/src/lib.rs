//! GGUF in, tokens out: reader, tokenizer, chat template, decoder, KV cache, sampler.

mod checksum;
mod clock;
mod constraint;
mod context;
mod decoder;
mod error;
mod f32x4;
mod fallback;
mod generate;
pub mod gguf;
pub mod lane;
mod loader;
mod markup;
mod math;
mod model;
pub mod pool;
mod prompt;
pub mod quant;
pub mod sampler;
pub mod snapshot;
mod source;
mod speculation;
pub mod template;
pub mod tokenizer;
pub mod tuning;

pub use constraint::{OutputFormat, SchemaError, schema_limits};
pub use context::{Context, MAX_LOGITS};
pub use decoder::{
    Activation, AttentionLayer, AttentionTemperature, KvNotFinite, KvOutOfMemory, KvType,
    LayerSpec, Mixer, ModelConfig, ModelError, PREFILL_CHUNK, QkNorm, Rope, RopeKind, YarnRamp,
    supported_architectures,
};
pub use error::EngineError;
pub use generate::{
    FinishReason, GenerateOptions, Generation, MAX_STOP_BYTES, MAX_STOPS, Step, Usage,
};
pub use lane::{CpuLane, Lane, LaneKind};
pub use loader::{
    DEFAULT_N_CTX, LoadOptions, LoadStep, MemoryEstimate, ModelLoader, check_architecture,
    memory_estimate, vocabulary_bytes,
};
pub use model::{DecoderKind, Model};
pub use prompt::{Prompt, PromptOptions};
pub use sampler::SamplingParams;
#[cfg(not(target_arch = "wasm32"))]
pub use source::FileSource;
pub use source::{JoinedSource, ModelSource};
pub use speculation::Speculation;
