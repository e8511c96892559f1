//! Real vocabularies against llama.cpp's own tokenizer cases.
#![allow(clippy::unwrap_used)] // helpers fail the test that calls them

mod common;

use std::path::Path;
use std::time::Instant;

use nox_engine::FileSource;
use nox_engine::gguf::Gguf;
use nox_engine::tokenizer::{SpecialTokens, TextDecoder, Tokenizer};

const SEPARATOR: &str = "\n__ggml_vocab_test__\n";

#[test]
fn every_case_of_every_vocabulary_gives_llama_cpps_tokens() {
    let Some(folder) = common::fixtures("vocab") else {
        return;
    };
    let mut failures = Vec::new();
    let mut n_cases = 0;
    for path in vocabularies(&folder) {
        let tokenizer = load(&path);
        for (text, expected) in cases(&path) {
            n_cases += 1;
            let found = tokenizer.encode(&text, SpecialTokens::AsText).unwrap();
            if found != expected {
                failures.push(format!(
                    "{}: {text:?}\n  expected {expected:?}\n  found    {found:?}",
                    path.display()
                ));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {n_cases} fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(n_cases > 0, "the folder holds no vocabulary");
    println!("{n_cases} cases agree");
}

#[test]
fn tokens_turn_back_into_the_text_they_came_from() {
    let Some(folder) = common::fixtures("vocab") else {
        return;
    };
    for path in vocabularies(&folder) {
        let tokenizer = load(&path);
        for (text, ids) in cases(&path) {
            let mut decoder = TextDecoder::new();
            let mut back: String = ids.iter().map(|&id| decoder.push(&tokenizer, id)).collect();
            back += &decoder.finish();
            // SentencePiece puts a space in front of a text.
            let back = match back.strip_prefix(' ') {
                Some(rest) if rest == text => rest,
                _ => &back,
            };
            assert_eq!(back, text, "{}", path.display());
        }
    }
}

fn vocabularies(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "gguf")
        })
        .collect();
    paths.sort();
    paths
}

fn load(path: &Path) -> Tokenizer {
    let start = Instant::now();
    let source = FileSource::open(path).unwrap();
    let gguf = Gguf::read(&source).unwrap();
    let read_ms = start.elapsed().as_millis();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    println!(
        "{}: {} tokens, file read in {read_ms} ms, tokenizer built after {} ms",
        path.file_name().unwrap().display(),
        tokenizer.n_vocab(),
        start.elapsed().as_millis()
    );
    tokenizer
}

/// Texts with the ids that llama.cpp makes of them.
fn cases(path: &Path) -> Vec<(String, Vec<u32>)> {
    let texts = std::fs::read_to_string(format!("{}.inp", path.display())).unwrap();
    let ids = std::fs::read_to_string(format!("{}.out", path.display())).unwrap();
    let texts: Vec<_> = texts.split(SEPARATOR).collect();
    let ids: Vec<Vec<u32>> = ids
        .lines()
        .map(|line| {
            line.split_whitespace()
                .map(|id| id.parse().unwrap())
                .collect()
        })
        .collect();
    // The last text ends with a separator's line and nothing after it.
    let n = ids.len().min(texts.len());
    assert!(
        texts.len() - n <= 1 && ids.len() == n,
        "{}: {} texts, {} results",
        path.display(),
        texts.len(),
        ids.len()
    );
    texts.into_iter().map(str::to_owned).zip(ids).collect()
}
