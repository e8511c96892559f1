//! Where the time of loading goes: `cargo run -p nox-engine --release --example load -- FILE`
//! with `--times N` (default 5). Each part is the best of as many; what lies in the
//! system's memory already is read from there, so this shows what the engine takes beside
//! the storage.
#![allow(clippy::unwrap_used)] // a tool for developers: what fails may panic

use std::path::Path;
use std::time::{Duration, Instant};

use nox_engine::gguf::Gguf;
use nox_engine::quant::read_weight;
use nox_engine::tokenizer::{SpecialTokens, Tokenizer};
use nox_engine::{FileSource, LoadOptions, ModelLoader, ModelSource as _, vocabulary_bytes};

/// What is read at once where reading alone is measured.
const PIECE_BYTES: usize = 1 << 20;

fn main() {
    let (mut path, mut n_times) = (String::new(), 5);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--times" => n_times = args.next().unwrap().parse().unwrap(),
            _ => path = arg,
        }
    }
    let source = FileSource::open(Path::new(&path)).unwrap();
    let size_bytes = source.size_bytes();
    let mut piece = vec![0; PIECE_BYTES];
    show("reading alone", size_bytes, n_times, || {
        let mut offset = 0;
        while offset < size_bytes {
            let n_bytes = (size_bytes - offset).min(PIECE_BYTES as u64) as usize;
            source.read_at(offset, &mut piece[..n_bytes]).unwrap();
            offset += n_bytes as u64;
        }
    });
    let gguf = Gguf::read(&source).unwrap();
    let weights_bytes: u64 = gguf.tensors().iter().map(|tensor| tensor.size_bytes).sum();
    let header_bytes = size_bytes - weights_bytes;
    show("header", header_bytes, n_times, || {
        Gguf::read(&source).unwrap();
    });
    show("tokenizer", header_bytes, n_times, || {
        Tokenizer::from_gguf(&gguf).unwrap();
    });
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let text = "The quick brown fox, it's said, jumps over 12 lazy dogs.\n\n".repeat(1000);
    show("encoding a text", text.len() as u64, n_times, || {
        tokenizer.encode(&text, SpecialTokens::Parse).unwrap();
    });
    println!(
        "{:<18} {:>9.1} MiB for {} tokens",
        "vocabulary",
        vocabulary_bytes(&gguf) as f64 / f64::from(1 << 20),
        tokenizer.n_vocab(),
    );
    if weights_bytes == 0 {
        return;
    }
    show("weights", weights_bytes, n_times, || {
        for tensor in gguf.tensors() {
            let (n_cols, shape) = tensor.shape.split_last().unwrap();
            read_weight(&source, tensor, shape.iter().product(), *n_cols).unwrap();
        }
    });
    show("all of it", size_bytes, n_times, || {
        let loader = ModelLoader::new(&source, LoadOptions::default()).unwrap();
        loader.load().unwrap();
    });
}

/// Prints the shortest of `n_times` runs, and what that is for so many bytes.
fn show(what: &str, n_bytes: u64, n_times: usize, mut run: impl FnMut()) {
    let best = (0..n_times)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .min()
        .unwrap_or(Duration::ZERO);
    println!(
        "{what:<18} {:>9.2} ms  {:>9.0} MB/s",
        best.as_secs_f64() * 1e3,
        n_bytes as f64 / best.as_secs_f64() / 1e6,
    );
}
