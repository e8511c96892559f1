//! What a model is made of, read from GGUF metadata and checked once.
//!
//! A family (`llama`, `qwen2`, …) contributes the few facts that no metadata key
//! tells; everything else comes from the file. The result is one description for
//! all families, down to [`LayerSpec`], and the decoder reads nothing else: it does
//! not know which family it runs.

use std::fmt;

use super::error::ModelError;
use crate::gguf::{Gguf, Metadata, OptionalKey as _};

/// Caps on what a file may claim; far above every published model.
pub(crate) const MAX_LAYERS: usize = 1024;
/// See [`MAX_LAYERS`].
pub(crate) const MAX_EMBD: usize = 1 << 16;
/// See [`MAX_LAYERS`].
pub(crate) const MAX_FF: usize = 1 << 20;
/// See [`MAX_LAYERS`].
pub(crate) const MAX_HEADS: usize = 1024;
/// See [`MAX_LAYERS`].
pub(crate) const MAX_HEAD_DIM: usize = 1024;
/// See [`MAX_LAYERS`].
pub(crate) const MAX_VOCAB: usize = 1 << 22;
/// See [`MAX_LAYERS`].
pub(crate) const MAX_CTX: usize = 1 << 24;

/// Which elements of a head RoPE rotates together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeKind {
    /// Neighbours: `(2i, 2i + 1)`; ggml's `NORM`.
    Interleaved,
    /// Halves: `(i, i + n_rot / 2)`; ggml's `NEOX`.
    Halves,
}

/// The gate's non-linearity in the feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)`
    Silu,
    /// The Gaussian error linear unit, tanh approximation.
    GeluTanh,
}

/// What one layer does.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSpec {
    /// Query, key and value have biases.
    pub qkv_bias: bool,
    /// The attention's output has a bias.
    pub output_bias: bool,
    /// Each head's query and key are normalised before RoPE.
    pub qk_norm: bool,
    /// Attention's and the feed-forward part's results are normalised before they are added.
    pub post_norms: bool,
    /// Attention sees this many positions, its own included; `None` sees all.
    pub window: Option<usize>,
    /// The base of RoPE's frequencies.
    pub rope_freq_base: f32,
    /// Multiplies positions (1 / the linear scaling factor).
    pub rope_freq_scale: f32,
}

/// A model's sizes and constants, and its layers.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The family's name in GGUF.
    pub architecture: &'static str,
    /// `general.name`.
    pub name: Option<String>,
    /// Length of the residual stream.
    pub n_embd: usize,
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads; `n_head` is a multiple.
    pub n_head_kv: usize,
    /// Elements per head.
    pub head_dim: usize,
    /// Elements per head that RoPE rotates.
    pub n_rot: usize,
    /// Width of the feed-forward part.
    pub n_ff: usize,
    /// Rows of the embedding table.
    pub n_vocab: usize,
    /// The context length that the model was trained for.
    pub n_ctx_train: usize,
    /// Added to the mean square in every norm.
    pub norm_eps: f32,
    /// Multiplies embeddings.
    pub embedding_scale: f32,
    /// Multiplies query · key.
    pub attention_scale: f32,
    /// Attention scores become `cap · tanh(score / cap)`.
    pub attention_logit_cap: Option<f32>,
    /// Logits become `cap · tanh(logit / cap)`.
    pub final_logit_cap: Option<f32>,
    /// The feed-forward part's non-linearity.
    pub activation: Activation,
    /// How RoPE pairs elements.
    pub rope_kind: RopeKind,
    /// The layers in order.
    pub layers: Vec<LayerSpec>,
}

/// What only the family's name tells.
struct Family {
    name: &'static str,
    rope_kind: RopeKind,
    activation: Activation,
    /// `None`: as the file has it.
    qkv_bias: Option<bool>,
    qk_norm: bool,
    post_norms: bool,
    scales_embeddings: bool,
    /// Of so many layers the last sees everything and the others through a window.
    window_pattern: Option<usize>,
    /// RoPE's base in layers with a window.
    window_freq_base: f32,
}

const LLAMA: Family = Family {
    name: "llama",
    rope_kind: RopeKind::Interleaved,
    activation: Activation::Silu,
    qkv_bias: None,
    qk_norm: false,
    post_norms: false,
    scales_embeddings: false,
    window_pattern: None,
    window_freq_base: 10_000.0,
};

/// # Source
/// llama.cpp, `src/models/` and `llama_model::load_hparams`.
const FAMILIES: &[Family] = &[
    LLAMA,
    Family {
        name: "qwen2",
        rope_kind: RopeKind::Halves,
        qkv_bias: Some(true),
        ..LLAMA
    },
    Family {
        name: "qwen3",
        rope_kind: RopeKind::Halves,
        qkv_bias: Some(false),
        qk_norm: true,
        ..LLAMA
    },
    Family {
        name: "gemma3",
        rope_kind: RopeKind::Halves,
        activation: Activation::GeluTanh,
        qkv_bias: Some(false),
        qk_norm: true,
        post_norms: true,
        scales_embeddings: true,
        window_pattern: Some(6),
        ..LLAMA
    },
];

/// The architectures that the decoder runs, as GGUF names them.
pub fn supported_architectures() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|family| family.name)
}

impl ModelConfig {
    /// Reads and checks a file's model description.
    ///
    /// # Errors
    /// The architecture is unknown, a key is missing or out of range, or the file
    /// asks for something that the decoder does not do.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, ModelError> {
        let found = gguf.architecture()?;
        let family = FAMILIES
            .iter()
            .find(|family| family.name == found)
            .ok_or_else(|| ModelError::UnsupportedArchitecture {
                found: found.to_owned(),
                supported: supported_architectures().collect::<Vec<_>>().join(", "),
            })?;
        let keys = Keys {
            metadata: gguf.metadata(),
            architecture: family.name,
        };
        keys.refuse_experts()?;
        let sizes = Sizes::read(&keys, gguf)?;
        let rope = Rope::read(&keys, &sizes)?;
        let config = Self {
            architecture: family.name,
            name: gguf
                .metadata()
                .str("general.name")
                .optional()?
                .map(str::to_owned),
            n_embd: sizes.n_embd,
            n_head: sizes.n_head,
            n_head_kv: sizes.n_head_kv,
            head_dim: sizes.head_dim,
            n_rot: rope.n_rot,
            n_ff: sizes.n_ff,
            n_vocab: sizes.n_vocab,
            n_ctx_train: sizes.n_ctx_train,
            norm_eps: keys.positive_f32("attention.layer_norm_rms_epsilon")?,
            embedding_scale: if family.scales_embeddings {
                (sizes.n_embd as f32).sqrt()
            } else {
                1.0
            },
            attention_scale: attention_scale(family, &keys, &sizes)?,
            attention_logit_cap: keys.optional_positive_f32("attn_logit_softcapping")?,
            final_logit_cap: keys.optional_positive_f32("final_logit_softcapping")?,
            activation: family.activation,
            rope_kind: family.rope_kind,
            layers: layers(family, &keys, &sizes, &rope, gguf)?,
        };
        Ok(config)
    }

    /// The number of layers.
    pub fn n_layer(&self) -> usize {
        self.layers.len()
    }

    /// Elements of all query heads together.
    pub fn n_q(&self) -> usize {
        self.n_head * self.head_dim
    }

    /// Elements of all key heads together, and of all value heads.
    pub fn n_kv(&self) -> usize {
        self.n_head_kv * self.head_dim
    }
}

struct Sizes {
    n_layer: usize,
    n_embd: usize,
    n_head: usize,
    n_head_kv: usize,
    head_dim: usize,
    n_ff: usize,
    n_vocab: usize,
    n_ctx_train: usize,
}

impl Sizes {
    fn read(keys: &Keys<'_>, gguf: &Gguf) -> Result<Self, ModelError> {
        let n_layer = keys.count("block_count", MAX_LAYERS)?;
        let n_embd = keys.count("embedding_length", MAX_EMBD)?;
        let n_head = keys.count("attention.head_count", MAX_HEADS)?;
        let n_head_kv = keys
            .optional_count("attention.head_count_kv", MAX_HEADS)?
            .unwrap_or(n_head);
        if !n_head.is_multiple_of(n_head_kv) {
            return Err(keys.out_of_range(
                "attention.head_count_kv",
                &n_head_kv,
                format!("a divisor of the {n_head} heads"),
            ));
        }
        let head_dim = match keys.optional_count("attention.key_length", MAX_HEAD_DIM)? {
            Some(head_dim) => head_dim,
            None if n_embd.is_multiple_of(n_head) => n_embd / n_head,
            None => {
                return Err(keys.out_of_range(
                    "attention.head_count",
                    &n_head,
                    format!("a divisor of the {n_embd} elements, as no key_length is given"),
                ));
            }
        };
        let value_length = keys.optional_count("attention.value_length", MAX_HEAD_DIM)?;
        if value_length.is_some_and(|value_length| value_length != head_dim) {
            return Err(ModelError::UnsupportedFeature {
                key: keys.full("attention.value_length"),
                found: format!("{value_length:?}"),
                supported: "the key length",
            });
        }
        Ok(Self {
            n_layer,
            n_embd,
            n_head,
            n_head_kv,
            head_dim,
            n_ff: keys.count("feed_forward_length", MAX_FF)?,
            n_vocab: n_vocab(keys, gguf)?,
            n_ctx_train: keys.count("context_length", MAX_CTX)?,
        })
    }
}

fn n_vocab(keys: &Keys<'_>, gguf: &Gguf) -> Result<usize, ModelError> {
    const TENSOR: &str = "token_embd.weight";
    let tensor = gguf
        .tensor(TENSOR)
        .ok_or_else(|| ModelError::MissingTensor {
            tensor: TENSOR.to_owned(),
            architecture: keys.architecture,
        })?;
    match tensor.shape.first() {
        Some(&n_vocab) if n_vocab <= MAX_VOCAB => Ok(n_vocab),
        found => Err(ModelError::OutOfRange {
            key: format!("the number of rows of {TENSOR}"),
            found: format!("{found:?}"),
            expected: format!("at most {MAX_VOCAB}"),
        }),
    }
}

struct Rope {
    n_rot: usize,
    freq_base: f32,
    freq_scale: f32,
}

impl Rope {
    fn read(keys: &Keys<'_>, sizes: &Sizes) -> Result<Self, ModelError> {
        let n_rot = keys
            .optional_count("rope.dimension_count", MAX_HEAD_DIM)?
            .unwrap_or(sizes.head_dim);
        if n_rot > sizes.head_dim || !n_rot.is_multiple_of(2) {
            return Err(keys.out_of_range(
                "rope.dimension_count",
                &n_rot,
                format!("even and at most the head's {} elements", sizes.head_dim),
            ));
        }
        Ok(Self {
            n_rot,
            freq_base: keys
                .optional_positive_f32("rope.freq_base")?
                .unwrap_or(10_000.0),
            freq_scale: Self::freq_scale(keys)?,
        })
    }

    fn freq_scale(keys: &Keys<'_>) -> Result<f32, ModelError> {
        const TYPE: &str = "rope.scaling.type";
        match keys.metadata.str(&keys.full(TYPE)).optional()? {
            // Older files give a linear factor without a type.
            None => Ok(keys
                .optional_positive_f32("rope.scale_linear")?
                .map_or(1.0, f32::recip)),
            Some("none") => Ok(1.0),
            Some("linear") => Ok(1.0 / keys.positive_f32("rope.scaling.factor")?),
            Some(other) => Err(ModelError::UnsupportedFeature {
                key: keys.full(TYPE),
                found: format!("{other:?}"),
                supported: "none, linear, or factors in rope_freqs.weight",
            }),
        }
    }
}

/// Gemma 3 27B alone scales by the query width instead of the head's.
fn attention_scale(family: &Family, keys: &Keys<'_>, sizes: &Sizes) -> Result<f32, ModelError> {
    if let Some(scale) = keys.optional_positive_f32("attention.scale")? {
        return Ok(scale);
    }
    let width = if family.name == "gemma3" && sizes.n_layer == 62 {
        sizes.n_embd / sizes.n_head
    } else {
        sizes.head_dim
    };
    Ok(1.0 / (width as f32).sqrt())
}

fn layers(
    family: &Family,
    keys: &Keys<'_>,
    sizes: &Sizes,
    rope: &Rope,
    gguf: &Gguf,
) -> Result<Vec<LayerSpec>, ModelError> {
    let window = keys.optional_count("attention.sliding_window", MAX_CTX)?;
    let layer = |idx: usize| {
        let has = |suffix: &str| gguf.tensor(&format!("blk.{idx}.{suffix}")).is_some();
        let window = family
            .window_pattern
            .filter(|pattern| idx % pattern < pattern - 1)
            .and(window);
        let (rope_freq_base, rope_freq_scale) = match window {
            Some(_) => (family.window_freq_base, 1.0),
            None => (rope.freq_base, rope.freq_scale),
        };
        LayerSpec {
            qkv_bias: family.qkv_bias.unwrap_or_else(|| has("attn_q.bias")),
            output_bias: has("attn_output.bias"),
            qk_norm: family.qk_norm,
            post_norms: family.post_norms,
            window,
            rope_freq_base,
            rope_freq_scale,
        }
    };
    Ok((0..sizes.n_layer).map(layer).collect())
}

/// A family's keys: `llama.block_count` is `block_count` here.
struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'static str,
}

impl Keys<'_> {
    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn out_of_range(&self, key: &str, found: &dyn fmt::Display, expected: String) -> ModelError {
        ModelError::OutOfRange {
            key: self.full(key),
            found: found.to_string(),
            expected,
        }
    }

    /// A number from 1 to `cap`.
    fn count(&self, key: &str, cap: usize) -> Result<usize, ModelError> {
        let found = self.metadata.u32(&self.full(key))? as usize;
        if (1..=cap).contains(&found) {
            Ok(found)
        } else {
            Err(self.out_of_range(key, &found, format!("between 1 and {cap}")))
        }
    }

    fn optional_count(&self, key: &str, cap: usize) -> Result<Option<usize>, ModelError> {
        match self.metadata.get(&self.full(key)) {
            None => Ok(None),
            Some(_) => self.count(key, cap).map(Some),
        }
    }

    fn positive_f32(&self, key: &str) -> Result<f32, ModelError> {
        let found = self.metadata.f32(&self.full(key))?;
        if found > 0.0 && found.is_finite() {
            Ok(found)
        } else {
            Err(self.out_of_range(key, &found, "positive and finite".to_owned()))
        }
    }

    fn optional_positive_f32(&self, key: &str) -> Result<Option<f32>, ModelError> {
        match self.metadata.get(&self.full(key)) {
            None => Ok(None),
            Some(_) => self.positive_f32(key).map(Some),
        }
    }

    fn refuse_experts(&self) -> Result<(), ModelError> {
        let key = self.full("expert_count");
        match self.metadata.u32(&key).optional()? {
            None | Some(0) => Ok(()),
            Some(found) => Err(ModelError::UnsupportedFeature {
                key,
                found: found.to_string(),
                supported: "models without experts",
            }),
        }
    }
}
