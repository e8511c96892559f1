//! candle on the generated model: what the benchmark relies on.

use nox_bench_candle::Baseline;
use nox_bench_model::{Quant, Shape, write_model};

const SMALL: Shape = Shape {
    n_vocab: 2_000,
    n_embd: 64,
    n_layer: 2,
    n_ff: 96,
    n_head: 2,
    n_head_kv: 1,
    n_ctx_train: 128,
};

/// Ids of the end token and of bytes that are no text.
fn is_odd(id: u32) -> bool {
    id <= 256 && !(1 + 0x20..=1 + 0x7E).contains(&id)
}

fn greedy(baseline: &mut Baseline, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut ids = vec![baseline.prefill(prompt).expect("a prompt")];
    while ids.len() < count {
        let next = baseline.decode(ids[ids.len() - 1]).expect("a token");
        ids.push(next);
    }
    ids
}

#[test]
fn the_model_goes_on_for_ever_in_plain_text() {
    for quant in [Quant::Q4_0, Quant::Q8_0] {
        let mut file = Vec::new();
        write_model(&mut file, &SMALL, quant, 42).unwrap();
        let mut baseline = Baseline::new(&file).expect("candle reads its own kind of file");
        let ids = greedy(&mut baseline, &[300, 1_000, 1_500], 40);
        assert!(!ids.iter().any(|&id| is_odd(id)), "{quant:?}: {ids:?}");
    }
}

#[test]
fn a_prompt_starts_from_an_empty_cache() {
    let mut file = Vec::new();
    write_model(&mut file, &SMALL, Quant::Q8_0, 42).unwrap();
    let mut baseline = Baseline::new(&file).expect("candle reads its own kind of file");
    let first = greedy(&mut baseline, &[300, 1_000, 1_500], 8);
    assert_eq!(greedy(&mut baseline, &[300, 1_000, 1_500], 8), first);
}
