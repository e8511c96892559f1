//! What a model is made of, read from GGUF metadata and checked once.
//!
//! A [family](super::family) contributes the few facts that no metadata key tells;
//! everything else comes from the file. The result is one description for all
//! families, down to [`LayerSpec`], and the decoder reads nothing else: it does not
//! know which family it runs.

use super::error::ModelError;
use super::family::{FAMILIES, Family, WindowRope, Windows};
use super::keys::Keys;
use super::rope_scaling::{FREQ_BASES, Rope, RopeScaling};
use crate::gguf::{Gguf, OptionalKey as _};

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
/// See [`MAX_LAYERS`].
pub(crate) const MAX_CONV_TAPS: usize = 32;

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

/// How queries and keys are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// Each head by itself, then RoPE.
    EachHead,
    /// RoPE, then each head by itself.
    EachHeadAfterRope,
    /// All heads together, then RoPE.
    AllHeads,
}

/// What one layer does.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSpec {
    /// How a token learns of those before it.
    pub mixer: Mixer,
    /// The mixer and the feed-forward part get a normalised residual stream.
    pub pre_norms: bool,
    /// Their results are normalised before they are added.
    pub post_norms: bool,
    /// The feed-forward part's matrices have biases.
    pub ffn_bias: bool,
}

/// How a token learns of those before it.
#[derive(Debug, Clone, PartialEq)]
pub enum Mixer {
    /// By attention.
    Attention(AttentionLayer),
    /// By a gated convolution over a few positions.
    ShortConv {
        /// The positions, the token's own included.
        n_taps: usize,
    },
}

/// One layer's attention.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionLayer {
    /// Query, key and value have biases.
    pub qkv_bias: bool,
    /// The output has a bias.
    pub output_bias: bool,
    /// `None`: queries and keys stay as they are.
    pub qk_norm: Option<QkNorm>,
    /// The layer sees this many positions, its own included; `None` sees all.
    pub window: Option<usize>,
    /// `None`: queries and keys do not know where they stand.
    pub rope: Option<Rope>,
}

/// Makes queries longer the farther they stand: times
/// `1 + scale · ln(1 + ⌊position / interval⌋)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionTemperature {
    /// How much longer.
    pub scale: f32,
    /// After how many positions they grow.
    pub interval: usize,
}

impl AttentionTemperature {
    /// How much longer a query at `position` is.
    pub(super) fn factor(self, position: usize) -> f32 {
        let n_intervals = (position / self.interval) as f64;
        (1.0 + libm::log(1.0 + n_intervals) * f64::from(self.scale)) as f32
    }
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
    /// The context length before RoPE was stretched; a file with long and short
    /// factors for RoPE wants the long ones in contexts beyond it.
    pub n_ctx_orig: usize,
    /// Added to the mean square in every norm.
    pub norm_eps: f32,
    /// Multiplies embeddings.
    pub embedding_scale: f32,
    /// Multiplies what a part adds to the residual stream.
    pub residual_scale: f32,
    /// Multiplies query · key.
    pub attention_scale: f32,
    /// Lengthens queries by their position.
    pub attention_temperature: Option<AttentionTemperature>,
    /// Attention scores become `cap · tanh(score / cap)`.
    pub attention_logit_cap: Option<f32>,
    /// Multiplies logits.
    pub logit_scale: f32,
    /// Logits become `cap · tanh(logit / cap)`.
    pub final_logit_cap: Option<f32>,
    /// The feed-forward part's non-linearity.
    pub activation: Activation,
    /// How RoPE pairs elements.
    pub rope_kind: RopeKind,
    /// Divisors of RoPE's frequencies, `[n_rot / 2]`, for a file without its own.
    pub rope_factors: Option<Vec<f32>>,
    /// The file has to have long and short factors for RoPE.
    pub needs_long_factors: bool,
    /// The feed-forward part's gate and up matrices are one tensor.
    pub fused_gate_up: bool,
    /// The name of the last norm's tensor.
    pub output_norm: &'static str,
    /// The layers in order.
    pub layers: Vec<LayerSpec>,
}

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
        let keys = Keys::new(gguf.metadata(), family.name);
        refuse_what_is_not_done(&keys)?;
        let sizes = Sizes::read(family, &keys, gguf)?;
        let rope = RopeScaling::read(
            &keys,
            sizes.head_dim,
            sizes.n_ctx_train,
            family.has_ntk_alpha,
        )?;
        let layers = layers(family, &keys, &sizes, &rope, gguf)?;
        let name = gguf.metadata().str("general.name").optional()?;
        let logit_scale = keys.optional_f32_between("logit_scale", 1e-6, 1e6)?;
        let (attention_logit_cap, final_logit_cap) = logit_caps(family, &keys)?;
        Ok(Self {
            architecture: family.name,
            name: name.map(str::to_owned),
            n_embd: sizes.n_embd,
            n_head: sizes.n_head,
            n_head_kv: sizes.n_head_kv,
            head_dim: sizes.head_dim,
            n_rot: rope.n_rot,
            n_ff: sizes.n_ff,
            n_vocab: sizes.n_vocab,
            n_ctx_train: sizes.n_ctx_train,
            n_ctx_orig: rope.n_ctx_orig,
            norm_eps: keys.positive_f32("attention.layer_norm_rms_epsilon")?,
            embedding_scale: if family.scales_embeddings {
                (sizes.n_embd as f32).sqrt()
            } else {
                scale(&keys, "embedding_scale")?.unwrap_or(1.0)
            },
            residual_scale: scale(&keys, "residual_scale")?.unwrap_or(1.0),
            attention_scale: attention_scale(family, &keys, &sizes)?,
            attention_temperature: attention_temperature(family, &keys, rope.n_ctx_orig)?,
            attention_logit_cap,
            logit_scale: logit_scale.map_or(1.0, f32::recip),
            final_logit_cap,
            activation: family.activation,
            rope_kind: family.rope_kind,
            rope_factors: rope.factors,
            needs_long_factors: rope.needs_long_factors,
            fused_gate_up: family.fused_gate_up,
            output_norm: family.output_norm,
            layers,
        })
    }

    /// The number of layers.
    pub fn n_layer(&self) -> usize {
        self.layers.len()
    }

    /// The layers that have keys and values.
    pub fn n_attention_layers(&self) -> usize {
        let is_attention = |layer: &&LayerSpec| matches!(layer.mixer, Mixer::Attention(_));
        self.layers.iter().filter(is_attention).count()
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

/// What would give wrong text without a sign of it.
fn refuse_what_is_not_done(keys: &Keys<'_>) -> Result<(), ModelError> {
    const ANY: usize = u32::MAX as usize;
    // One expert is none.
    if let Some(found @ 2..) = keys.count_or_zero("expert_count", ANY)? {
        return Err(keys.unsupported("expert_count", &found, "models without experts"));
    }
    if let Some(found) = keys.count_or_zero("nextn_predict_layers", ANY)? {
        return Err(keys.unsupported("nextn_predict_layers", &found, "0"));
    }
    const SECTIONS: &str = "rope.dimension_sections";
    if keys.has(SECTIONS) {
        return Err(keys.unsupported(SECTIONS, &"given", "positions of text alone"));
    }
    if !keys.bool_or("attention.causal", true)? {
        return Err(keys.unsupported("attention.causal", &false, "models that write text"));
    }
    Ok(())
}

struct Sizes {
    n_embd: usize,
    n_head: usize,
    n_head_kv: usize,
    /// Key heads layer by layer: zero or `n_head_kv`.
    n_head_kv_of_layer: Vec<usize>,
    head_dim: usize,
    n_ff: usize,
    n_vocab: usize,
    n_ctx_train: usize,
}

impl Sizes {
    fn read(family: &Family, keys: &Keys<'_>, gguf: &Gguf) -> Result<Self, ModelError> {
        let n_layer = keys.count("block_count", MAX_LAYERS)?;
        let n_embd = keys.count("embedding_length", MAX_EMBD)?;
        let n_head = keys.uniform_count("attention.head_count", MAX_HEADS, n_layer)?;
        let n_head_kv_of_layer = n_head_kv_of_layer(family, keys, n_layer, n_head)?;
        Ok(Self {
            n_embd,
            n_head,
            n_head_kv: n_head_kv_of_layer.iter().copied().max().unwrap_or(n_head),
            n_head_kv_of_layer,
            head_dim: head_dim(keys, n_embd, n_head)?,
            n_ff: keys.uniform_count("feed_forward_length", MAX_FF, n_layer)?,
            n_vocab: n_vocab(keys, gguf)?,
            n_ctx_train: keys.count("context_length", MAX_CTX)?,
        })
    }
}

fn n_head_kv_of_layer(
    family: &Family,
    keys: &Keys<'_>,
    n_layer: usize,
    n_head: usize,
) -> Result<Vec<usize>, ModelError> {
    const KEY: &str = "attention.head_count_kv";
    if !keys.has(KEY) {
        return Ok(vec![n_head; n_layer]);
    }
    let per_layer = if family.has_short_conv {
        keys.count_per_layer(KEY, MAX_HEADS, n_layer)?
    } else {
        vec![keys.uniform_count(KEY, MAX_HEADS, n_layer)?; n_layer]
    };
    let n_head_kv = per_layer.iter().copied().max().unwrap_or(0);
    if n_head_kv == 0 || !n_head.is_multiple_of(n_head_kv) {
        return Err(keys.out_of_range(KEY, &n_head_kv, format!("a divisor of the {n_head} heads")));
    }
    if per_layer.iter().any(|&n| n != 0 && n != n_head_kv) {
        return Err(keys.unsupported(
            KEY,
            &"an array of different numbers",
            "the same number for every layer, or 0 for short convolutions",
        ));
    }
    Ok(per_layer)
}

fn head_dim(keys: &Keys<'_>, n_embd: usize, n_head: usize) -> Result<usize, ModelError> {
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
    // Not all that follow from the sizes can be seen in a key.
    if head_dim > MAX_HEAD_DIM {
        return Err(keys.out_of_range(
            "attention.head_count",
            &n_head,
            format!("enough that a head has at most {MAX_HEAD_DIM} elements"),
        ));
    }
    for key in [
        "attention.value_length",
        "attention.key_length_swa",
        "attention.value_length_swa",
    ] {
        match keys.optional_count(key, MAX_HEAD_DIM)? {
            Some(found) if found != head_dim => {
                return Err(keys.unsupported(key, &found, "the key length"));
            }
            _ => {}
        }
    }
    Ok(head_dim)
}

fn n_vocab(keys: &Keys<'_>, gguf: &Gguf) -> Result<usize, ModelError> {
    const TENSOR: &str = "token_embd.weight";
    let tensor = gguf
        .tensor(TENSOR)
        .ok_or_else(|| ModelError::MissingTensor {
            tensor: TENSOR.to_owned(),
            architecture: keys.architecture(),
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

/// A factor of which 0 says that there is none.
fn scale(keys: &Keys<'_>, key: &str) -> Result<Option<f32>, ModelError> {
    let found = keys.optional_f32_between(key, 0.0, 1e6)?;
    Ok(found.filter(|&scale| scale > 0.0))
}

fn attention_scale(family: &Family, keys: &Keys<'_>, sizes: &Sizes) -> Result<f32, ModelError> {
    if let Some(scale) = scale(keys, "attention.scale")? {
        return Ok(scale);
    }
    let width = if family.scales_by_width == Some(sizes.n_head_kv_of_layer.len()) {
        sizes.n_embd / sizes.n_head
    } else {
        sizes.head_dim
    };
    if width == 0 {
        return Err(keys.out_of_range(
            "attention.head_count",
            &sizes.n_head,
            format!("at most the {} elements", sizes.n_embd),
        ));
    }
    Ok(1.0 / (width as f32).sqrt())
}

fn attention_temperature(
    family: &Family,
    keys: &Keys<'_>,
    n_ctx_orig: usize,
) -> Result<Option<AttentionTemperature>, ModelError> {
    if !family.has_temperature {
        return Ok(None);
    }
    let scale = scale(keys, "attention.temperature_scale")?;
    Ok(scale.map(|scale| AttentionTemperature {
        scale,
        interval: n_ctx_orig,
    }))
}

/// Attention's and the final one.
fn logit_caps(family: &Family, keys: &Keys<'_>) -> Result<(Option<f32>, Option<f32>), ModelError> {
    let cap = |key: &str, default: Option<f32>| match keys.has(key) {
        // Some writers say "none" by 0.
        true => Ok(keys
            .optional_f32_between(key, 0.0, f32::MAX)?
            .filter(|&cap| cap > 0.0)),
        false => Ok::<_, ModelError>(default),
    };
    let (attention, last) = family.default_logit_caps.unzip();
    Ok((
        cap("attn_logit_softcapping", attention)?,
        cap("final_logit_softcapping", last)?,
    ))
}

fn layers(
    family: &Family,
    keys: &Keys<'_>,
    sizes: &Sizes,
    scaling: &RopeScaling,
    gguf: &Gguf,
) -> Result<Vec<LayerSpec>, ModelError> {
    let n_layer = sizes.n_head_kv_of_layer.len();
    let windows = windows(family, keys, n_layer)?;
    let ropes = ropes(family, keys, scaling, &windows)?;
    let n_taps = match sizes.n_head_kv_of_layer.contains(&0) {
        true => n_taps(keys)?,
        false => 0,
    };
    let layer = |idx: usize| {
        let has_any = |suffixes: &[&str]| {
            let has = |suffix: &&str| gguf.tensor(&format!("blk.{idx}.{suffix}")).is_some();
            suffixes.iter().any(has)
        };
        let mixer = if sizes.n_head_kv_of_layer[idx] == 0 {
            Mixer::ShortConv { n_taps }
        } else {
            Mixer::Attention(AttentionLayer {
                qkv_bias: family.needs_qkv_bias
                    || has_any(&["attn_q.bias", "attn_k.bias", "attn_v.bias"]),
                output_bias: has_any(&["attn_output.bias"]),
                qk_norm: family.qk_norm,
                window: windows[idx],
                rope: ropes[idx],
            })
        };
        LayerSpec {
            mixer,
            pre_norms: family.pre_norms,
            post_norms: family.post_norms,
            ffn_bias: has_any(&["ffn_gate.bias", "ffn_up.bias", "ffn_down.bias"]),
        }
    };
    Ok((0..n_layer).map(layer).collect())
}

/// A convolution over one position would mix nothing.
fn n_taps(keys: &Keys<'_>) -> Result<usize, ModelError> {
    const KEY: &str = "shortconv.l_cache";
    match keys.count(KEY, MAX_CONV_TAPS)? {
        1 => Err(keys.out_of_range(KEY, &1, format!("between 2 and {MAX_CONV_TAPS}"))),
        n_taps => Ok(n_taps),
    }
}

fn windows(
    family: &Family,
    keys: &Keys<'_>,
    n_layer: usize,
) -> Result<Vec<Option<usize>>, ModelError> {
    const KEY: &str = "attention.sliding_window";
    const PATTERN: &str = "attention.sliding_window_pattern";
    let window = keys.count_or_zero(KEY, MAX_CTX)?;
    match family.windows {
        Windows::None => Ok(vec![None; n_layer]),
        Windows::All => Ok(vec![window; n_layer]),
        Windows::Pattern {
            period, default, ..
        } => {
            let window = if keys.has(KEY) { window } else { default };
            if let Some(flags) = keys.flags_per_layer(PATTERN, n_layer)? {
                return Ok(flags.iter().map(|has| window.filter(|_| *has)).collect());
            }
            let period = match keys.has(PATTERN) {
                true => keys.count_or_zero(PATTERN, MAX_LAYERS)?,
                false => Some(period),
            };
            // Without a period, every layer has a window.
            let has_window = |idx| period.is_none_or(|period| idx % period < period - 1);
            Ok((0..n_layer)
                .map(|idx| window.filter(|_| has_window(idx)))
                .collect())
        }
    }
}

fn ropes(
    family: &Family,
    keys: &Keys<'_>,
    scaling: &RopeScaling,
    windows: &[Option<usize>],
) -> Result<Vec<Option<Rope>>, ModelError> {
    let in_windows = match family.windows {
        Windows::None | Windows::All => scaling.rope,
        Windows::Pattern { rope, .. } => match rope {
            WindowRope::Same => Rope {
                freq_base: window_freq_base(keys, scaling.rope.freq_base)?,
                ..scaling.rope
            },
            WindowRope::Unscaled => Rope::unscaled(scaling.rope.freq_base),
            WindowRope::OwnBase(base) => Rope::unscaled(window_freq_base(keys, base)?),
        },
    };
    let has_windows = windows.iter().any(Option::is_some);
    let is_off = family.rope_can_be_off && !keys.bool_or("rope.scaling.finetuned", true)?;
    let rope = |idx: usize| {
        let lacks_rope = is_off
            || family
                .no_rope_every
                .is_some_and(|period| (idx + 1).is_multiple_of(period));
        match windows[idx] {
            _ if lacks_rope => None,
            Some(_) => Some(in_windows),
            None if has_windows && family.rope_only_in_windows => None,
            None => Some(scaling.rope),
        }
    };
    Ok((0..windows.len()).map(rope).collect())
}

fn window_freq_base(keys: &Keys<'_>, default: f32) -> Result<f32, ModelError> {
    let (min, max) = FREQ_BASES;
    let found = keys.optional_f32_between("rope.freq_base_swa", min, max)?;
    Ok(found.unwrap_or(default))
}
