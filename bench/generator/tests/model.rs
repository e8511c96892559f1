//! The generated file as the product's own reader and tokenizer see it.

use nox_bench_model::{Quant, Shape, write_model};
use nox_engine::gguf::Gguf;
use nox_engine::tokenizer::{SpecialTokens, Tokenizer};

/// As small as a shape can be with all two-letter and many three-letter words.
const SMALL: Shape = Shape {
    n_vocab: 2_000,
    n_embd: 64,
    n_layer: 2,
    n_ff: 96,
    n_head: 2,
    n_head_kv: 1,
    n_ctx_train: 128,
};

fn model(quant: Quant, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_model(&mut bytes, &SMALL, quant, seed).expect("a vector takes everything");
    bytes
}

#[test]
fn the_same_seed_gives_the_same_file() {
    assert_eq!(model(Quant::Q4_0, 1), model(Quant::Q4_0, 1));
    assert_ne!(model(Quant::Q4_0, 1), model(Quant::Q4_0, 2));
}

#[test]
fn every_tensor_lies_inside_the_file() {
    for quant in [Quant::Q4_0, Quant::Q8_0] {
        let gguf = Gguf::read(&model(quant, 1)).unwrap();
        assert_eq!(gguf.architecture().unwrap(), "llama");
        assert_eq!(gguf.tensors().len(), 2 + 9 * SMALL.n_layer);
        let embedding = gguf.tensor("token_embd.weight").unwrap();
        assert_eq!(embedding.shape, [SMALL.n_vocab, SMALL.n_embd]);
        assert_eq!(embedding.quant.name(), quant.name());
    }
}

#[test]
fn a_prompt_of_n_words_has_n_tokens_with_ids_that_follow_from_the_letters() {
    let gguf = Gguf::read(&model(Quant::Q4_0, 1)).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let ids = tokenizer
        .encode("ka bbb aka azz", SpecialTokens::Parse)
        .unwrap();
    let (first_pair, first_word) = (1 + 256 + 26, 1 + 256 + 26 + 676);
    let word = |letters: [u32; 3]| first_word + letters[0] * 676 + letters[1] * 26 + letters[2];
    let expected = [
        first_pair + 10 * 26,
        word([1, 1, 1]),
        word([0, 10, 0]),
        word([0, 25, 25]),
    ];
    assert_eq!(ids, expected);
    assert!(!tokenizer.add_bos());
}
