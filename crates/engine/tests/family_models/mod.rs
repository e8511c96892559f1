//! A tiny model with random weights for every family and for what a family can vary,
//! written as GGUF on the spot. The same seed gives the same bytes, so what another
//! engine computes for them can be kept beside the tests: see
//! `fixtures/families/README.md`.
#![allow(dead_code, unreachable_pub, unused_imports, clippy::unwrap_used)] // each test binary uses a part

use std::collections::HashSet;
use std::ops::Range;

use nox_engine::gguf::GgmlType;
use nox_engine::sampler::Pcg32;
use nox_engine::{KvType, LoadOptions, Model, ModelLoader};

use crate::common::{Entry, GgufWriter};

mod list;

pub use list::{family_models, prompts};

/// The first model of each architecture.
pub fn one_of_each() -> Vec<FamilyModel> {
    let mut seen = HashSet::new();
    let mut models = family_models();
    models.retain(|model| seen.insert(model.architecture));
    models
}

/// The bytes, and 44 more that no text has.
pub const N_VOCAB: u64 = 300;

pub type Metadata = fn(&str, GgufWriter) -> GgufWriter;

/// A model to be written.
#[derive(Clone)]
pub struct FamilyModel {
    pub name: &'static str,
    pub architecture: &'static str,
    pub quant: GgmlType,
    pub n_ctx: usize,
    pub n_layer: u64,
    n_embd: u64,
    n_ff: u64,
    n_head: u64,
    n_head_kv: u64,
    head_dim: u64,
    has_output: bool,
    layout: Layout,
    /// Keys beyond the sizes; the first argument is the architecture.
    pub metadata: Metadata,
}

/// Which tensors a layer has beside those that all have.
#[derive(Clone, Copy)]
struct Layout {
    qkv_bias: bool,
    output_bias: bool,
    ffn_bias: bool,
    /// Elements of the query's and the key's norm.
    qk_norms: Option<(u64, u64)>,
    no_pre_norms: bool,
    post_norms: bool,
    fused_qkv: bool,
    fused_gate_up: bool,
    /// One `rope_freqs.weight`, or long and short ones.
    rope_freqs: bool,
    long_factors: Option<u64>,
    /// Of so many layers, the others are short convolutions.
    attention_every: Option<u64>,
}

impl FamilyModel {
    pub fn file_name(&self) -> String {
        format!("{}.gguf", self.name)
    }

    /// The file's bytes.
    pub fn gguf(&self) -> Vec<u8> {
        self.gguf_with(&self.data(), None)
    }

    /// The file's bytes, with `data` for its tensors, and another value for a key, which
    /// the file need not have otherwise.
    pub fn gguf_with(&self, data: &[u8], instead: Option<Entry>) -> Vec<u8> {
        let mut writer = GgufWriter::new();
        writer.instead = instead;
        let mut writer = self.header(writer).rest();
        let mut offset = 0;
        for (name, dims) in self.tensors() {
            let quant = self.quant_of(&dims);
            writer = writer.tensor_entry(&name, &dims, quant.id(), offset);
            offset += self.size_bytes(&dims).next_multiple_of(32) as u64;
        }
        writer.finish_with(data)
    }

    /// The tensors' numbers.
    pub fn data(&self) -> Vec<u8> {
        let mut data = Vec::new();
        let mut rng = Pcg32::new(42);
        for (name, dims) in self.tensors() {
            let start = data.len().next_multiple_of(32);
            data.resize(start + self.size_bytes(&dims), 0);
            let range = self.spread(&name, &dims);
            fill(&mut data[start..], range, self.quant_of(&dims), &mut rng);
        }
        data
    }

    fn size_bytes(&self, dims: &[u64]) -> usize {
        let size_bytes = self.quant_of(dims).size_bytes(dims.iter().product());
        size_bytes.unwrap() as usize
    }

    pub fn load(&self) -> Model {
        self.load_with(LoadOptions {
            kv_type: KvType::F32,
            ..LoadOptions::default()
        })
    }

    pub fn load_with(&self, options: LoadOptions) -> Model {
        let options = LoadOptions {
            n_ctx: Some(self.n_ctx),
            ..options
        };
        let loader = ModelLoader::new(self.gguf(), options);
        loader.and_then(ModelLoader::load).unwrap()
    }

    fn quant_of(&self, dims: &[u64]) -> GgmlType {
        // Vectors and the taps of convolutions are never quantised.
        match dims {
            [_] => GgmlType::F32,
            [n_cols, _] if n_cols % 32 != 0 => GgmlType::F32,
            _ => self.quant,
        }
    }

    /// The range of a tensor's numbers, about that of trained ones.
    fn spread(&self, name: &str, dims: &[u64]) -> Range<f32> {
        let unit = (3.0 / dims[0] as f32).sqrt();
        match name {
            // llama.cpp's table of GELU has an error that would grow layer by layer.
            _ if name.ends_with("post_ffw_norm.weight") && self.n_layer > 5 => 0.003..0.009,
            _ if name.ends_with("norm.weight") => 0.5..1.5,
            _ if name.contains("rope_f") => 1.0..8.0,
            _ if name.ends_with(".bias") || name.contains("token_embd") => -1.0..1.0,
            // Scores far enough apart that attention chooses.
            _ if name.contains("attn_q") || name.contains("attn_k") => -1.8 * unit..1.8 * unit,
            _ => -unit..unit,
        }
    }

    fn header(&self, writer: GgufWriter) -> GgufWriter {
        let key = |suffix: &str| format!("{}.{suffix}", self.architecture);
        let writer = writer
            .str("general.architecture", self.architecture)
            .str("general.name", "tiny")
            .u32(&key("context_length"), 512)
            .u32(&key("embedding_length"), self.n_embd as u32)
            .u32(&key("block_count"), self.n_layer as u32)
            .u32(&key("feed_forward_length"), self.n_ff as u32)
            .u32(&key("attention.head_count"), self.n_head as u32)
            .u32(&key("attention.key_length"), self.head_dim as u32)
            .u32(&key("attention.value_length"), self.head_dim as u32)
            .f32(&key("attention.layer_norm_rms_epsilon"), 1e-5)
            .str("tokenizer.ggml.model", "gpt2")
            .str("tokenizer.ggml.pre", "gpt-2")
            .strings("tokenizer.ggml.tokens", &tokens())
            .i32s("tokenizer.ggml.token_type", &[1; N_VOCAB as usize])
            .strings("tokenizer.ggml.merges", &["a b"])
            .u32("tokenizer.ggml.eos_token_id", 299)
            .bool("tokenizer.ggml.add_bos_token", false);
        let writer = match self.layout.attention_every {
            None => writer.u32(&key("attention.head_count_kv"), self.n_head_kv as u32),
            Some(_) => {
                let n_head_kv: Vec<i32> = (0..self.n_layer)
                    .map(|idx| i32::from(self.is_attention(idx)) * self.n_head_kv as i32)
                    .collect();
                writer.i32s(&key("attention.head_count_kv"), &n_head_kv)
            }
        };
        (self.metadata)(self.architecture, writer)
    }

    fn is_attention(&self, layer: u64) -> bool {
        let every = self.layout.attention_every;
        every.is_none_or(|every| (layer + 1).is_multiple_of(every))
    }

    /// Names with dimensions innermost first.
    fn tensors(&self) -> Vec<(String, Vec<u64>)> {
        let n_embd = self.n_embd;
        let output_norm = match self.layout.attention_every {
            None => "output_norm.weight",
            Some(_) => "token_embd_norm.weight",
        };
        let mut tensors = vec![
            ("token_embd.weight".to_owned(), vec![n_embd, N_VOCAB]),
            (output_norm.to_owned(), vec![n_embd]),
        ];
        if self.has_output {
            tensors.push(("output.weight".to_owned(), vec![n_embd, N_VOCAB]));
        }
        if self.layout.rope_freqs {
            tensors.push(("rope_freqs.weight".to_owned(), vec![self.head_dim / 2]));
        }
        if let Some(n) = self.layout.long_factors {
            tensors.push(("rope_factors_long.weight".to_owned(), vec![n]));
            tensors.push(("rope_factors_short.weight".to_owned(), vec![n]));
        }
        for idx in 0..self.n_layer {
            let mixer = match self.is_attention(idx) {
                true => self.attention(),
                false => vec![
                    ("shortconv.in_proj.weight", vec![n_embd, 3 * n_embd]),
                    ("shortconv.conv.weight", vec![3, n_embd]),
                    ("shortconv.out_proj.weight", vec![n_embd, n_embd]),
                ],
            };
            for (suffix, dims) in mixer.into_iter().chain(self.norms_and_feed_forward()) {
                tensors.push((format!("blk.{idx}.{suffix}"), dims));
            }
        }
        tensors
    }

    fn attention(&self) -> Vec<(&'static str, Vec<u64>)> {
        let (n_q, n_kv) = (self.n_head * self.head_dim, self.n_head_kv * self.head_dim);
        let n_embd = self.n_embd;
        let mut tensors = match self.layout.fused_qkv {
            true => vec![("attn_qkv.weight", vec![n_embd, n_q + 2 * n_kv])],
            false => vec![
                ("attn_q.weight", vec![n_embd, n_q]),
                ("attn_k.weight", vec![n_embd, n_kv]),
                ("attn_v.weight", vec![n_embd, n_kv]),
            ],
        };
        tensors.push(("attn_output.weight", vec![n_q, n_embd]));
        if self.layout.qkv_bias {
            tensors.push(("attn_q.bias", vec![n_q]));
            tensors.push(("attn_k.bias", vec![n_kv]));
            tensors.push(("attn_v.bias", vec![n_kv]));
        }
        if self.layout.output_bias {
            tensors.push(("attn_output.bias", vec![n_embd]));
        }
        if let Some((n_q, n_k)) = self.layout.qk_norms {
            tensors.push(("attn_q_norm.weight", vec![n_q]));
            tensors.push(("attn_k_norm.weight", vec![n_k]));
        }
        tensors
    }

    fn norms_and_feed_forward(&self) -> Vec<(&'static str, Vec<u64>)> {
        let (n_embd, n_ff) = (self.n_embd, self.n_ff);
        let mut tensors = match self.layout.fused_gate_up {
            true => vec![("ffn_up.weight", vec![n_embd, 2 * n_ff])],
            false => vec![
                ("ffn_gate.weight", vec![n_embd, n_ff]),
                ("ffn_up.weight", vec![n_embd, n_ff]),
            ],
        };
        tensors.push(("ffn_down.weight", vec![n_ff, n_embd]));
        if !self.layout.no_pre_norms {
            tensors.push(("attn_norm.weight", vec![n_embd]));
            tensors.push(("ffn_norm.weight", vec![n_embd]));
        }
        if self.layout.post_norms {
            tensors.push(("post_attention_norm.weight", vec![n_embd]));
            tensors.push(("post_ffw_norm.weight", vec![n_embd]));
        }
        if self.layout.ffn_bias {
            tensors.push(("ffn_gate.bias", vec![n_ff]));
            tensors.push(("ffn_up.bias", vec![n_ff]));
            tensors.push(("ffn_down.bias", vec![n_embd]));
        }
        tensors
    }
}

/// Random numbers in the range.
fn fill(data: &mut [u8], range: Range<f32>, quant: GgmlType, rng: &mut Pcg32) {
    let mut value = || range.start + (range.end - range.start) * rng.next_f32();
    match quant {
        GgmlType::F32 => {
            for word in data.chunks_exact_mut(4) {
                word.copy_from_slice(&value().to_le_bytes());
            }
        }
        // A scale in half precision, then integers, of any bits.
        GgmlType::Q8_0 | GgmlType::Q4_0 => {
            let (size, largest) = match quant {
                GgmlType::Q8_0 => (34, 127.0),
                _ => (18, 8.0),
            };
            for block in data.chunks_exact_mut(size) {
                let scale = half::f16::from_f32(range.end / largest);
                block[..2].copy_from_slice(&scale.to_le_bytes());
                for byte in &mut block[2..] {
                    *byte = (value() / range.end * 127.0) as i8 as u8;
                }
            }
        }
        other => panic!("no random {other}"),
    }
}

/// The printable stand-ins of GPT-2's byte vocabulary, and made-up tokens.
fn tokens() -> Vec<String> {
    let is_printable = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut n_hidden = 0;
    let bytes = (0..256).map(|byte| {
        let code = if is_printable(byte) {
            byte
        } else {
            n_hidden += 1;
            255 + n_hidden
        };
        char::from_u32(code).unwrap().to_string()
    });
    let mut tokens: Vec<String> = bytes.collect();
    tokens.extend((256..N_VOCAB).map(|id| format!("<{id}>")));
    tokens
}
