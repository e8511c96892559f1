//! Rows of what another engine computes for a model, and how far ours may be off.
//!
//! A row names the prompt's ids, the 20 largest logits after the last of them, sum
//! and sum of squares of all logits, and the next 24 ids by argmax.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test binary uses a part

use nox_engine::Model;
use serde_json::Value;

/// A row of `expected.jsonl`.
pub struct Expected {
    pub model: String,
    pub tokens: Vec<u32>,
    pub top: Vec<(usize, f32)>,
    pub sum: f32,
    pub l2: f32,
    pub greedy: Vec<u32>,
}

impl Expected {
    pub fn parse(line: &str) -> Self {
        let row: Value = serde_json::from_str(line).unwrap();
        let ids = |key: &str| -> Vec<u32> {
            let ids = row[key].as_array().unwrap();
            ids.iter().map(|id| id.as_u64().unwrap() as u32).collect()
        };
        let top = row["top"].as_array().unwrap().iter();
        Self {
            model: row["model"].as_str().unwrap().to_owned(),
            tokens: ids("tokens"),
            top: top
                .map(|pair| {
                    (
                        pair[0].as_u64().unwrap() as usize,
                        pair[1].as_f64().unwrap() as f32,
                    )
                })
                .collect(),
            sum: row["sum"].as_f64().unwrap() as f32,
            l2: row["l2"].as_f64().unwrap() as f32,
            greedy: ids("greedy"),
        }
    }

    /// How far a logit may be off.
    ///
    /// In f32 models only the order of additions differs: at most 1.2e-5, and 7e-4
    /// where llama.cpp looks GELU up in a table of halves. Before quantised weights
    /// activations are rounded to 8 bits on both sides, and nearly always alike;
    /// but one that falls to the other side moves a logit of these random models by
    /// up to 0.1 (so does nudging our norms by a unit in the last place), and in a long
    /// prompt several do: there the bound is one on the root mean square. Before f16
    /// weights llama.cpp rounds activations to halves in some of its kernels only.
    pub fn bound(&self) -> f32 {
        match self.model.as_str() {
            "llama-f16.gguf" => 2e-2,
            model if model.contains("-q") => 1e-1,
            _ => 1e-3,
        }
    }
}

/// The logits after the row's prompt; says how far the farthest is off.
pub fn compare_logits(model: &Model, expected: &Expected) -> f32 {
    let logits = model
        .logits(&mut model.new_context(), &expected.tokens)
        .unwrap();
    let worst = distance(&logits, expected);
    let n = logits.len() as f32;
    let sum: f32 = logits.iter().sum();
    let l2: f32 = logits.iter().map(|logit| logit * logit).sum();
    let bound = expected.bound();
    let name = format!("{} after {} tokens", expected.model, expected.tokens.len());
    assert!(worst <= bound, "{name}: off by {worst}");
    // If each logit is off by `bound` at most, these are the farthest the sums can be.
    assert!((sum - expected.sum).abs() <= bound * n, "{name}: sum {sum}");
    let l2_bound = bound * (2.0 * (n * expected.l2).sqrt() + bound * n);
    assert!((l2 - expected.l2).abs() <= l2_bound, "{name}: l2 {l2}");
    worst
}

/// How far the row's largest logits are off: the farthest one, and of quantised models
/// the root mean square of all.
fn distance(logits: &[f32], expected: &Expected) -> f32 {
    let top = expected.top.iter();
    let off = top.map(|&(id, logit)| (logits[id] - logit).abs());
    if expected.model.contains("-q") {
        let squares: f32 = off.map(|off| off * off).sum();
        (squares / expected.top.len() as f32).sqrt()
    } else {
        off.fold(0.0, f32::max)
    }
}

/// Follows llama.cpp's own continuation and compares each choice, until the two
/// best logits are so close that either may win: twice the bound, as both may be off.
pub fn compare_greedy(model: &Model, expected: &Expected) -> usize {
    let mut tokens = expected.tokens.clone();
    let mut ctx = model.new_context();
    for (n_equal, &next) in expected.greedy.iter().enumerate() {
        let logits = model.logits(&mut ctx, &tokens).unwrap();
        let best = (0..logits.len())
            .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
            .unwrap();
        if best != next as usize {
            let margin = logits[best] - logits[next as usize];
            assert!(
                margin <= 2.0 * expected.bound(),
                "{}: token {n_equal} of the reply is {best}, expected {next}, by a margin of {margin}",
                expected.model
            );
            return n_equal;
        }
        tokens.push(next);
    }
    expected.greedy.len()
}
