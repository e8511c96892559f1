//! Logits and greedy text of small random models against what llama.cpp computes.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;
mod logit_rows;

use std::path::Path;

use logit_rows::{Expected, compare_greedy, compare_logits};
use nox_engine::{FileSource, KvType, LoadOptions, Model, ModelLoader};

fn load(path: &Path) -> Model {
    let options = LoadOptions {
        kv_type: KvType::F32,
        ..LoadOptions::default()
    };
    let source = FileSource::open(path).unwrap();
    ModelLoader::new(source, options).unwrap().load().unwrap()
}

#[test]
fn every_recorded_model_agrees_with_llama_cpp() {
    let Some(folder) = common::fixtures("logits") else {
        return;
    };
    let rows = std::fs::read_to_string(folder.join("expected.jsonl")).unwrap();
    let mut n_rows = 0;
    for expected in rows.lines().map(Expected::parse) {
        let model = load(&folder.join(&expected.model));
        let worst = compare_logits(&model, &expected);
        let n_equal = compare_greedy(&model, &expected);
        println!(
            "{:24} {:4} tokens: off by {worst:.1e} at most, {n_equal} of {} greedy tokens equal",
            expected.model,
            expected.tokens.len(),
            expected.greedy.len()
        );
        n_rows += 1;
    }
    assert!(n_rows >= 20, "only {n_rows} rows");
}

#[test]
fn half_precision_keys_and_values_change_little() {
    let Some(folder) = common::fixtures("logits") else {
        return;
    };
    let tokens: Vec<u32> = (3..100).collect();
    for name in ["llama.gguf", "qwen2.gguf"] {
        let path = folder.join(name);
        let exact = load(&path);
        let source = FileSource::open(&path).unwrap();
        let half = ModelLoader::new(source, LoadOptions::default())
            .unwrap()
            .load()
            .unwrap();
        let exact = exact.logits(&mut exact.new_context(), &tokens).unwrap();
        let half = half.logits(&mut half.new_context(), &tokens).unwrap();
        for (exact, half) in exact.iter().zip(half) {
            // Keys and values have 11 bits: 2⁻¹² relative error each, over four layers.
            assert!((exact - half).abs() < 3e-2, "{exact} {half}");
        }
    }
}
