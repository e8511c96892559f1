//! Families that the decoder lacks and candle-transformers runs.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;
mod tiny;

use std::cell::Cell;
use std::io::{self, Cursor};

use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Tensor};
use candle_transformers::models::{quantized_llama, quantized_phi};
use common::GgufWriter;
use nox_engine::gguf::{GgmlType, Gguf, GgufError};
use nox_engine::quant::WeightError;
use nox_engine::sampler::Pcg32;
use nox_engine::{
    Context, DecoderKind, EngineError, GenerateOptions, JoinedSource, LoadStep, Model, ModelError,
    ModelLoader, ModelSource, SamplingParams, Step,
};

const N_EMBD: u64 = 32;
const N_FF: u64 = 48;
const N_VOCAB: u64 = 258;
const N_EXPERT: u64 = 4;
/// Candle's attention sums in another order when a prompt comes in other pieces.
const BOUND: f32 = 1e-4;

/// A tiny model with random weights.
#[derive(Clone)]
struct TinyModel {
    architecture: &'static str,
    /// Overrides of what is written for the family.
    context_length: u32,
    n_head: u32,
    more: fn(GgufWriter) -> GgufWriter,
    tensors: Vec<(String, Vec<u64>)>,
    quant: fn(&str) -> GgmlType,
}

fn llama(merged: bool) -> TinyModel {
    let mut tensors = ends();
    for layer in 0..2 {
        let name = |suffix: &str| format!("blk.{layer}.{suffix}.weight");
        tensors.extend([
            (name("attn_norm"), vec![N_EMBD]),
            (name("attn_q"), vec![N_EMBD, N_EMBD]),
            (name("attn_k"), vec![N_EMBD, N_EMBD / 2]),
            (name("attn_v"), vec![N_EMBD, N_EMBD / 2]),
            (name("attn_output"), vec![N_EMBD, N_EMBD]),
            (name("ffn_norm"), vec![N_EMBD]),
            (name("ffn_gate_inp"), vec![N_EMBD, N_EXPERT]),
        ]);
        for (part, dims) in [
            ("ffn_gate", [N_EMBD, N_FF]),
            ("ffn_up", [N_EMBD, N_FF]),
            ("ffn_down", [N_FF, N_EMBD]),
        ] {
            if merged {
                let name = name(&format!("{part}_exps"));
                tensors.push((name, vec![dims[0], dims[1], N_EXPERT]));
                continue;
            }
            for expert in 0..N_EXPERT {
                tensors.push((name(&format!("{part}.{expert}")), dims.to_vec()));
            }
        }
    }
    TinyModel {
        architecture: "llama",
        context_length: 512,
        n_head: 4,
        more: |writer| {
            writer
                .u32("llama.attention.head_count_kv", 2)
                .u32("llama.rope.dimension_count", 8)
                .u32("llama.expert_count", N_EXPERT as u32)
                .u32("llama.expert_used_count", 2)
                .raw(
                    "llama.attention.layer_norm_rms_epsilon",
                    6,
                    &1e-5f32.to_le_bytes(),
                )
        },
        tensors,
        quant: |_| GgmlType::F32,
    }
}

fn phi2() -> TinyModel {
    let mut tensors = vec![("token_embd.weight".to_owned(), vec![N_EMBD, N_VOCAB])];
    let mut with_bias = |name: &str, dims: &[u64]| {
        tensors.push((format!("{name}.weight"), dims.to_vec()));
        tensors.push((format!("{name}.bias"), vec![*dims.last().unwrap()]));
    };
    with_bias("output_norm", &[N_EMBD]);
    with_bias("output", &[N_EMBD, N_VOCAB]);
    for layer in 0..2 {
        with_bias(&format!("blk.{layer}.attn_norm"), &[N_EMBD]);
        with_bias(&format!("blk.{layer}.attn_qkv"), &[N_EMBD, 3 * N_EMBD]);
        with_bias(&format!("blk.{layer}.attn_output"), &[N_EMBD, N_EMBD]);
        with_bias(&format!("blk.{layer}.ffn_up"), &[N_EMBD, N_FF]);
        with_bias(&format!("blk.{layer}.ffn_down"), &[N_FF, N_EMBD]);
    }
    TinyModel {
        architecture: "phi2",
        context_length: 512,
        n_head: 4,
        more: |writer| {
            writer
                .u32("phi2.attention.head_count_kv", 4)
                .u32("phi2.rope.dimension_count", 4)
                .raw(
                    "phi2.attention.layer_norm_epsilon",
                    6,
                    &1e-5f32.to_le_bytes(),
                )
        },
        tensors,
        quant: |_| GgmlType::F32,
    }
}

fn ends() -> Vec<(String, Vec<u64>)> {
    vec![
        ("token_embd.weight".to_owned(), vec![N_EMBD, N_VOCAB]),
        ("output_norm.weight".to_owned(), vec![N_EMBD]),
    ]
}

fn all() -> [TinyModel; 3] {
    [llama(false), llama(true), phi2()]
}

impl TinyModel {
    fn header(&self) -> GgufWriter {
        let key = |suffix: &str| format!("{}.{suffix}", self.architecture);
        let writer = GgufWriter::new()
            .str("general.architecture", self.architecture)
            .str("general.name", "tiny fallback")
            .u32(&key("context_length"), self.context_length)
            .u32(&key("embedding_length"), N_EMBD as u32)
            .u32(&key("block_count"), 2)
            .u32(&key("feed_forward_length"), N_FF as u32)
            .u32(&key("attention.head_count"), self.n_head)
            .str("tokenizer.ggml.model", "gpt2")
            .str("tokenizer.ggml.pre", "gpt-2")
            .strings("tokenizer.ggml.tokens", &tiny::tokens())
            .i32s("tokenizer.ggml.token_type", &tiny::token_types())
            .strings("tokenizer.ggml.merges", &[] as &[&str])
            .u32("tokenizer.ggml.eos_token_id", 257)
            .str("tokenizer.chat_template", tiny::TEMPLATE);
        (self.more)(writer)
    }

    /// The file. A tensor's numbers depend on its name alone, an expert's on its own.
    fn gguf(&self) -> Vec<u8> {
        let with_tensor = |writer: GgufWriter, (name, dims): &(String, Vec<u64>)| {
            writer.tensor(name, dims, (self.quant)(name))
        };
        let mut file = self
            .tensors
            .iter()
            .fold(self.header(), with_tensor)
            .finish();
        for tensor in Gguf::read(&file).unwrap().tensors() {
            let bytes = &mut file[tensor.offset as usize..][..tensor.size_bytes as usize];
            match tensor.name.strip_suffix("_exps.weight") {
                Some(stem) => {
                    let n_bytes = bytes.len() / N_EXPERT as usize;
                    for (expert, bytes) in bytes.chunks_exact_mut(n_bytes).enumerate() {
                        fill(&format!("{stem}.{expert}.weight"), bytes);
                    }
                }
                None => fill(&tensor.name, bytes),
            }
        }
        file
    }

    fn load(&self) -> Model {
        let loader = ModelLoader::new(self.gguf(), tiny::single_threaded()).unwrap();
        loader.load().unwrap()
    }

    fn error(&self) -> EngineError {
        let loader = ModelLoader::new(self.gguf(), tiny::single_threaded());
        loader.map(|_| ()).unwrap_err()
    }
}

fn fill(name: &str, bytes: &mut [u8]) {
    let seed = name
        .bytes()
        .fold(7, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte));
    let mut rng = Pcg32::new(seed);
    for word in bytes.chunks_exact_mut(4) {
        let value = (rng.next_f32() - 0.5) * 1.2;
        word.copy_from_slice(&value.to_le_bytes());
    }
}

fn prompt(n_tokens: usize) -> Vec<u32> {
    (0..n_tokens as u32).map(|i| (i * 37 + 11) % 256).collect()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max)
}

/// What candle makes of the file when it reads it by itself, the prompt in one piece.
fn theirs(file: &[u8], architecture: &str, prompt: &[u32]) -> Vec<f32> {
    let mut file = Cursor::new(file);
    let content = Content::read(&mut file).unwrap();
    let tokens = Tensor::new(prompt, &Device::Cpu).unwrap();
    let tokens = tokens.unsqueeze(0).unwrap();
    let device = &Device::Cpu;
    let logits = match architecture {
        "llama" => {
            let model = quantized_llama::ModelWeights::from_gguf(content, &mut file, device);
            model.unwrap().forward(&tokens, 0)
        }
        _ => {
            let model = quantized_phi::ModelWeights::from_gguf(content, &mut file, device);
            model.unwrap().forward(&tokens, 0)
        }
    };
    logits.unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn logits_are_those_that_candle_gives_by_itself() {
    for model in [llama(false), phi2()] {
        let prompt = prompt(75);
        let expected = theirs(&model.gguf(), model.architecture, &prompt);
        let loaded = model.load();
        let found = loaded.logits(&mut loaded.new_context(), &prompt).unwrap();
        let off = worst(&found, &expected);
        assert!(off < BOUND, "{}: off by {off}", model.architecture);
    }
}

#[test]
fn experts_in_one_tensor_are_those_in_many() {
    let (apart, together) = (llama(false).load(), llama(true).load());
    let prompt = prompt(40);
    let logits = |model: &Model| model.logits(&mut model.new_context(), &prompt).unwrap();
    assert_eq!(logits(&apart), logits(&together));
}

/// When all experts are used and are the same, they are one feed-forward part, which
/// the decoder computes.
#[test]
fn equal_experts_are_the_decoders_own_model() {
    let mut model = llama(false);
    model.more = |writer| {
        writer
            .u32("llama.attention.head_count_kv", 2)
            .u32("llama.rope.dimension_count", 8)
            .u32("llama.expert_count", N_EXPERT as u32)
            .u32("llama.expert_used_count", N_EXPERT as u32)
            .raw(
                "llama.attention.layer_norm_rms_epsilon",
                6,
                &1e-5f32.to_le_bytes(),
            )
    };
    let mut file = model.gguf();
    for tensor in Gguf::read(&file).unwrap().tensors() {
        let parts: Vec<&str> = tensor.name.split('.').collect();
        if let [blk, layer, part, _expert, weight] = parts[..] {
            let bytes = &mut file[tensor.offset as usize..][..tensor.size_bytes as usize];
            fill(&[blk, layer, part, weight].join("."), bytes);
        }
    }
    let mut dense = llama(false);
    dense.more = |writer| {
        writer.u32("llama.attention.head_count_kv", 2).raw(
            "llama.attention.layer_norm_rms_epsilon",
            6,
            &1e-5f32.to_le_bytes(),
        )
    };
    dense.tensors.retain(|(name, _)| !name.contains("_inp"));
    for (name, _) in &mut dense.tensors {
        *name = name.replace(".0.weight", ".weight");
    }
    dense
        .tensors
        .retain(|(name, _)| name.split('.').count() < 5);
    let own = dense.load();
    let loader = ModelLoader::new(file, tiny::single_threaded()).unwrap();
    let experts = loader.load().unwrap();
    assert_eq!(own.decoder_kind(), DecoderKind::Own);
    assert_eq!(experts.decoder_kind(), DecoderKind::Candle);
    assert!(own.config().is_some() && experts.config().is_none());
    let logits = |model: &Model| model.logits(&mut model.new_context(), &prompt(40)).unwrap();
    let off = worst(&logits(&own), &logits(&experts));
    // The decoder keeps keys and values in f16.
    assert!(off < 3e-2, "off by {off}");
}

/// The reply's tokens, taking at most `n_steps` steps.
fn reply(model: &Model, ctx: &mut Context, prompt: &[u32], n_steps: usize) -> Vec<u32> {
    let options = GenerateOptions {
        max_tokens: Some(12),
        ..GenerateOptions::default()
    };
    let mut generation = model.generate(ctx, prompt.to_vec(), options).unwrap();
    for _ in 0..n_steps {
        if matches!(generation.step().unwrap(), Step::Done(_)) {
            break;
        }
    }
    generation.ids().to_vec()
}

#[test]
fn a_conversation_goes_on_from_what_is_held() {
    for model in all() {
        let model = model.load();
        let mut ctx = model.new_context();
        let mut tokens = prompt(45);
        for turn in 0..3 {
            let n_held = ctx.n_past();
            let options = GenerateOptions {
                sampling: SamplingParams::greedy(),
                ..GenerateOptions::default()
            };
            let mut generation = model.generate(&mut ctx, tokens.clone(), options).unwrap();
            assert_eq!(generation.usage().cached_tokens, n_held, "turn {turn}");
            for _ in 0..14 {
                generation.step().unwrap();
            }
            let found = generation.ids().to_vec();
            drop(generation);
            let expected = model.greedy(&tokens, found.len()).unwrap();
            assert_eq!(found, expected, "{} turn {turn}", model.architecture());
            tokens.extend(&found);
            tokens.extend(prompt(7 + turn));
        }
        assert!(ctx.kv_size_bytes() > 0);
    }
}

#[test]
fn another_conversation_begins_anew() {
    for model in all() {
        let model = model.load();
        let fresh = |prompt: &[u32]| reply(&model, &mut model.new_context(), prompt, 100);
        let mut ctx = model.new_context();
        let first = prompt(50);
        assert_eq!(reply(&model, &mut ctx, &first, 100), fresh(&first));
        // Shares a beginning, which can't be kept by itself.
        let mut second = first[..20].to_vec();
        second.extend([1, 2, 3]);
        assert_eq!(reply(&model, &mut ctx, &second, 100), fresh(&second));
        // Shorter than what is held, and the same again.
        assert_eq!(
            reply(&model, &mut ctx, &first[..10], 100),
            fresh(&first[..10])
        );
        assert_eq!(
            reply(&model, &mut ctx, &first[..10], 100),
            fresh(&first[..10])
        );
        ctx.truncate(3);
        assert_eq!((ctx.n_past(), ctx.kv_size_bytes()), (0, 0));
    }
}

#[test]
fn a_cancelled_reply_leaves_a_sound_conversation() {
    for model in all() {
        let model = model.load();
        let prompt = prompt(70);
        let expected = reply(&model, &mut model.new_context(), &prompt, 100);
        // In the middle of the prompt, after it, and in the reply.
        for n_steps in [0, 1, 2, 3, 5, 9] {
            let mut ctx = model.new_context();
            reply(&model, &mut ctx, &prompt, n_steps);
            let found = reply(&model, &mut ctx, &prompt, 100);
            assert_eq!(found, expected, "{} after {n_steps}", model.architecture());
        }
    }
}

#[test]
fn a_split_model_runs_too() {
    let model = llama(true);
    let whole = Gguf::read(&model.gguf()).unwrap().tensors().to_vec();
    let part = |no: usize, range: std::ops::Range<usize>| {
        let header = match no {
            0 => model.header(),
            _ => GgufWriter::new(),
        };
        let mut writer = header.split(no, 2, whole.len());
        for (name, dims) in &model.tensors[range] {
            writer = writer.tensor(name, dims, GgmlType::F32);
        }
        let mut file = writer.finish();
        for tensor in Gguf::read_part(&file).unwrap().tensors() {
            let from = whole.iter().find(|from| from.name == tensor.name).unwrap();
            let bytes = &model.gguf()[from.offset as usize..][..from.size_bytes as usize];
            file[tensor.offset as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        file
    };
    let parts = vec![part(0, 0..9), part(1, 9..whole.len())];
    let source = JoinedSource::new(parts).unwrap();
    let joined = ModelLoader::new(source, tiny::single_threaded()).unwrap();
    let joined = joined.load().unwrap();
    let tokens = prompt(20);
    assert_eq!(
        joined.greedy(&tokens, 10).unwrap(),
        model.load().greedy(&tokens, 10).unwrap()
    );
}

#[test]
fn the_context_is_no_longer_than_candles_tables_and_the_memory() {
    let longest = |mut model: TinyModel, context_length, limit_bytes| {
        model.context_length = context_length;
        let options = nox_engine::LoadOptions {
            memory_limit_bytes: limit_bytes,
            ..tiny::single_threaded()
        };
        ModelLoader::new(model.gguf(), options).map(|loader| loader.n_ctx())
    };
    assert_eq!(longest(phi2(), 512, None).unwrap(), 512);
    assert_eq!(longest(phi2(), 1 << 20, None).unwrap(), 4096);
    let shrunk = longest(phi2(), 1 << 20, Some(6 << 20)).unwrap();
    assert!((512..4096).contains(&shrunk), "{shrunk}");
    let error = longest(phi2(), 512, Some(1 << 17)).unwrap_err();
    assert!(
        matches!(error, EngineError::NotEnoughMemory { .. }),
        "{error}"
    );
    let options = nox_engine::LoadOptions {
        n_ctx: Some(5000),
        ..tiny::single_threaded()
    };
    let error = ModelLoader::new(llama(true).gguf(), options).map(|_| ());
    assert!(matches!(
        error.unwrap_err(),
        EngineError::InvalidOption { field: "n_ctx", .. }
    ));
}

#[test]
fn the_estimate_counts_what_candle_makes_of_the_weights() {
    let estimate = |model: &TinyModel| {
        let loader = ModelLoader::new(model.gguf(), tiny::single_threaded()).unwrap();
        loader.memory_estimate()
    };
    let mut model = llama(true);
    let plain = estimate(&model);
    // Tied: the table serves as the head, a second copy.
    let table = 4 * N_EMBD * N_VOCAB;
    let tensors = model.tensors.iter();
    let others: u64 = tensors
        .map(|(_, dims)| 4 * dims.iter().product::<u64>())
        .sum();
    assert_eq!(plain.weights_bytes, others + table);
    // Keys and values of two layers in f32, for 512 tokens.
    assert_eq!(plain.kv_bytes, 2 * 2 * (N_EMBD / 2) * 4 * 512);
    // Half precision takes half of the file and nothing less in memory.
    model.quant = |name| match name.contains("ffn_up_exps") {
        true => GgmlType::F16,
        false => GgmlType::F32,
    };
    assert_eq!(estimate(&model).weights_bytes, plain.weights_bytes);
    model.quant = |name| match name.contains("ffn_up_exps") {
        true => GgmlType::Q8_0,
        false => GgmlType::F32,
    };
    assert!(estimate(&model).weights_bytes < plain.weights_bytes);
}

#[test]
fn what_candle_would_not_notice_is_refused() {
    let refused = |more: fn(GgufWriter) -> GgufWriter| {
        let mut model = phi2();
        let header = more(model.header());
        let with_tensor = |writer: GgufWriter, (name, dims): &(String, Vec<u64>)| {
            writer.tensor(name, dims, GgmlType::F32)
        };
        let file = model.tensors.drain(..).collect::<Vec<_>>();
        let file = file.iter().fold(header, with_tensor).finish();
        let loader = ModelLoader::new(file, tiny::single_threaded());
        loader.map(|_| ()).unwrap_err().to_string()
    };
    for (part, more) in [
        (
            "phi2.rope.scaling.type",
            (|writer| writer.str("phi2.rope.scaling.type", "yarn")) as fn(GgufWriter) -> GgufWriter,
        ),
        ("phi2.final_logit_softcapping", |writer| {
            writer.raw("phi2.final_logit_softcapping", 6, &30f32.to_le_bytes())
        }),
        ("blk.0.extra.weight", |writer| {
            writer.tensor("blk.0.extra.weight", &[4], GgmlType::F32)
        }),
    ] {
        let message = refused(more);
        assert!(message.contains(part), "{message}");
    }
    let mut model = phi2();
    model
        .tensors
        .retain(|(name, _)| name != "blk.1.attn_qkv.bias");
    assert!(matches!(
        model.error(),
        EngineError::Model(ModelError::MissingTensor { .. })
    ));
    let mut model = phi2();
    model.tensors[0].1[1] += 1;
    assert!(matches!(
        model.error(),
        EngineError::Model(ModelError::Weight(WeightError::WrongShape { .. }))
    ));
    let mut model = llama(true);
    model.quant = |name| match name.contains("ffn_up_exps") {
        true => GgmlType::IQ4_NL,
        false => GgmlType::F32,
    };
    assert!(matches!(
        model.error(),
        EngineError::Model(ModelError::Weight(
            WeightError::UnsupportedQuantization { .. }
        ))
    ));
    for n_head in [0, 3, 64] {
        let mut model = phi2();
        model.n_head = n_head;
        assert!(matches!(
            model.error(),
            EngineError::Model(ModelError::OutOfRange { .. })
        ));
    }
}

#[test]
fn what_neither_runs_is_told_with_what_each_does() {
    let mut model = phi2();
    model.architecture = "mamba";
    model.more = |writer| writer;
    let message = model.error().to_string();
    for part in [
        "\"mamba\"",
        "llama, ",
        "candle-transformers",
        "phi2",
        "llama with experts",
    ] {
        assert!(message.contains(part), "{message}");
    }
    // Experts of a family whose experts nobody has.
    let tiny = tiny::Tiny {
        architecture: "qwen3",
        metadata: |writer| writer.u32("qwen3.expert_count", 8),
        ..tiny::Tiny::default()
    };
    let error = tiny
        .loader(tiny::single_threaded())
        .map(|_| ())
        .unwrap_err();
    assert!(error.to_string().contains("qwen3.expert_count"), "{error}");
}

/// Fails one read of tensor data.
struct Flaky {
    file: Vec<u8>,
    from: u64,
    n_left: Cell<u32>,
    /// Reads that succeed before.
    n_sound: Cell<u32>,
}

impl ModelSource for Flaky {
    fn size_bytes(&self) -> u64 {
        self.file.size_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if offset >= self.from && self.n_sound.get() > 0 {
            self.n_sound.set(self.n_sound.get() - 1);
        } else if offset >= self.from && self.n_left.get() > 0 {
            self.n_left.set(self.n_left.get() - 1);
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        self.file.read_at(offset, buf)
    }
}

#[test]
fn a_source_that_fails_may_be_tried_again() {
    let file = phi2().gguf();
    let from = Gguf::read(&file).unwrap().tensors()[5].offset;
    let source = Flaky {
        file,
        from,
        n_left: Cell::new(1),
        n_sound: Cell::new(0),
    };
    let mut loader = ModelLoader::new(source, tiny::single_threaded()).unwrap();
    let mut n_failures = 0;
    let model = loop {
        match loader.step() {
            Ok(LoadStep::Done(model)) => break model,
            Ok(_) => {}
            Err(EngineError::Gguf(GgufError::Io { source, .. })) => {
                assert_eq!(source.kind(), io::ErrorKind::ResourceBusy);
                n_failures += 1;
            }
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(n_failures, 1);
    assert_eq!(model.name(), "tiny fallback");
}

/// Where a tensor may be missing, candle takes a failure to read it for that.
#[test]
fn every_read_that_fails_is_an_error() {
    let mut model = llama(true);
    model
        .tensors
        .push(("output.weight".to_owned(), vec![N_EMBD, N_VOCAB]));
    let file = model.gguf();
    let tensors = Gguf::read(&file).unwrap().tensors().to_vec();
    let from = tensors.iter().map(|tensor| tensor.offset).min().unwrap();
    for n_sound in 0.. {
        let source = Flaky {
            file: file.clone(),
            from,
            n_left: Cell::new(1),
            n_sound: Cell::new(n_sound),
        };
        let mut loader = ModelLoader::new(source, tiny::single_threaded()).unwrap();
        let error = loop {
            match loader.step() {
                Ok(LoadStep::Done(_)) => break None,
                Ok(_) => {}
                Err(error) => break Some(error),
            }
        };
        let Some(error) = error else {
            // No read was left to fail; there is one for each tensor and expert at least.
            assert!(n_sound as usize >= tensors.len(), "after {n_sound} reads");
            break;
        };
        assert!(
            matches!(error, EngineError::Gguf(GgufError::Io { .. })),
            "after {n_sound} reads: {error}"
        );
    }
}
