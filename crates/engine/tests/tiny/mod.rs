//! Tiny models with random weights, written as GGUF on the spot.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test binary uses a part

use std::rc::Rc;

use nox_engine::gguf::{GgmlType, Gguf, TensorInfo};
use nox_engine::sampler::Pcg32;
use nox_engine::{CpuLane, LoadOptions, Model, ModelLoader};

use crate::common::GgufWriter;

pub const N_EMBD: u64 = 32;
pub const N_LAYER: u64 = 2;
pub const N_FF: u64 = 64;
pub const N_CTX: u32 = 512;
/// The bytes, then `<|im_start|>` and `<|im_end|>`.
pub const N_VOCAB: u64 = 258;

pub const TEMPLATE: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n\
    {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// What can be varied.
#[derive(Clone)]
pub struct Tiny {
    pub architecture: &'static str,
    pub eos: u32,
    pub quant: GgmlType,
    pub seed: u64,
    /// Extra or overriding work on the writer, before the tensors.
    pub metadata: fn(GgufWriter) -> GgufWriter,
    /// A tensor that is left out.
    pub without: Option<&'static str>,
    /// A tensor that is added.
    pub extra: Option<&'static str>,
    /// A tensor of another type than `quant`.
    pub special_quant: Option<(&'static str, GgmlType)>,
    /// A tensor of another shape.
    pub special_shape: Option<(&'static str, &'static [u64])>,
    pub context_length: u32,
    pub block_count: u32,
    pub template: &'static str,
}

impl Default for Tiny {
    fn default() -> Self {
        Self {
            architecture: "llama",
            eos: 257,
            quant: GgmlType::F32,
            seed: 1,
            metadata: |writer| writer,
            without: None,
            extra: None,
            special_quant: None,
            special_shape: None,
            context_length: N_CTX,
            block_count: N_LAYER as u32,
            template: TEMPLATE,
        }
    }
}

impl Tiny {
    /// The file's bytes.
    pub fn gguf(&self) -> Vec<u8> {
        let mut writer = self.header();
        let mut n_data = 0usize;
        for (name, dims) in self.tensors() {
            let is_vector = dims.len() == 1;
            let quant = match self.special_quant {
                Some((special, quant)) if special == name => quant,
                _ if is_vector => GgmlType::F32,
                _ => self.quant,
            };
            n_data = n_data.next_multiple_of(32)
                + quant.size_bytes(dims.iter().product()).unwrap() as usize;
            writer = writer.tensor(&name, &dims, quant);
        }
        let mut file = writer.finish();
        let start = file.len() - n_data;
        self.fill(&mut file[start..]);
        file
    }

    /// Random numbers that are sensible as f32, and as blocks with f16 scales.
    fn fill(&self, data: &mut [u8]) {
        let mut rng = Pcg32::new(self.seed);
        match self.quant {
            GgmlType::F32 => {
                for word in data.chunks_exact_mut(4) {
                    let value = (rng.next_f32() - 0.5) * 1.2;
                    word.copy_from_slice(&value.to_le_bytes());
                }
            }
            _ => panic!("only F32 data is filled"),
        }
    }

    fn header(&self) -> GgufWriter {
        let arch = self.architecture;
        let key = |suffix: &str| format!("{arch}.{suffix}");
        let writer = GgufWriter::new()
            .str("general.architecture", arch)
            .str("general.name", "tiny")
            .u32(&key("context_length"), self.context_length)
            .u32(&key("embedding_length"), N_EMBD as u32)
            .u32(&key("block_count"), self.block_count)
            .u32(&key("feed_forward_length"), N_FF as u32)
            .u32(&key("attention.head_count"), 4)
            .u32(&key("attention.head_count_kv"), 2)
            .raw(
                &key("attention.layer_norm_rms_epsilon"),
                6,
                &1e-5f32.to_le_bytes(),
            )
            .str("tokenizer.ggml.model", "gpt2")
            .str("tokenizer.ggml.pre", "gpt-2")
            .strings("tokenizer.ggml.tokens", &tokens())
            .i32s("tokenizer.ggml.token_type", &token_types())
            .strings("tokenizer.ggml.merges", &[] as &[&str])
            .u32("tokenizer.ggml.eos_token_id", self.eos)
            .bool("tokenizer.ggml.add_bos_token", false)
            .str("tokenizer.chat_template", self.template);
        (self.metadata)(writer)
    }

    /// Names with dimensions innermost first.
    fn tensors(&self) -> Vec<(String, Vec<u64>)> {
        let mut tensors: Vec<(String, Vec<u64>)> = vec![
            ("token_embd.weight".to_owned(), vec![N_EMBD, N_VOCAB]),
            ("output_norm.weight".to_owned(), vec![N_EMBD]),
        ];
        for layer in 0..N_LAYER {
            for (suffix, dims) in [
                ("attn_norm.weight", vec![N_EMBD]),
                ("attn_q.weight", vec![N_EMBD, N_EMBD]),
                ("attn_k.weight", vec![N_EMBD, N_EMBD / 2]),
                ("attn_v.weight", vec![N_EMBD, N_EMBD / 2]),
                ("attn_output.weight", vec![N_EMBD, N_EMBD]),
                ("ffn_norm.weight", vec![N_EMBD]),
                ("ffn_gate.weight", vec![N_EMBD, N_FF]),
                ("ffn_up.weight", vec![N_EMBD, N_FF]),
                ("ffn_down.weight", vec![N_FF, N_EMBD]),
            ] {
                tensors.push((format!("blk.{layer}.{suffix}"), dims));
            }
        }
        tensors.retain(|(name, _)| self.without != Some(name.as_str()));
        if let Some(extra) = self.extra {
            tensors.push((extra.to_owned(), vec![N_EMBD]));
        }
        for (name, dims) in &mut tensors {
            if let Some((special, shape)) = self.special_shape
                && special == name
            {
                *dims = shape.to_vec();
            }
        }
        tensors
    }

    pub fn loader(
        &self,
        options: LoadOptions,
    ) -> Result<ModelLoader<Vec<u8>>, nox_engine::EngineError> {
        ModelLoader::new(self.gguf(), options)
    }

    pub fn load(&self) -> Model {
        self.load_with(single_threaded())
    }

    pub fn load_with(&self, options: LoadOptions) -> Model {
        self.loader(options).unwrap().load().unwrap()
    }
}

impl Tiny {
    /// The same model in `count` files.
    pub fn parts(&self, count: usize) -> Vec<Vec<u8>> {
        let whole = self.gguf();
        let tensors = Gguf::read(&whole).unwrap().tensors().to_vec();
        let per_part = tensors.len().div_ceil(count);
        let part = |(no, mine): (usize, &[TensorInfo])| {
            let header = match no {
                0 => self.header(),
                _ => GgufWriter::new(),
            };
            let mut writer = header.split(no, count, tensors.len());
            for tensor in mine {
                let dims: Vec<u64> = tensor.shape.iter().rev().map(|&dim| dim as u64).collect();
                writer = writer.tensor(&tensor.name, &dims, tensor.quant);
            }
            let mut file = writer.finish();
            let placed = Gguf::read_part(&file).unwrap();
            for (from, to) in mine.iter().zip(placed.tensors()) {
                let bytes = &whole[from.offset as usize..][..from.size_bytes as usize];
                file[to.offset as usize..][..bytes.len()].copy_from_slice(bytes);
            }
            file
        };
        tensors.chunks(per_part).enumerate().map(part).collect()
    }
}

pub fn single_threaded() -> LoadOptions {
    LoadOptions {
        lane: Some(Rc::new(CpuLane::single_threaded())),
        ..LoadOptions::default()
    }
}

/// The printable stand-ins of GPT-2's byte vocabulary, in the order of the bytes.
pub fn tokens() -> Vec<String> {
    let is_printable = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut n_hidden = 0;
    let mut tokens: Vec<String> = (0..256)
        .map(|byte| {
            let code = if is_printable(byte) {
                byte
            } else {
                n_hidden += 1;
                255 + n_hidden
            };
            char::from_u32(code).unwrap().to_string()
        })
        .collect();
    tokens.extend(["<|im_start|>".to_owned(), "<|im_end|>".to_owned()]);
    tokens
}

pub fn token_types() -> Vec<i32> {
    let mut types = vec![1; 256];
    types.extend([3, 3]);
    types
}
