//! How fast the engine computes here, and what it takes.
//!
//! What is printed is raw: milliseconds, tokens and bytes of every run. Which of them
//! is the figure to go by is for the reader to say, the project's benchmark for one.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use nox_engine::{Context, GenerateOptions, Model, SamplingParams, Speculation, Step, Usage};
use serde_json::{Value, json};

use crate::run::{Kv, Load, milliseconds};

/// The tokens that a second turn adds.
const TURN_TOKENS: usize = 16;

#[derive(Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    load: Load,
    /// Lengths of prompts, separated by commas; decoding is measured behind each
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 128, 1024])]
    prompt: Vec<usize>,
    /// The tokens of each reply
    #[arg(long, value_name = "N", default_value_t = 32)]
    predict: usize,
    /// How often each prompt is measured
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// How keys and values are stored
    #[arg(long, value_enum, default_value_t = Kv::F16)]
    kv_type: Kv,
}

impl Bench {
    pub(crate) fn run(self) -> Result<Value> {
        ensure!(self.predict >= 2, "decoding takes a reply of two tokens");
        let read = read_all(&self.load.file)?;
        let start = Instant::now();
        let model = self.load.load(self.kv_type)?;
        let load_ms = milliseconds(start.elapsed());
        reply(&model, &mut model.new_context(), prompt(&model, 1, 0), 1)?;
        let first_token_ms = milliseconds(start.elapsed());
        // Caches, clocks and the threads' sleep are as in the middle of a chat.
        reply(&model, &mut model.new_context(), prompt(&model, 48, 1), 12)?;
        let (mut runs, mut turns) = (Vec::new(), Vec::new());
        for round in 0..self.rounds {
            for &n_tokens in &self.prompt {
                let mut ctx = model.new_context();
                let prompt = prompt(&model, n_tokens, round + 2);
                let first = reply(&model, &mut ctx, prompt.clone(), self.predict)?;
                runs.push(first.to_json());
                if self.prompt.iter().all(|&other| other <= n_tokens) {
                    turns.push(self.second_turn(&model, &mut ctx, prompt, &first)?);
                }
            }
        }
        Ok(json!({
            "threads": model.lane().n_threads(),
            "n_ctx": model.n_ctx(),
            "file_bytes": read.n_bytes,
            "read_ms": read.ms,
            "load_ms": load_ms,
            "first_token_ms": first_token_ms,
            "runs": runs,
            "second_turns": turns,
            "peak_bytes": status_bytes("VmHWM"),
            "resident_bytes": status_bytes("VmRSS"),
        }))
    }

    /// The conversation goes on with a few words.
    fn second_turn(
        &self,
        model: &Model,
        ctx: &mut Context,
        mut prompt: Vec<u32>,
        first: &Reply,
    ) -> Result<Value> {
        let words = self::prompt(model, TURN_TOKENS, prompt.len());
        prompt.extend_from_slice(&first.ids);
        prompt.extend(words);
        Ok(reply(model, ctx, prompt, 2)?.to_json())
    }
}

/// A text that no two seeds have the beginning of in common.
fn prompt(model: &Model, n_tokens: usize, seed: usize) -> Vec<u32> {
    let n_vocab = model.tokenizer().n_vocab();
    let id = |idx: usize| ((idx + 1) * 7919 + seed * 104_729) % n_vocab;
    (0..n_tokens.max(1)).map(|idx| id(idx) as u32).collect()
}

struct Reply {
    ids: Vec<u32>,
    usage: Usage,
    prefill_ms: f64,
    decode_ms: f64,
}

impl Reply {
    /// The first token comes out of the prompt's evaluation, so that a reply of n tokens
    /// has taken n - 1 passes of decoding.
    fn to_json(&self) -> Value {
        json!({
            "prompt_tokens": self.usage.prompt_tokens,
            "cached_tokens": self.usage.cached_tokens,
            "prefill_ms": self.prefill_ms,
            "completion_tokens": self.usage.completion_tokens,
            "decode_ms": self.decode_ms,
        })
    }
}

fn reply(model: &Model, ctx: &mut Context, prompt: Vec<u32>, n_tokens: usize) -> Result<Reply> {
    let options = GenerateOptions {
        sampling: SamplingParams {
            temperature: 0.0,
            ..SamplingParams::default()
        },
        max_tokens: Some(n_tokens),
        // Random weights repeat themselves; each token is to take its pass.
        speculation: Speculation::Off,
        ..GenerateOptions::default()
    };
    let start = Instant::now();
    let mut first = None;
    let mut generation = model.generate(ctx, prompt, options)?;
    loop {
        match generation.step()? {
            Step::Prefill { .. } => {}
            Step::Token { .. } => {
                first.get_or_insert_with(|| start.elapsed());
            }
            Step::Done(_) => break,
        }
    }
    let whole = start.elapsed();
    let usage = generation.usage();
    ensure!(
        usage.completion_tokens == n_tokens,
        "the model ended its reply after {} of {n_tokens} tokens",
        usage.completion_tokens
    );
    let prefill = first.context("a reply without a token")?;
    Ok(Reply {
        ids: generation.ids().to_vec(),
        usage,
        prefill_ms: milliseconds(prefill),
        decode_ms: milliseconds(whole - prefill),
    })
}

struct Read {
    n_bytes: u64,
    ms: f64,
}

/// How long the file alone takes, as often as it takes for the system to have it at hand.
fn read_all(path: &Path) -> Result<Read> {
    let unreadable = || format!("{} cannot be read", path.display());
    let mut buf = vec![0; 4 << 20];
    let mut read = Read {
        n_bytes: 0,
        ms: 0.0,
    };
    for _ in 0..2 {
        let start = Instant::now();
        let mut file = File::open(path).with_context(unreadable)?;
        read.n_bytes = 0;
        loop {
            match file.read(&mut buf).with_context(unreadable)? {
                0 => break,
                n_bytes => read.n_bytes += n_bytes as u64,
            }
        }
        read.ms = milliseconds(start.elapsed());
    }
    Ok(read)
}

/// A line of this process's status, on systems that have one.
fn status_bytes(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
