//! A sound file of a tiny model in which the input changes what it likes: metadata,
//! tensors' names, shapes and types, weights. Most of what a model's description can say
//! wrongly lies behind checks that random bytes do not pass.

use nox_engine::gguf::GgmlType;
use nox_engine::supported_architectures;

use super::use_file;
use crate::common::string;
use crate::memory::MemoryCap;
use crate::model_file::{Entry, ModelFile};
use crate::script::Script;
use crate::{Target, seeds};

pub(crate) const TARGET: Target = Target {
    name: "model",
    memory: MemoryCap {
        // The file that the input describes, and what the gguf target may take for it.
        fixed_bytes: 64 << 20,
        per_input_byte: 1 << 10,
    },
    max_input_bytes: 4 << 10,
    words: &[],
    run,
    seeds: seeds::model,
};

/// After the architecture's name and a dot.
const ARCHITECTURE_KEYS: &[&str] = &[
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attention.scale",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "expert_count",
    "vocab_size",
    "logit_scale",
    "embedding_scale",
    "residual_scale",
    "shortconv.l_cache",
];

const OTHER_KEYS: &[&str] = &[
    "general.architecture",
    "general.alignment",
    "general.name",
    "split.count",
    "split.no",
    "split.tensors.count",
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.unknown_token_id",
    "tokenizer.ggml.add_bos_token",
    "tokenizer.chat_template",
];

const SUFFIXES: &[&str] = &[
    "attn_q.bias",
    "attn_k.bias",
    "attn_v.bias",
    "attn_output.bias",
    "attn_q_norm.weight",
    "attn_k_norm.weight",
    "post_attention_norm.weight",
    "post_ffw_norm.weight",
    "attn_qkv.weight",
    "ffn_gate_inp.weight",
];

fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let architectures: Vec<_> = supported_architectures().collect();
    let mut file = ModelFile::tiny(script.pick::<&str>(&architectures));
    while !script.is_empty() {
        change(&mut file, &mut script);
    }
    use_file(&file.write());
}

fn change(file: &mut ModelFile, script: &mut Script<'_>) {
    match script.u8() % 8 {
        0..=2 => {
            let key = key(file, script);
            file.set(key, entry(script));
        }
        3 => {
            let key = key(file, script);
            file.metadata.retain(|(name, _)| *name != key);
        }
        4 => {
            if let Some(tensor) = file.pick_tensor(script.u8()) {
                let dim_idx = usize::from(script.u8()) % tensor.dims.len();
                // Large tensors would make large files of short inputs.
                tensor.dims[dim_idx] = u64::from(script.u8()) + 1;
            }
        }
        5 => {
            if let Some(tensor) = file.pick_tensor(script.u8()) {
                tensor.quant = *script.pick(GgmlType::ALL);
            }
        }
        6 => {
            let name = format!("blk.{}.{}", script.u8() % 3, script.pick(SUFFIXES));
            let dims = match script.u8() % 4 {
                0 => vec![32, 32],
                n => vec![u64::from(n) * 16],
            };
            file.add_tensor(name, dims);
        }
        _ => file.weights = script.up_to(16).to_vec(),
    }
}

fn key(file: &ModelFile, script: &mut Script<'_>) -> String {
    match script.u8() % 2 {
        0 => format!("{}.{}", file.architecture, script.pick(ARCHITECTURE_KEYS)),
        _ => (*script.pick(OTHER_KEYS)).to_owned(),
    }
}

fn entry(script: &mut Script<'_>) -> Entry {
    match script.u8() % 8 {
        0 => Entry::u32(script.u8().into()),
        1 => Entry::new(4, &script.bytes::<4>()),
        2 => Entry::new(6, &script.bytes::<4>()),
        3 => Entry::new(7, &[script.u8() % 2]),
        4 => Entry::new(8, &string(script.until(0))),
        5 => Entry::new(10, &script.bytes::<8>()),
        6 => {
            let n = script.u8() % 8;
            let numbers: Vec<_> = (0..n).flat_map(|_| script.bytes::<4>()).collect();
            Entry::array(*script.pick(&[4, 5, 6]), u64::from(n), &numbers)
        }
        _ => {
            let n = script.u8() % 16;
            let texts: Vec<_> = (0..n).flat_map(|_| string(script.until(0))).collect();
            Entry::array(8, u64::from(n), &texts)
        }
    }
}
