//! Every family against llama.cpp: tiny random models, whose logits and greedy text
//! it computed (`fixtures/families/README.md` says how).
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;
mod family_models;
mod logit_rows;

use std::collections::HashSet;

use family_models::{family_models, prompts};
use logit_rows::{Expected, compare_greedy, compare_logits};
use nox_engine::supported_architectures;

const ROWS: &str = include_str!("fixtures/families/expected.jsonl");

#[test]
fn every_family_agrees_with_llama_cpp() {
    let rows: Vec<Expected> = ROWS.lines().map(Expected::parse).collect();
    let mut n_compared = 0;
    for family_model in family_models() {
        let model = family_model.load();
        for prompt in prompts(&family_model) {
            let is_row =
                |row: &&Expected| row.model == family_model.file_name() && row.tokens == prompt;
            let expected = rows.iter().find(is_row);
            let expected = expected.unwrap_or_else(|| panic!("no row: {}", family_model.name));
            let worst = compare_logits(&model, expected);
            let n_equal = compare_greedy(&model, expected);
            println!(
                "{:24} {:4} tokens: off by {worst:.1e} at most, {n_equal} of {} greedy tokens equal",
                family_model.name,
                prompt.len(),
                expected.greedy.len()
            );
            n_compared += 1;
        }
    }
    assert_eq!(n_compared, rows.len(), "every row has its model");
}

#[test]
fn every_supported_architecture_has_a_model() {
    let with_models: HashSet<_> = family_models()
        .iter()
        .map(|model| model.architecture)
        .collect();
    let supported: HashSet<_> = supported_architectures().collect();
    assert_eq!(with_models, supported);
}
