//! candle outside of a browser: `native FILE --prompt 1,128 --predict 32 --rounds 1`
//! prints what `nox-model bench` prints of our engine.
//!
//! candle takes as many threads as the machine has cores, or as `RAYON_NUM_THREADS` says.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use nox_bench_candle::Model;
use serde_json::{Value, json};

#[derive(Parser)]
struct Options {
    /// The GGUF file
    file: PathBuf,
    /// Lengths of prompts, separated by commas
    #[arg(long, value_delimiter = ',', default_values_t = [1, 128, 1024])]
    prompt: Vec<usize>,
    /// The tokens of each reply
    #[arg(long, default_value_t = 32)]
    predict: usize,
    /// How often each prompt is measured
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let start = Instant::now();
    let file = File::open(&options.file)
        .with_context(|| format!("{} cannot be read", options.file.display()))?;
    let mut model = Model::from_gguf(&mut BufReader::new(file))?;
    let load_ms = milliseconds(start);
    reply(&mut model, 1, 2)?;
    let first_token_ms = milliseconds(start);
    reply(&mut model, 48, 12)?;
    let mut runs = Vec::new();
    for _ in 0..options.rounds {
        for &n_tokens in &options.prompt {
            runs.push(reply(&mut model, n_tokens, options.predict)?);
        }
    }
    let said = json!({
        "load_ms": load_ms,
        "first_token_ms": first_token_ms,
        "runs": runs,
        "peak_bytes": peak_bytes(),
    });
    println!("{said}");
    Ok(())
}

/// A reply of n tokens takes n - 1 passes of decoding: the prompt gives the first.
fn reply(model: &mut Model, n_prompt: usize, n_tokens: usize) -> Result<Value> {
    // Any words will do, as long as every vocabulary has them.
    let prompt: Vec<u32> = (0..n_prompt)
        .map(|idx| 283 + (idx * 7919 % 10_000) as u32)
        .collect();
    let start = Instant::now();
    let mut token = model.prefill(&prompt)?;
    let prefill_ms = milliseconds(start);
    let decoding = Instant::now();
    for _ in 1..n_tokens {
        token = model.decode(token)?;
    }
    Ok(json!({
        "prompt_tokens": n_prompt,
        "cached_tokens": 0,
        "prefill_ms": prefill_ms,
        "completion_tokens": n_tokens,
        "decode_ms": milliseconds(decoding),
    }))
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// On systems that tell.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
