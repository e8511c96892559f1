//! A model's tensors: which there must be, of what shape, and where they end up.

use std::collections::HashMap;

use super::config::{AttentionLayer, LayerSpec, Mixer, ModelConfig, QkNorm};
use super::error::ModelError;
use crate::gguf::{Gguf, TensorInfo};
use crate::quant::{Weight, check_tensor};

/// Everything that the decoder multiplies with.
pub(crate) struct Weights {
    /// `[n_vocab, n_embd]`; rows are looked up as they are stored.
    pub(crate) token_embd: Weight,
    pub(crate) output_norm: Vec<f32>,
    /// `None`: the head is tied, and the embedding table serves twice.
    pub(crate) output: Option<Weight>,
    /// Divides RoPE's frequencies: `[n_rot / 2]`.
    pub(crate) rope_factors: Option<Vec<f32>>,
    pub(crate) layers: Vec<LayerWeights>,
}

pub(crate) struct LayerWeights {
    pub(crate) mixer: MixerWeights,
    /// Before the mixer.
    pub(crate) attn_norm: Option<Vec<f32>>,
    pub(crate) post_attn_norm: Option<Vec<f32>>,
    pub(crate) ffn_norm: Option<Vec<f32>>,
    pub(crate) gate: Weight,
    pub(crate) up: Weight,
    pub(crate) down: Weight,
    pub(crate) gate_bias: Option<Vec<f32>>,
    pub(crate) up_bias: Option<Vec<f32>>,
    pub(crate) down_bias: Option<Vec<f32>>,
    pub(crate) post_ffn_norm: Option<Vec<f32>>,
}

pub(crate) enum MixerWeights {
    Attention(Box<AttentionWeights>),
    ShortConv(Box<ShortConvWeights>),
}

pub(crate) struct AttentionWeights {
    pub(crate) q: Weight,
    pub(crate) k: Weight,
    pub(crate) v: Weight,
    pub(crate) q_bias: Option<Vec<f32>>,
    pub(crate) k_bias: Option<Vec<f32>>,
    pub(crate) v_bias: Option<Vec<f32>>,
    pub(crate) q_norm: Option<Vec<f32>>,
    pub(crate) k_norm: Option<Vec<f32>>,
    pub(crate) output: Weight,
    pub(crate) output_bias: Option<Vec<f32>>,
}

pub(crate) struct ShortConvWeights {
    /// `[3 · n_embd, n_embd]`: what gates the input, what gates the output, the input.
    pub(crate) in_proj: Weight,
    /// `[n_taps, n_embd]`, the oldest position first.
    pub(crate) taps: Vec<f32>,
    pub(crate) out_proj: Weight,
}

/// A tensor to be read, checked against what the architecture asks for: a whole one
/// of the file's, or some rows of one that the file keeps several in.
#[derive(Debug, Clone)]
pub(crate) struct PlannedTensor {
    pub(crate) tensor: TensorInfo,
    pub(crate) n_rows: usize,
    pub(crate) n_cols: usize,
}

/// RoPE's factors for contexts beyond the original one, and up to it.
const LONG_FACTORS: [&str; 2] = ["rope_factors_long.weight", "rope_factors_short.weight"];

/// Tensors of other tools that say nothing new.
const IGNORED_SUFFIXES: &[&str] = &[".attn_rot_embd", ".rope_freqs.weight"];

/// A tensor that a file has or has to have.
struct Expected {
    /// As the file names it.
    name: String,
    /// What is made of its rows, in their order: names with numbers of rows.
    parts: Vec<(String, usize)>,
    n_cols: usize,
    is_required: bool,
}

/// Lists what is to be read, in the file's order, and checks all of it before
/// anything is allocated.
///
/// # Errors
/// A tensor is missing, is not used, or has the wrong shape or an unsupported type.
pub(crate) fn plan(gguf: &Gguf, config: &ModelConfig) -> Result<Vec<PlannedTensor>, ModelError> {
    let mut expected: HashMap<String, Expected> = HashMap::new();
    for tensor in expected_tensors(gguf, config) {
        if tensor.is_required && gguf.tensor(&tensor.name).is_none() {
            return Err(ModelError::MissingTensor {
                tensor: tensor.name,
                architecture: config.architecture,
            });
        }
        expected.insert(tensor.name.clone(), tensor);
    }
    let mut planned = Vec::new();
    for tensor in gguf.tensors() {
        match expected.get(&tensor.name) {
            Some(expected) => planned.extend(expected.plan(tensor)?),
            None if IGNORED_SUFFIXES
                .iter()
                .any(|suffix| tensor.name.ends_with(suffix)) => {}
            None => {
                return Err(ModelError::UnexpectedTensor {
                    tensor: tensor.name.clone(),
                    architecture: config.architecture,
                });
            }
        }
    }
    Ok(planned)
}

impl Expected {
    fn whole(name: String, n_rows: usize, n_cols: usize, is_required: bool) -> Self {
        Self {
            parts: vec![(name.clone(), n_rows)],
            name,
            n_cols,
            is_required,
        }
    }

    /// The rows of `tensor`, each part as a tensor of its own.
    fn plan(&self, tensor: &TensorInfo) -> Result<Vec<PlannedTensor>, ModelError> {
        let (n_rows, n_cols) = (self.parts.iter().map(|(_, n)| n).sum(), self.n_cols);
        check_tensor(tensor, n_rows, n_cols)?;
        if let [_] = self.parts[..] {
            return Ok(vec![PlannedTensor {
                tensor: tensor.clone(),
                n_rows,
                n_cols,
            }]);
        }
        let row_bytes = tensor.size_bytes / n_rows as u64;
        let mut offset = tensor.offset;
        let part = |(name, n_rows): &(String, usize)| {
            let mut part = tensor.clone();
            part.name.clone_from(name);
            part.shape = vec![*n_rows, n_cols];
            part.offset = offset;
            part.size_bytes = row_bytes * *n_rows as u64;
            offset += part.size_bytes;
            PlannedTensor {
                tensor: part,
                n_rows: *n_rows,
                n_cols,
            }
        };
        Ok(self.parts.iter().map(part).collect())
    }
}

fn expected_tensors(gguf: &Gguf, config: &ModelConfig) -> Vec<Expected> {
    let (n_embd, n_vocab) = (config.n_embd, config.n_vocab);
    let n_factors = config.n_rot / 2;
    let has_long_factors =
        config.needs_long_factors || LONG_FACTORS.iter().any(|name| gguf.tensor(name).is_some());
    let mut tensors = Vec::new();
    for (name, n_rows, n_cols, is_required) in [
        ("token_embd.weight", n_vocab, n_embd, true),
        (config.output_norm, 1, n_embd, true),
        ("output.weight", n_vocab, n_embd, false),
        ("rope_freqs.weight", 1, n_factors, false),
        (LONG_FACTORS[0], 1, n_factors, has_long_factors),
        (LONG_FACTORS[1], 1, n_factors, has_long_factors),
    ] {
        tensors.push(Expected::whole(
            name.to_owned(),
            n_rows,
            n_cols,
            is_required,
        ));
    }
    for (idx, layer) in config.layers.iter().enumerate() {
        let mut shapes = LayerShapes {
            config,
            gguf,
            prefix: format!("blk.{idx}."),
            expected: &mut tensors,
        };
        match &layer.mixer {
            Mixer::Attention(attention) => shapes.attention(attention),
            Mixer::ShortConv { n_taps } => shapes.short_conv(*n_taps),
        }
        shapes.norms(layer);
        shapes.feed_forward(layer);
    }
    tensors
}

/// Collects what one layer's tensors have to be.
struct LayerShapes<'a> {
    config: &'a ModelConfig,
    gguf: &'a Gguf,
    prefix: String,
    expected: &'a mut Vec<Expected>,
}

impl LayerShapes<'_> {
    fn name(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.prefix)
    }

    fn matrix(&mut self, suffix: &str, n_rows: usize, n_cols: usize) {
        let name = self.name(suffix);
        self.expected
            .push(Expected::whole(name, n_rows, n_cols, true));
    }

    fn vector(&mut self, suffix: &str, n: usize) {
        self.matrix(suffix, 1, n);
    }

    /// One matrix of the file for several.
    fn fused(&mut self, suffix: &str, parts: &[(&str, usize)], n_cols: usize) {
        let parts = parts.iter();
        self.expected.push(Expected {
            name: self.name(suffix),
            parts: parts.map(|&(part, n)| (self.name(part), n)).collect(),
            n_cols,
            is_required: true,
        });
    }

    fn attention(&mut self, attention: &AttentionLayer) {
        let (n_q, n_kv) = (self.config.n_q(), self.config.n_kv());
        let n_embd = self.config.n_embd;
        let projections = [
            ("attn_q.weight", n_q),
            ("attn_k.weight", n_kv),
            ("attn_v.weight", n_kv),
        ];
        if self.gguf.tensor(&self.name("attn_qkv.weight")).is_some() {
            self.fused("attn_qkv.weight", &projections, n_embd);
        } else {
            for (suffix, n_rows) in projections {
                self.matrix(suffix, n_rows, n_embd);
            }
        }
        self.matrix("attn_output.weight", n_embd, n_q);
        if attention.qkv_bias {
            self.vector("attn_q.bias", n_q);
            self.vector("attn_k.bias", n_kv);
            self.vector("attn_v.bias", n_kv);
        }
        if attention.output_bias {
            self.vector("attn_output.bias", n_embd);
        }
        if let Some(norm) = attention.qk_norm {
            let (n_q, n_k) = match norm {
                QkNorm::AllHeads => (n_q, n_kv),
                _ => (self.config.head_dim, self.config.head_dim),
            };
            self.vector("attn_q_norm.weight", n_q);
            self.vector("attn_k_norm.weight", n_k);
        }
    }

    fn short_conv(&mut self, n_taps: usize) {
        let n_embd = self.config.n_embd;
        self.matrix("shortconv.in_proj.weight", 3 * n_embd, n_embd);
        self.matrix("shortconv.conv.weight", n_embd, n_taps);
        self.matrix("shortconv.out_proj.weight", n_embd, n_embd);
    }

    fn norms(&mut self, layer: &LayerSpec) {
        let n_embd = self.config.n_embd;
        if layer.pre_norms {
            self.vector("attn_norm.weight", n_embd);
            self.vector("ffn_norm.weight", n_embd);
        }
        if layer.post_norms {
            self.vector("post_attention_norm.weight", n_embd);
            self.vector("post_ffw_norm.weight", n_embd);
        }
    }

    fn feed_forward(&mut self, layer: &LayerSpec) {
        let (n_embd, n_ff) = (self.config.n_embd, self.config.n_ff);
        let halves = [("ffn_gate.weight", n_ff), ("ffn_up.weight", n_ff)];
        if self.config.fused_gate_up {
            self.fused("ffn_up.weight", &halves, n_embd);
        } else {
            for (suffix, n_rows) in halves {
                self.matrix(suffix, n_rows, n_embd);
            }
        }
        self.matrix("ffn_down.weight", n_embd, n_ff);
        if layer.ffn_bias {
            self.vector("ffn_gate.bias", n_ff);
            self.vector("ffn_up.bias", n_ff);
            self.vector("ffn_down.bias", n_embd);
        }
    }
}

/// Puts the tensors that [`plan`] listed into their places, for contexts of up to
/// `n_ctx` tokens.
///
/// # Errors
/// One is missing, which `plan` rules out.
pub(crate) fn assemble(
    config: &ModelConfig,
    tensors: HashMap<String, Weight>,
    n_ctx: usize,
) -> Result<Weights, ModelError> {
    let mut pool = Tensors {
        tensors,
        architecture: config.architecture,
    };
    let mut layers = Vec::with_capacity(config.n_layer());
    for (idx, layer) in config.layers.iter().enumerate() {
        layers.push(pool.layer(&format!("blk.{idx}."), layer)?);
    }
    Ok(Weights {
        token_embd: pool.matrix("token_embd.weight")?,
        output_norm: pool.vector(config.output_norm)?,
        output: pool.tensors.remove("output.weight"),
        rope_factors: pool.rope_factors(config, n_ctx)?,
        layers,
    })
}

struct Tensors {
    tensors: HashMap<String, Weight>,
    architecture: &'static str,
}

impl Tensors {
    fn matrix(&mut self, name: &str) -> Result<Weight, ModelError> {
        self.tensors
            .remove(name)
            .ok_or_else(|| ModelError::MissingTensor {
                tensor: name.to_owned(),
                architecture: self.architecture,
            })
    }

    fn vector(&mut self, name: &str) -> Result<Vec<f32>, ModelError> {
        let weight = self.matrix(name)?;
        let mut values = vec![0.0; weight.n_cols()];
        weight.dequantize_row(0, &mut values);
        Ok(values)
    }

    fn vector_if(&mut self, is_there: bool, name: &str) -> Result<Option<Vec<f32>>, ModelError> {
        match is_there {
            true => self.vector(name).map(Some),
            false => Ok(None),
        }
    }

    /// The columns one after the other.
    fn transposed(&mut self, name: &str) -> Result<Vec<f32>, ModelError> {
        let weight = self.matrix(name)?;
        let (n_rows, n_cols) = (weight.n_rows(), weight.n_cols());
        let mut transposed = vec![0.0; n_rows * n_cols];
        let mut values = vec![0.0; n_cols];
        for row in 0..n_rows {
            weight.dequantize_row(row, &mut values);
            for (col, value) in values.iter().enumerate() {
                transposed[col * n_rows + row] = *value;
            }
        }
        Ok(transposed)
    }

    /// The file's own factors go before those that follow from its metadata.
    fn rope_factors(
        &mut self,
        config: &ModelConfig,
        n_ctx: usize,
    ) -> Result<Option<Vec<f32>>, ModelError> {
        let [long, short] = LONG_FACTORS;
        let name = match n_ctx > config.n_ctx_orig {
            _ if self.tensors.contains_key("rope_freqs.weight") => "rope_freqs.weight",
            true => long,
            false => short,
        };
        match self.tensors.contains_key(name) {
            true => self.vector(name).map(Some),
            false => Ok(config.rope_factors.clone()),
        }
    }

    fn layer(&mut self, prefix: &str, spec: &LayerSpec) -> Result<LayerWeights, ModelError> {
        let name = |suffix: &str| format!("{prefix}{suffix}");
        let mixer = match &spec.mixer {
            Mixer::Attention(attention) => {
                MixerWeights::Attention(Box::new(self.attention(prefix, attention)?))
            }
            Mixer::ShortConv { .. } => MixerWeights::ShortConv(Box::new(ShortConvWeights {
                in_proj: self.matrix(&name("shortconv.in_proj.weight"))?,
                taps: self.transposed(&name("shortconv.conv.weight"))?,
                out_proj: self.matrix(&name("shortconv.out_proj.weight"))?,
            })),
        };
        Ok(LayerWeights {
            mixer,
            attn_norm: self.vector_if(spec.pre_norms, &name("attn_norm.weight"))?,
            post_attn_norm: self.vector_if(spec.post_norms, &name("post_attention_norm.weight"))?,
            ffn_norm: self.vector_if(spec.pre_norms, &name("ffn_norm.weight"))?,
            gate: self.matrix(&name("ffn_gate.weight"))?,
            up: self.matrix(&name("ffn_up.weight"))?,
            down: self.matrix(&name("ffn_down.weight"))?,
            gate_bias: self.vector_if(spec.ffn_bias, &name("ffn_gate.bias"))?,
            up_bias: self.vector_if(spec.ffn_bias, &name("ffn_up.bias"))?,
            down_bias: self.vector_if(spec.ffn_bias, &name("ffn_down.bias"))?,
            post_ffn_norm: self.vector_if(spec.post_norms, &name("post_ffw_norm.weight"))?,
        })
    }

    fn attention(
        &mut self,
        prefix: &str,
        spec: &AttentionLayer,
    ) -> Result<AttentionWeights, ModelError> {
        let name = |suffix: &str| format!("{prefix}{suffix}");
        let has_norm = spec.qk_norm.is_some();
        Ok(AttentionWeights {
            q: self.matrix(&name("attn_q.weight"))?,
            k: self.matrix(&name("attn_k.weight"))?,
            v: self.matrix(&name("attn_v.weight"))?,
            q_bias: self.vector_if(spec.qkv_bias, &name("attn_q.bias"))?,
            k_bias: self.vector_if(spec.qkv_bias, &name("attn_k.bias"))?,
            v_bias: self.vector_if(spec.qkv_bias, &name("attn_v.bias"))?,
            q_norm: self.vector_if(has_norm, &name("attn_q_norm.weight"))?,
            k_norm: self.vector_if(has_norm, &name("attn_k_norm.weight"))?,
            output: self.matrix(&name("attn_output.weight"))?,
            output_bias: self.vector_if(spec.output_bias, &name("attn_output.bias"))?,
        })
    }
}
