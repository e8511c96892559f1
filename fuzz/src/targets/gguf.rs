//! A whole file, byte for byte as it is given.

use super::use_file;
use crate::memory::MemoryCap;
use crate::{Target, seeds};

pub(crate) const TARGET: Target = Target {
    name: "gguf",
    memory: MemoryCap {
        fixed_bytes: 32 << 20,
        // Tokens are held as bytes and texts, in a map and in a matcher for markup.
        per_input_byte: 64,
    },
    max_input_bytes: 64 << 10,
    words: &[
        "GGUF",
        "general.architecture",
        "general.alignment",
        "tokenizer.ggml.model",
        "tokenizer.ggml.pre",
        "tokenizer.ggml.tokens",
        "tokenizer.ggml.token_type",
        "tokenizer.ggml.merges",
        "tokenizer.ggml.scores",
        "tokenizer.chat_template",
        "llama",
        "qwen2",
        "qwen3",
        "gemma3",
        "gpt2",
        ".weight",
        "token_embd.weight",
        "output.weight",
        "blk.0.",
        "\0\0\0\0\0\0\0\0",
    ],
    run: use_file,
    seeds: seeds::gguf,
};
