//! A vocabulary and a text to encode with it.
//!
//! The input is parts that end with the byte 0xFF: the tokenizer's model, the
//! pre-tokenizer, tokens until an empty one, merges until an empty one, a text. A token
//! begins with its type and its score.

use nox_engine::gguf::Gguf;
use nox_engine::tokenizer::{SpecialTokens, TextDecoder, Tokenizer};

use crate::common::GgufWriter;
use crate::memory::MemoryCap;
use crate::script::Script;
use crate::{Target, seeds};

pub(crate) const TARGET: Target = Target {
    name: "tokenizer",
    memory: MemoryCap {
        // Compiled expressions of the pre-tokenizers take some megabytes.
        fixed_bytes: 32 << 20,
        per_input_byte: 1 << 10,
    },
    max_input_bytes: 4 << 10,
    words: &[
        "gpt2",
        "llama",
        "gemma4",
        "gpt-2",
        "llama-bpe",
        "qwen2",
        "deepseek-llm",
        "tekken",
        "default",
        "Ġ",
        "▁",
        "<0x",
        "<0x0A>",
        "<s>",
        "</s>",
        "<|im_end|>",
        "<|end|>",
    ],
    run,
    seeds: seeds::tokenizer,
};

/// What separates the parts; no UTF-8 text holds it.
pub(crate) const END: u8 = 0xFF;

fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let file = describe(&mut script);
    let gguf = Gguf::read(&file).expect("the writer's files are sound");
    let Ok(tokenizer) = Tokenizer::from_gguf(&gguf) else {
        return;
    };
    let text = String::from_utf8_lossy(script.rest());
    check_special_ids(&tokenizer);
    for special in [SpecialTokens::Parse, SpecialTokens::AsText] {
        if let Ok(ids) = tokenizer.encode(&text, special) {
            check_ids(&tokenizer, &ids);
        }
    }
    if let Ok(ids) = tokenizer.encode_prompt(&text) {
        check_ids(&tokenizer, &ids);
    }
}

fn describe(script: &mut Script<'_>) -> Vec<u8> {
    let (model, pre) = (script.until(END), script.until(END));
    let mut tokens: Vec<&[u8]> = Vec::new();
    let (mut kinds, mut scores) = (Vec::new(), Vec::new());
    while let [kind, score, token @ ..] = script.until(END) {
        tokens.push(token);
        kinds.push(i32::from(*kind));
        scores.push(f32::from(i16::from(*score) - 128));
    }
    let mut merges = Vec::new();
    while let merge @ [_, ..] = script.until(END) {
        merges.push(merge);
    }
    let text = |bytes: &[u8]| crate::common::string(bytes);
    GgufWriter::new()
        .raw("tokenizer.ggml.model", 8, &text(model))
        .raw("tokenizer.ggml.pre", 8, &text(pre))
        .strings("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &kinds)
        .f32s("tokenizer.ggml.scores", &scores)
        .strings("tokenizer.ggml.merges", &merges)
        .finish()
}

fn check_special_ids(tokenizer: &Tokenizer) {
    for id in [tokenizer.bos(), tokenizer.eos()].into_iter().flatten() {
        assert!((id as usize) < tokenizer.n_vocab());
        // Prompts name these tokens.
        let _ = tokenizer.token_text(id);
    }
}

/// Ids are the vocabulary's own, and come out as one text however they are divided.
fn check_ids(tokenizer: &Tokenizer, ids: &[u32]) {
    let mut decoder = TextDecoder::new();
    let (mut pieces, mut bytes) = (String::new(), Vec::new());
    for &id in ids {
        assert!((id as usize) < tokenizer.n_vocab(), "{id} is no token");
        pieces.push_str(&decoder.push(tokenizer, id));
        bytes.extend_from_slice(tokenizer.token_bytes(id));
    }
    pieces.push_str(&decoder.finish());
    assert_eq!(pieces, String::from_utf8_lossy(&bytes));
}
