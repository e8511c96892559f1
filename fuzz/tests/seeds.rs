//! The seeds as plain tests: every one through its target, and those that stand for an
//! incident also for what is said about them.
#![allow(clippy::unwrap_used)] // helpers fail the test that calls them

use std::collections::HashSet;

use nox_engine::gguf::{Gguf, GgufError};
use nox_engine::{LoadOptions, ModelLoader};
use nox_fuzz::{TARGETS, find, seeds};

#[test]
fn no_seed_breaks_its_target() {
    for target in TARGETS {
        let seeds = target.seeds();
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        let names: HashSet<_> = seeds.iter().map(|seed| seed.name).collect();
        assert_eq!(
            names.len(),
            seeds.len(),
            "two seeds of {} share a name",
            target.name
        );
        for seed in seeds {
            assert!(seed.bytes.len() <= target.max_input_bytes, "{}", seed.name);
            println!("{}: {}", target.name, seed.name);
            target.run(&seed.bytes);
        }
    }
}

#[test]
fn sound_files_go_all_the_way() {
    let seeds = seeds::gguf();
    let sound: Vec<_> = seeds
        .iter()
        .filter(|seed| seed.name.starts_with("sound-"))
        .collect();
    assert_eq!(sound.len(), 4);
    for seed in sound {
        let loader = ModelLoader::new(&*seed.bytes, LoadOptions::default()).expect(seed.name);
        let model = loader.load().expect(seed.name);
        assert!(model.template().is_ok(), "{}", seed.name);
    }
}

/// Why the file of an incident is refused, in the reader's words or the model's.
fn refusal(bytes: &[u8]) -> String {
    let mut loader = match ModelLoader::new(bytes, LoadOptions::default()) {
        Ok(loader) => loader,
        Err(error) => return error.to_string(),
    };
    loop {
        match loader.check_step() {
            Ok(true) => return "accepted".to_owned(),
            Ok(false) => {}
            Err(error) => return error.to_string(),
        }
    }
}

#[test]
fn every_incident_is_refused_with_its_reason() {
    let reasons = [
        ("tensor-beyond-the-file", "beyond the file's end"),
        ("tensor-begins-beyond-the-file", "beyond the file's end"),
        ("tensor-offset-wraps", "beyond the file's end"),
        ("string-longer-than-the-file", "the length of the value"),
        ("string-of-petabytes", "the length of the value"),
        ("key-longer-than-the-file", "the length of metadata key"),
        ("array-longer-than-the-file", "the length of \"k\""),
        (
            "array-of-strings-longer-than-the-file",
            "the length of \"k\"",
        ),
        ("array-whose-size-wraps", "the length of \"k\""),
        ("tensor-count-wraps", "the number of tensors"),
        ("metadata-count-wraps", "the number of metadata keys"),
        ("counts-at-their-largest", "the number of tensors"),
        ("dimensions-wrap-to-zero", "too large to address"),
        ("dimensions-wrap-to-little", "too large to address"),
        ("dimension-of-zero", "dimension of zero"),
        ("no-dimensions", "0 dimensions"),
        ("five-dimensions", "5 dimensions"),
        ("block-cut-in-two", "rows of 48 elements"),
        ("unknown-tensor-type", "unknown type"),
        ("array-of-unknown-type", "unknown value type 13"),
        ("arrays-inside-each-other", "the nesting of arrays"),
        ("number-where-tokens-belong", "tokenizer.ggml.tokens"),
        ("numbers-where-tokens-belong", "tokenizer.ggml.tokens"),
        ("texts-where-scores-belong", "tokenizer.ggml.scores"),
        ("fewer-types-than-tokens", "tokenizer.ggml.token_type"),
        ("text-where-a-count-belongs", "llama.block_count"),
        ("no-heads", "llama.attention.head_count"),
        ("no-key-heads", "llama.attention.head_count_kv"),
        ("alignment-of-zero", "general.alignment"),
    ];
    let incidents = seeds::incidents();
    assert_eq!(incidents.len(), reasons.len());
    for (seed, (name, reason)) in incidents.iter().zip(reasons) {
        assert_eq!(seed.name, name);
        let said = refusal(&seed.bytes);
        assert!(said.contains(reason), "{name}: {said}");
    }
}

#[test]
fn a_tensor_beyond_the_file_is_told_with_its_place() {
    let incidents = seeds::incidents();
    let error = Gguf::read(&incidents[0].bytes).unwrap_err();
    assert!(
        matches!(error, GgufError::TensorOutOfFile { size_bytes, .. } if size_bytes == 4 << 20)
    );
}

#[test]
fn targets_are_found_by_their_names() {
    for target in TARGETS {
        assert_eq!(find(target.name).map(|found| found.name), Some(target.name));
    }
    assert!(find("no such target").is_none());
}
