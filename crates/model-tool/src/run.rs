//! Loading a model and running it.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use nox_engine::{
    CpuLane, FinishReason, GenerateOptions, KvType, LoadOptions, Model, ModelLoader, PromptOptions,
    SamplingParams, Step,
};
use serde_json::{Value, json};

use crate::file;
use crate::inspect::f32_to_json;
use crate::text::Conversation;

/// Tokens kept free for the reply if `--max-tokens` does not say.
const DEFAULT_RESERVE: usize = 256;

#[derive(Args)]
pub(crate) struct Load {
    /// The GGUF file
    pub(crate) file: PathBuf,
    /// The context length
    #[arg(long, value_name = "N")]
    ctx: Option<usize>,
    /// The number of threads; one for each physical core by default
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// How keys and values are stored.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Kv {
    F16,
    F32,
    Q8,
}

impl Load {
    pub(crate) fn load(&self, kv: Kv) -> Result<Model> {
        let start = Instant::now();
        let lane = match self.threads {
            Some(n_threads) => {
                let lane = CpuLane::with_threads(n_threads.max(1));
                Some(Rc::new(lane.context("the threads cannot be started")?) as _)
            }
            None => None,
        };
        let options = LoadOptions {
            n_ctx: self.ctx,
            kv_type: match kv {
                Kv::F16 => KvType::F16,
                Kv::F32 => KvType::F32,
                Kv::Q8 => KvType::Q8,
            },
            lane,
            ..LoadOptions::default()
        };
        let path = || self.file.display().to_string();
        let loader = ModelLoader::new(file::open(&self.file)?, options).with_context(path)?;
        let model = loader.load().with_context(path)?;
        eprintln!(
            "{}: context {}, {} threads, loaded in {} ms",
            model.name(),
            model.n_ctx(),
            model.lane().n_threads(),
            start.elapsed().as_millis()
        );
        Ok(model)
    }
}

#[derive(Args)]
pub(crate) struct Generate {
    #[command(flatten)]
    load: Load,
    #[command(flatten)]
    input: Input,
    /// The most tokens of the reply
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Divides the logits; 0 always takes the most likely token
    #[arg(long, value_name = "T", default_value_t = SamplingParams::default().temperature)]
    temperature: f32,
    /// The same seed gives the same reply
    #[arg(long, value_name = "S", default_value_t = SamplingParams::default().seed)]
    seed: u64,
    /// Keep only the K most likely tokens; 0 keeps all
    #[arg(long, value_name = "K", default_value_t = SamplingParams::default().top_k)]
    top_k: usize,
    /// Keep only the most likely tokens that together reach this probability
    #[arg(long, value_name = "P", default_value_t = SamplingParams::default().top_p)]
    top_p: f32,
    /// Keep only tokens at least this fraction as likely as the likeliest
    #[arg(long, value_name = "P", default_value_t = SamplingParams::default().min_p)]
    min_p: f32,
    /// Make tokens that came lately less likely; 1 leaves them alone
    #[arg(long, value_name = "X", default_value_t = SamplingParams::default().repeat_penalty)]
    repeat_penalty: f32,
    /// End the reply before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// How keys and values are stored
    #[arg(long, value_enum, default_value_t = Kv::F16)]
    kv_type: Kv,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Input {
    /// Text to go on from, with the markup that it spells out
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// A file with messages to answer, as `template` reads them
    #[arg(long, value_name = "FILE")]
    messages: Option<PathBuf>,
}

impl Generate {
    pub(crate) fn run(self) -> Result<Value> {
        let model = self.load.load(self.kv_type)?;
        let tokens = self.input_tokens(&model)?;
        let mut ctx = model.new_context();
        let mut generation = model.generate(&mut ctx, tokens, self.options())?;
        let mut text = String::new();
        let mut clock = Clock::start();
        let reason = loop {
            match generation.step()? {
                Step::Prefill { .. } => clock.prefill_done(),
                Step::Token { text: piece, .. } => text.push_str(&piece),
                Step::Done(reason) => break reason,
            }
        };
        let usage = generation.usage();
        Ok(json!({
            "text": text,
            "ids": generation.ids(),
            "finish_reason": finish_reason(reason),
            "usage": usage,
            "timings": clock.timings(usage.prompt_tokens, usage.completion_tokens),
        }))
    }

    fn options(&self) -> GenerateOptions {
        GenerateOptions {
            sampling: SamplingParams {
                temperature: self.temperature,
                top_k: self.top_k,
                top_p: self.top_p,
                min_p: self.min_p,
                repeat_penalty: self.repeat_penalty,
                seed: self.seed,
                ..SamplingParams::default()
            },
            max_tokens: self.max_tokens,
            stop: self.stop.clone(),
            ..GenerateOptions::default()
        }
    }

    fn input_tokens(&self, model: &Model) -> Result<Vec<u32>> {
        match &self.input {
            Input {
                prompt: Some(prompt),
                ..
            } => Ok(model.tokenizer().encode_prompt(prompt)?),
            Input {
                messages: Some(path),
                ..
            } => self.prompt_for(model, path),
            Input { .. } => unreachable!("one of the two is required"),
        }
    }

    fn prompt_for(&self, model: &Model, messages: &Path) -> Result<Vec<u32>> {
        let text = std::fs::read_to_string(messages)
            .with_context(|| format!("{} cannot be read", messages.display()))?;
        let conversation = Conversation::parse(&text)?;
        let options = PromptOptions {
            reserve_tokens: self.max_tokens.unwrap_or(DEFAULT_RESERVE),
            now_unix_s: Some(file::now_unix_s()),
            extra: conversation.extra,
        };
        let prompt = model.prompt(&conversation.messages, &options)?;
        if prompt.n_dropped > 0 {
            eprintln!(
                "the oldest {} messages do not fit and are left out",
                prompt.n_dropped
            );
        }
        Ok(prompt.tokens)
    }
}

#[derive(Args)]
pub(crate) struct Logits {
    #[command(flatten)]
    load: Load,
    /// The tokens' ids, separated by commas
    #[arg(long, value_name = "IDS", value_delimiter = ',', required = true)]
    tokens: Vec<u32>,
    /// How many logits to print
    #[arg(long, value_name = "K", default_value_t = 10)]
    top: usize,
    /// How keys and values are stored
    #[arg(long, value_enum, default_value_t = Kv::F32)]
    kv_type: Kv,
}

impl Logits {
    pub(crate) fn run(self) -> Result<Value> {
        let model = self.load.load(self.kv_type)?;
        let logits = model.logits(&mut model.new_context(), &self.tokens)?;
        let mut ranked: Vec<(usize, f32)> = logits.into_iter().enumerate().collect();
        // Largest first; of equal ones the lower id, as the sort is stable.
        ranked.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let top = ranked
            .iter()
            .take(self.top)
            .map(|&(id, logit)| json!([id, f32_to_json(logit)]));
        Ok(json!({ "tokens": self.tokens, "top": top.collect::<Vec<_>>() }))
    }
}

#[derive(Args)]
pub(crate) struct Greedy {
    #[command(flatten)]
    load: Load,
    /// The tokens' ids, separated by commas
    #[arg(long, value_name = "IDS", value_delimiter = ',', required = true)]
    tokens: Vec<u32>,
    /// How many tokens to print
    #[arg(long, value_name = "N")]
    count: usize,
    /// How keys and values are stored
    #[arg(long, value_enum, default_value_t = Kv::F32)]
    kv_type: Kv,
}

impl Greedy {
    pub(crate) fn run(self) -> Result<Value> {
        let model = self.load.load(self.kv_type)?;
        let ids = model.greedy(&self.tokens, self.count)?;
        Ok(json!({ "ids": ids }))
    }
}

fn finish_reason(reason: FinishReason) -> Value {
    serde_json::to_value(reason).unwrap_or_default()
}

/// Prefill and decode apart.
struct Clock {
    start: Instant,
    prefill: Duration,
}

impl Clock {
    fn start() -> Self {
        Self {
            start: Instant::now(),
            prefill: Duration::ZERO,
        }
    }

    fn prefill_done(&mut self) {
        self.prefill = self.start.elapsed();
    }

    fn timings(&self, n_prefill: usize, n_decode: usize) -> Value {
        let decode = self.start.elapsed().saturating_sub(self.prefill);
        json!({
            "prefill_ms": milliseconds(self.prefill),
            "prefill_tokens_per_s": rate(n_prefill, self.prefill),
            "decode_ms": milliseconds(decode),
            "decode_tokens_per_s": rate(n_decode, decode),
        })
    }
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn rate(n_tokens: usize, duration: Duration) -> Option<f64> {
    let rate = n_tokens as f64 / duration.as_secs_f64();
    rate.is_finite().then_some((rate * 10.0).round() / 10.0)
}
