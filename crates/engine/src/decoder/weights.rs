//! A model's tensors: which there must be, of what shape, and where they end up.

use std::collections::HashMap;

use super::config::{LayerSpec, ModelConfig};
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
    /// Divides RoPE's frequencies (Llama 3): `[n_rot / 2]`.
    pub(crate) rope_factors: Option<Vec<f32>>,
    pub(crate) layers: Vec<LayerWeights>,
}

pub(crate) struct LayerWeights {
    pub(crate) attn_norm: Vec<f32>,
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
    pub(crate) post_attn_norm: Option<Vec<f32>>,
    pub(crate) ffn_norm: Vec<f32>,
    pub(crate) gate: Weight,
    pub(crate) up: Weight,
    pub(crate) down: Weight,
    pub(crate) post_ffn_norm: Option<Vec<f32>>,
}

/// A tensor to be read, checked against what the architecture asks for.
#[derive(Debug, Clone)]
pub(crate) struct PlannedTensor {
    pub(crate) tensor: TensorInfo,
    pub(crate) n_rows: usize,
    pub(crate) n_cols: usize,
}

/// Tensors of other tools that say nothing new.
const IGNORED_SUFFIXES: &[&str] = &[".attn_rot_embd", ".rope_freqs.weight"];

/// Lists what is to be read, in the file's order, and checks all of it before
/// anything is allocated.
///
/// # Errors
/// A tensor is missing, is not used, or has the wrong shape or an unsupported type.
pub(crate) fn plan(gguf: &Gguf, config: &ModelConfig) -> Result<Vec<PlannedTensor>, ModelError> {
    let mut expected: HashMap<String, (usize, usize)> = HashMap::new();
    for (name, n_rows, n_cols, is_required) in expected_tensors(config) {
        if is_required && gguf.tensor(&name).is_none() {
            return Err(ModelError::MissingTensor {
                tensor: name,
                architecture: config.architecture,
            });
        }
        expected.insert(name, (n_rows, n_cols));
    }
    let mut planned = Vec::new();
    for tensor in gguf.tensors() {
        match expected.get(&tensor.name) {
            Some(&(n_rows, n_cols)) => {
                check_tensor(tensor, n_rows, n_cols)?;
                planned.push(PlannedTensor {
                    tensor: tensor.clone(),
                    n_rows,
                    n_cols,
                });
            }
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

/// Name, rows, columns, and whether it must be there.
fn expected_tensors(config: &ModelConfig) -> Vec<(String, usize, usize, bool)> {
    let (n_embd, n_vocab) = (config.n_embd, config.n_vocab);
    let mut tensors = vec![
        ("token_embd.weight".to_owned(), n_vocab, n_embd, true),
        ("output_norm.weight".to_owned(), 1, n_embd, true),
        ("output.weight".to_owned(), n_vocab, n_embd, false),
        ("rope_freqs.weight".to_owned(), 1, config.n_rot / 2, false),
    ];
    for (idx, layer) in config.layers.iter().enumerate() {
        for (suffix, n_rows, n_cols) in layer_tensors(config, layer) {
            tensors.push((format!("blk.{idx}.{suffix}"), n_rows, n_cols, true));
        }
    }
    tensors
}

fn layer_tensors(config: &ModelConfig, layer: &LayerSpec) -> Vec<(&'static str, usize, usize)> {
    let (n_embd, n_ff, n_q, n_kv) = (config.n_embd, config.n_ff, config.n_q(), config.n_kv());
    let mut tensors = vec![
        ("attn_norm.weight", 1, n_embd),
        ("attn_q.weight", n_q, n_embd),
        ("attn_k.weight", n_kv, n_embd),
        ("attn_v.weight", n_kv, n_embd),
        ("attn_output.weight", n_embd, n_q),
        ("ffn_norm.weight", 1, n_embd),
        ("ffn_gate.weight", n_ff, n_embd),
        ("ffn_up.weight", n_ff, n_embd),
        ("ffn_down.weight", n_embd, n_ff),
    ];
    if layer.qkv_bias {
        tensors.extend([
            ("attn_q.bias", 1, n_q),
            ("attn_k.bias", 1, n_kv),
            ("attn_v.bias", 1, n_kv),
        ]);
    }
    if layer.output_bias {
        tensors.push(("attn_output.bias", 1, n_embd));
    }
    if layer.qk_norm {
        tensors.extend([
            ("attn_q_norm.weight", 1, config.head_dim),
            ("attn_k_norm.weight", 1, config.head_dim),
        ]);
    }
    if layer.post_norms {
        tensors.extend([
            ("post_attention_norm.weight", 1, n_embd),
            ("post_ffw_norm.weight", 1, n_embd),
        ]);
    }
    tensors
}

/// Puts the tensors that [`plan`] listed into their places.
///
/// # Errors
/// One is missing, which `plan` rules out.
pub(crate) fn assemble(
    config: &ModelConfig,
    tensors: HashMap<String, Weight>,
) -> Result<Weights, ModelError> {
    let mut pool = Tensors {
        tensors,
        architecture: config.architecture,
    };
    let mut layers = Vec::with_capacity(config.n_layer());
    for (idx, layer) in config.layers.iter().enumerate() {
        layers.push(pool.layer(idx, layer)?);
    }
    Ok(Weights {
        token_embd: pool.matrix("token_embd.weight")?,
        output_norm: pool.vector("output_norm.weight")?,
        output: pool.tensors.remove("output.weight"),
        rope_factors: match pool.tensors.contains_key("rope_freqs.weight") {
            true => Some(pool.vector("rope_freqs.weight")?),
            false => None,
        },
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

    fn layer(&mut self, idx: usize, spec: &LayerSpec) -> Result<LayerWeights, ModelError> {
        let name = |suffix: &str| format!("blk.{idx}.{suffix}");
        let mut vector_if = |is_there: bool, suffix: &str| match is_there {
            true => self.vector(&name(suffix)).map(Some),
            false => Ok(None),
        };
        let q_bias = vector_if(spec.qkv_bias, "attn_q.bias")?;
        let k_bias = vector_if(spec.qkv_bias, "attn_k.bias")?;
        let v_bias = vector_if(spec.qkv_bias, "attn_v.bias")?;
        let output_bias = vector_if(spec.output_bias, "attn_output.bias")?;
        let q_norm = vector_if(spec.qk_norm, "attn_q_norm.weight")?;
        let k_norm = vector_if(spec.qk_norm, "attn_k_norm.weight")?;
        let post_attn_norm = vector_if(spec.post_norms, "post_attention_norm.weight")?;
        let post_ffn_norm = vector_if(spec.post_norms, "post_ffw_norm.weight")?;
        Ok(LayerWeights {
            attn_norm: self.vector(&name("attn_norm.weight"))?,
            q: self.matrix(&name("attn_q.weight"))?,
            k: self.matrix(&name("attn_k.weight"))?,
            v: self.matrix(&name("attn_v.weight"))?,
            q_bias,
            k_bias,
            v_bias,
            q_norm,
            k_norm,
            output: self.matrix(&name("attn_output.weight"))?,
            output_bias,
            post_attn_norm,
            ffn_norm: self.vector(&name("ffn_norm.weight"))?,
            gate: self.matrix(&name("ffn_gate.weight"))?,
            up: self.matrix(&name("ffn_up.weight"))?,
            down: self.matrix(&name("ffn_down.weight"))?,
            post_ffn_norm,
        })
    }
}
