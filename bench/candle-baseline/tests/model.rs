//! candle on the generated model: what the benchmark relies on.

use std::io::Cursor;

use nox_bench_candle::Model;
use nox_bench_model::{Family, Quant, Shape, write_model};

const SMALL: Shape = Shape {
    family: Family::Llama,
    n_vocab: 2_000,
    n_embd: 64,
    n_layer: 2,
    // Candle's Q5_0, which llama.cpp takes where rows are no whole super-blocks, wants
    // blocks in pairs.
    n_ff: 128,
    n_head: 2,
    n_head_kv: 1,
    n_ctx_train: 128,
    rope_freq_base: 10_000.0,
};

/// Ids of the end token and of bytes that are no text.
fn is_odd(id: u32) -> bool {
    id <= 256 && !(1 + 0x20..=1 + 0x7E).contains(&id)
}

fn greedy(model: &mut Model, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut ids = vec![model.prefill(prompt).expect("a prompt")];
    while ids.len() < count {
        let next = model.decode(ids[ids.len() - 1]).expect("a token");
        ids.push(next);
    }
    ids
}

fn load(shape: &Shape, quant: Quant) -> Model {
    let mut file = Vec::new();
    write_model(&mut file, shape, quant, 42).expect("a vector takes everything");
    Model::from_gguf(&mut Cursor::new(file)).expect("candle reads its own kind of file")
}

#[test]
fn every_model_goes_on_for_ever_in_plain_text() {
    let qwen2 = Shape {
        family: Family::Qwen2,
        ..SMALL
    };
    for shape in [SMALL, qwen2] {
        for quant in Quant::ALL {
            let ids = greedy(&mut load(&shape, quant), &[300, 1_000, 1_500], 40);
            assert!(!ids.iter().any(|&id| is_odd(id)), "{quant:?}: {ids:?}");
        }
    }
}

#[test]
fn a_prompt_starts_from_an_empty_cache() {
    let mut model = load(&SMALL, Quant::Q8_0);
    let first = greedy(&mut model, &[300, 1_000, 1_500], 8);
    assert_eq!(greedy(&mut model, &[300, 1_000, 1_500], 8), first);
}
