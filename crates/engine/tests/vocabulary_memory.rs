//! What a vocabulary takes is about what was estimated before it was built. Alone in its
//! file, as what is measured is the whole process; told by Linux alone.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;

use std::fs;

use nox_engine::FileSource;
use nox_engine::gguf::Gguf;
use nox_engine::tokenizer::Tokenizer;
use nox_engine::vocabulary_bytes;

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mut lines = status.lines();
    let value = lines
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .unwrap();
    let kib: u64 = value.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024
}

#[test]
fn a_vocabulary_takes_what_was_estimated() {
    let Some(folder) = common::fixtures("vocab") else {
        return;
    };
    for name in ["gpt-2", "qwen2", "llama-bpe"] {
        let before = resident_bytes();
        let file = FileSource::open(folder.join(format!("ggml-vocab-{name}.gguf"))).unwrap();
        let gguf = Gguf::read(&file).unwrap();
        let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
        let taken = resident_bytes().saturating_sub(before);
        assert!(tokenizer.n_vocab() > 50_000);
        // Memory that was freed before is used again and not seen; what building it took
        // for a while is seen. Neither is much beside the vocabulary.
        let (min, max) = (taken / 4 * 3, taken / 2 * 3);
        let found = vocabulary_bytes(&gguf);
        println!("{name}: estimated {found}, taken {taken} bytes");
        assert!((min..=max).contains(&found), "{name}: {found} and {taken}");
        // Keeps the next one from finding its memory.
        std::mem::forget((gguf, tokenizer));
    }
}
