//! What files may say about a model: windows and RoPE that llama.cpp does not read,
//! and whatever a hostile file can make of a key.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;
mod family_models;

use std::collections::BTreeSet;
use std::rc::Rc;

use common::{Entry, string};
use family_models::{FamilyModel, Metadata, family_models, one_of_each};
use nox_engine::gguf::Gguf;
use nox_engine::{
    CpuLane, EngineError, LoadOptions, Mixer, Model, ModelConfig, ModelError, ModelLoader,
};

fn named(name: &str) -> FamilyModel {
    let mut models = family_models().into_iter();
    models.find(|model| model.name == name).unwrap()
}

fn with_metadata(name: &str, metadata: Metadata) -> FamilyModel {
    let mut model = named(name);
    model.metadata = metadata;
    model
}

fn config(model: &FamilyModel) -> ModelConfig {
    ModelConfig::from_gguf(&Gguf::read(&model.gguf()).unwrap()).unwrap()
}

fn logits(model: &Model, tokens: &[u32]) -> Vec<f32> {
    model.logits(&mut model.new_context(), tokens).unwrap()
}

fn farthest(a: &[f32], b: &[f32]) -> f32 {
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// With one layer, a window makes everything before it count for nothing: RoPE tells
/// distances only, so the last tokens alone give the same logits, but for rounding.
#[test]
fn windows_of_mistral_and_phi_hide_what_lies_before_them() {
    const WINDOW: usize = 20;
    let prompt: Vec<u32> = (0..90).map(|i| (i * i + 3 * i) % 299).collect();
    let windowed: [(&str, Metadata); 2] = [
        ("llama-biases", |_, w| {
            w.u32("llama.attention.sliding_window", WINDOW as u32)
        }),
        ("phi3", |_, w| {
            w.u32("phi3.attention.sliding_window", WINDOW as u32)
        }),
    ];
    for (name, metadata) in windowed {
        let mut model = with_metadata(name, metadata);
        model.n_layer = 1;
        let model = model.load();
        let whole = logits(&model, &prompt);
        let seen = logits(&model, &prompt[prompt.len() - WINDOW..]);
        let off = farthest(&whole, &seen);
        assert!(off < 1e-4, "{name}: {off}");
        let one_less = logits(&model, &prompt[prompt.len() - WINDOW + 1..]);
        let off = farthest(&whole, &one_less);
        assert!(off > 1e-3, "{name}: {off}");
    }
}

#[test]
fn llama_3_factors_follow_from_metadata_and_count_like_the_files_own() {
    let model = with_metadata("llama-linear", |_, w| {
        w.str("llama.rope.scaling.type", "llama3")
            .f32("llama.rope.scaling.factor", 8.0)
            .f32("llama.rope.scaling.low_freq_factor", 1.0)
            .f32("llama.rope.scaling.high_freq_factor", 4.0)
            .u32("llama.rope.scaling.original_context_length", 64)
    });
    let factors = config(&model).rope_factors.unwrap();
    // Turns in 64 positions: 10.2, 3.2, 1.02 and less for the 8 pairs.
    assert_eq!(factors.len(), 8);
    assert_eq!((factors[0], factors[3], factors[7]), (1.0, 8.0, 8.0));
    assert!(1.0 < factors[1] && factors[1] < factors[2] && factors[2] < 8.0);
    let tokens = [5, 40, 70, 3, 9, 200];
    let plain = logits(&with_metadata("llama-linear", |_, w| w).load(), &tokens);
    assert!(farthest(&logits(&model.load(), &tokens), &plain) > 1e-2);
}

#[test]
fn attention_is_scaled_by_the_width_where_the_family_does() {
    let scale = |name| config(&named(name)).attention_scale;
    // 16 elements per head, or 32 in all over 4 heads.
    assert_eq!(scale("gemma2"), 0.25);
    assert_eq!(scale("gemma2-46-layers"), 1.0 / 8f32.sqrt());
    assert_eq!(scale("granite"), 0.15);
}

#[test]
fn layers_are_what_the_family_makes_of_them() {
    let has_rope = |name| -> Vec<bool> {
        let layers = config(&named(name)).layers.into_iter();
        let rope = layers.map(|layer| match layer.mixer {
            Mixer::Attention(attention) => attention.rope.is_some(),
            Mixer::ShortConv { n_taps } => panic!("a convolution over {n_taps}"),
        });
        rope.collect()
    };
    assert_eq!(has_rope("smollm3"), [true, true, true, false, true]);
    assert_eq!(has_rope("granite-without-rope"), [false; 3]);
    assert_eq!(has_rope("exaone4"), [true; 3]);
    assert_eq!(
        has_rope("exaone4-64-layers")[..5],
        [true, true, true, false, true]
    );
    let config = config(&named("lfm2"));
    assert_eq!(config.n_attention_layers(), 2);
    assert_eq!(config.layers[0].mixer, Mixer::ShortConv { n_taps: 3 });
}

#[test]
fn the_cache_holds_attention_layers_and_a_little_for_convolutions() {
    let model = named("lfm2");
    let loader = ModelLoader::new(model.gguf(), LoadOptions::default()).unwrap();
    let estimate = loader.memory_estimate();
    let model = model.load_with(LoadOptions::default());
    let mut ctx = model.new_context();
    model.logits(&mut ctx, &[7; 512]).unwrap();
    assert_eq!(ctx.kv_size_bytes() as u64, estimate.kv_bytes);
    // Two layers of two key heads and 16 elements, four convolutions of 64 channels.
    let kv = 512 * 2 * 2 * 2 * 16 * 2;
    let recent = 2 * nox_engine::PREFILL_CHUNK * 4 * 64 * 4;
    let states = 512 / 64 * 4 * 2 * 64 * 4;
    assert_eq!(ctx.kv_size_bytes(), kv + recent + states);
    ctx.clear();
    assert_eq!(ctx.kv_size_bytes(), 0);
}

/// Keys that some family reads and not every model has.
const OPTIONAL_KEYS: &[&str] = &[
    "attention.causal",
    "attention.head_count_kv",
    "attention.key_length_swa",
    "attention.scale",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attention.temperature_scale",
    "attn_logit_softcapping",
    "embedding_scale",
    "expert_count",
    "final_logit_softcapping",
    "logit_scale",
    "nextn_predict_layers",
    "residual_scale",
    "rope.dimension_count",
    "rope.dimension_sections",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scale_linear",
    "rope.scaling.alpha",
    "rope.scaling.attn_factor",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "shortconv.l_cache",
];

/// Values of every type that a key may have, and some that none may.
fn hostile_values() -> Vec<(u32, Vec<u8>)> {
    let mut values: Vec<(u32, Vec<u8>)> = Vec::new();
    for number in [0, 1, 3, u32::MAX] {
        values.push((4, number.to_le_bytes().to_vec()));
    }
    for number in [0.0, -1.0, 1e-38, 1e38, f32::INFINITY, f32::NAN] {
        values.push((6, number.to_le_bytes().to_vec()));
    }
    values.push((5, (-1i32).to_le_bytes().to_vec()));
    values.push((7, vec![0]));
    values.push((8, string(b"yarn")));
    values.push((8, string(b"\xFF")));
    values.push((10, u64::MAX.to_le_bytes().to_vec()));
    // Arrays of three numbers, of which none fits every model.
    for numbers in [[0u32; 3], [1, 0, 2], [u32::MAX; 3]] {
        let mut array = 4u32.to_le_bytes().to_vec();
        array.extend(3u64.to_le_bytes());
        array.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        values.push((9, array));
    }
    values
}

/// What `key` may be made to say, in a file that is sound otherwise.
fn hostile_files(model: &FamilyModel) -> impl Iterator<Item = (Entry, Vec<u8>)> {
    let data = model.data();
    let gguf = Gguf::read(&model.gguf_with(&data, None)).unwrap();
    let prefix = format!("{}.", model.architecture);
    let own = gguf.metadata().iter().map(|(key, _)| key.to_owned());
    let optional = OPTIONAL_KEYS.iter().map(|key| format!("{prefix}{key}"));
    let mut keys: BTreeSet<String> = own.chain(optional).collect();
    keys.retain(|key| key.starts_with(&prefix));
    let entries = keys.into_iter().flat_map(|key| {
        hostile_values()
            .into_iter()
            .map(move |(type_id, value)| Entry {
                key: key.clone(),
                type_id,
                value,
            })
    });
    entries.map(move |entry| (entry.clone(), model.gguf_with(&data, Some(entry))))
}

/// A value of the wrong type is named; of one that does not fit the others or the
/// tensors, either may be. Experts ask for keys that models without them lack.
fn check_reason(entry: &Entry, error: &EngineError) {
    match error {
        EngineError::Model(ModelError::Gguf(_)) if entry.key.ends_with("expert_count") => {}
        EngineError::Model(ModelError::Gguf(error)) => {
            assert!(error.to_string().contains(&entry.key), "{entry:?}: {error}");
        }
        EngineError::Model(_) | EngineError::NotEnoughMemory { .. } => {}
        other => panic!("{entry:?}: {other}"),
    }
}

#[test]
fn whatever_a_key_says_a_header_is_taken_or_refused_with_a_reason() {
    let (mut n_refused, mut n_taken) = (0, 0);
    for model in one_of_each() {
        for (entry, file) in hostile_files(&model) {
            match ModelLoader::new(file, LoadOptions::default()) {
                Ok(_) => n_taken += 1,
                Err(error) => {
                    check_reason(&entry, &error);
                    n_refused += 1;
                }
            }
        }
    }
    println!("{n_refused} refused, {n_taken} taken");
    assert!(n_refused > 4000 && n_taken > 1000);
}

#[test]
fn whatever_a_key_says_a_model_that_loads_computes() {
    let mut n_run = 0;
    for name in ["mistral3", "gemma3-linear", "phi3-long", "lfm2"] {
        for (entry, file) in hostile_files(&named(name)) {
            let options = LoadOptions {
                lane: Some(Rc::new(CpuLane::single_threaded())),
                ..LoadOptions::default()
            };
            match ModelLoader::new(file, options).and_then(ModelLoader::load) {
                Ok(model) => {
                    let n_tokens = 3.min(model.n_ctx());
                    assert_eq!(logits(&model, &[1, 2, 3][..n_tokens]).len(), 300);
                    n_run += 1;
                }
                Err(error) => check_reason(&entry, &error),
            }
        }
    }
    assert!(n_run > 300, "{n_run}");
}
