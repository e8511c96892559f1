//! Replies step by step: text, ends, cancellation, reuse of what the context holds.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;
mod tiny;

use nox_engine::sampler::SamplerError;
use nox_engine::{
    Context, EngineError, FinishReason, GenerateOptions, Model, SamplingParams, Step, Usage,
};
use tiny::Tiny;

struct Reply {
    text: String,
    ids: Vec<u32>,
    reason: FinishReason,
    usage: Usage,
}

fn greedy(max_tokens: usize) -> GenerateOptions {
    GenerateOptions {
        sampling: SamplingParams::greedy(),
        max_tokens: Some(max_tokens),
        ..GenerateOptions::default()
    }
}

fn run(model: &Model, ctx: &mut Context, prompt: &[u32], options: GenerateOptions) -> Reply {
    let mut generation = model.generate(ctx, prompt.to_vec(), options).unwrap();
    let mut text = String::new();
    let reason = loop {
        match generation.step().unwrap() {
            Step::Prefill { done, total } => assert!(done <= total),
            Step::Token { text: piece, .. } => text.push_str(&piece),
            Step::Done(reason) => break reason,
        }
    };
    assert_eq!(
        generation.step().unwrap(),
        Step::Done(reason),
        "the end stays the end"
    );
    Reply {
        text,
        ids: generation.ids().to_vec(),
        reason,
        usage: generation.usage(),
    }
}

fn reply(model: &Model, prompt: &[u32], options: GenerateOptions) -> Reply {
    run(model, &mut model.new_context(), prompt, options)
}

fn text_of(model: &Model, ids: &[u32]) -> String {
    let bytes: Vec<u8> = ids
        .iter()
        .flat_map(|&id| model.tokenizer().token_bytes(id).to_vec())
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn the_pieces_make_the_text_of_the_tokens() {
    let model = Tiny::default().load();
    for seed in 0..20 {
        let sampling = SamplingParams {
            seed,
            temperature: 3.0,
            ..SamplingParams::default()
        };
        let options = GenerateOptions {
            sampling,
            max_tokens: Some(40),
            ..GenerateOptions::default()
        };
        let found = reply(&model, &[1, 2, 3], options);
        assert_eq!(found.text, text_of(&model, &found.ids));
        assert_eq!(found.usage.completion_tokens, found.ids.len());
        assert_eq!(found.usage.prompt_tokens, 3);
    }
}

#[test]
fn a_reply_equals_greedy_decoding_and_ends_at_max_tokens() {
    let model = Tiny::default().load();
    let expected = model.greedy(&[9, 8, 7], 30).unwrap();
    for max_tokens in [1, 2, 30] {
        let found = reply(&model, &[9, 8, 7], greedy(max_tokens));
        assert_eq!(found.ids, expected[..max_tokens]);
        assert_eq!(found.reason, FinishReason::Length);
    }
    let nothing = reply(&model, &[9, 8, 7], greedy(0));
    assert_eq!(
        (nothing.ids.len(), nothing.reason),
        (0, FinishReason::Length)
    );
}

#[test]
fn an_end_of_generation_token_ends_the_reply() {
    let prompt = [5, 6];
    let plain = Tiny::default().load().greedy(&prompt, 8).unwrap();
    // The same weights, but now the fourth token of that reply means the end.
    let n_before = plain.iter().position(|id| *id == plain[3]).unwrap();
    let model = Tiny {
        eos: plain[3],
        ..Tiny::default()
    }
    .load();
    let found = reply(&model, &prompt, greedy(8));
    assert_eq!(found.ids, plain[..n_before]);
    assert_eq!(found.reason, FinishReason::Stop);
}

#[test]
fn every_stop_string_cuts_the_text_before_itself() {
    let model = Tiny::default().load();
    let sampling = SamplingParams {
        seed: 4,
        temperature: 2.0,
        ..SamplingParams::default()
    };
    let whole = GenerateOptions {
        sampling,
        max_tokens: Some(40),
        ..GenerateOptions::default()
    };
    let text = reply(&model, &[65], whole.clone()).text;
    let starts: Vec<usize> = text.char_indices().map(|(start, _)| start).collect();
    for (i, &start) in starts.iter().enumerate() {
        let end = starts.get(i + 3).copied().unwrap_or(text.len());
        let stop = text[start..end].to_owned();
        let expected = text[..text.find(&stop).unwrap()].to_owned();
        let found = reply(
            &model,
            &[65],
            GenerateOptions {
                stop: vec![stop],
                ..whole.clone()
            },
        );
        assert_eq!((found.text, found.reason), (expected, FinishReason::Stop));
    }
    let never = vec!["\u{1}never\u{1}".to_owned()];
    let found = reply(
        &model,
        &[65],
        GenerateOptions {
            stop: never,
            ..whole
        },
    );
    assert_eq!((found.text, found.reason), (text, FinishReason::Length));
}

#[test]
fn a_full_context_ends_the_reply() {
    let options = nox_engine::LoadOptions {
        n_ctx: Some(16),
        ..tiny::single_threaded()
    };
    let model = Tiny::default().load_with(options);
    let found = reply(&model, &[1; 10], greedy(1000));
    // Six tokens fill the context, and one more follows from the last of them.
    assert_eq!((found.ids.len(), found.reason), (7, FinishReason::Length));
    let full = reply(&model, &[1; 16], greedy(1000));
    assert_eq!((full.ids.len(), full.reason), (1, FinishReason::Length));
    let error = model
        .generate(&mut model.new_context(), vec![1; 17], greedy(1))
        .unwrap_err();
    assert!(matches!(
        error,
        EngineError::ContextOverflow {
            needed: 17,
            n_ctx: 16
        }
    ));
}

#[test]
fn turns_that_reuse_the_context_equal_full_runs() {
    let model = Tiny::default().load();
    let mut ctx = model.new_context();
    let mut prompt: Vec<u32> = (10..90).collect();
    for turn in 0u32..5 {
        let n_held = ctx.n_past();
        let sampling = SamplingParams {
            seed: 3,
            ..SamplingParams::default()
        };
        let options = GenerateOptions {
            sampling,
            max_tokens: Some(20),
            ..GenerateOptions::default()
        };
        let found = run(&model, &mut ctx, &prompt, options.clone());
        let fresh = reply(&model, &prompt, options);
        assert_eq!(found.ids, fresh.ids, "turn {turn}");
        assert_eq!(found.usage.cached_tokens, n_held);
        assert_eq!(fresh.usage.cached_tokens, 0);
        prompt.extend(&found.ids);
        prompt.extend((0..40).map(|i| (i * 7 + turn) % 256));
    }
}

#[test]
fn a_changed_history_keeps_the_common_beginning_alone() {
    let model = Tiny::default().load();
    let mut ctx = model.new_context();
    run(&model, &mut ctx, &[1, 2, 3, 4, 5], greedy(4));
    let found = run(&model, &mut ctx, &[1, 2, 3, 9, 9], greedy(4));
    assert_eq!(found.usage.cached_tokens, 3);
    assert_eq!(found.ids, reply(&model, &[1, 2, 3, 9, 9], greedy(4)).ids);
    // The last token is computed again, as its logits are needed.
    let again = run(&model, &mut ctx, &[1, 2, 3], greedy(4));
    assert_eq!(again.usage.cached_tokens, 2);
    assert_eq!(again.ids, reply(&model, &[1, 2, 3], greedy(4)).ids);
}

#[test]
fn dropping_a_generation_anywhere_leaves_a_usable_context() {
    let model = Tiny::default().load();
    let prompt: Vec<u32> = (0..100).collect();
    let expected = reply(&model, &prompt, greedy(6)).ids;
    for n_steps in 0..12 {
        let mut ctx = model.new_context();
        let mut generation = model
            .generate(&mut ctx, prompt.clone(), greedy(50))
            .unwrap();
        for _ in 0..n_steps {
            generation.step().unwrap();
        }
        drop(generation);
        assert!(ctx.tokens().starts_with(&prompt[..ctx.n_past().min(100)]));
        assert_eq!(run(&model, &mut ctx, &prompt, greedy(6)).ids, expected);
    }
}

#[test]
fn numerical_failure_is_an_error_and_leaves_nothing_behind() {
    let tiny = Tiny::default();
    let mut file = tiny.gguf();
    let n_bytes = file.len();
    // The last tensor is the last layer's down projection.
    file[n_bytes - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let loader = nox_engine::ModelLoader::new(file, tiny::single_threaded()).unwrap();
    let model = loader.load().unwrap();
    let mut ctx = model.new_context();
    let mut generation = model.generate(&mut ctx, vec![1, 2], greedy(3)).unwrap();
    assert_eq!(
        generation.step().unwrap(),
        Step::Prefill { done: 2, total: 2 }
    );
    let error = generation.step().unwrap_err();
    assert!(
        matches!(error, EngineError::Sampler(SamplerError::NotFinite { .. })),
        "{error}"
    );
    drop(generation);
    assert_eq!(ctx.n_past(), 0);
}

/// The last token's logits are finite all the same if nothing of the bad one is stored,
/// and would come from whatever was in its place before.
#[test]
fn numerical_failure_in_the_middle_of_a_prompt_is_an_error() {
    let tiny = Tiny::default();
    let mut file = tiny.gguf();
    let gguf = nox_engine::gguf::Gguf::read(&file).unwrap();
    let row = gguf.tensor("token_embd.weight").unwrap().offset as usize
        + 40 * tiny::N_EMBD as usize * size_of::<f32>();
    file[row..row + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let loader = nox_engine::ModelLoader::new(file, tiny::single_threaded()).unwrap();
    let model = loader.load().unwrap();
    let mut ctx = model.new_context();
    // Another conversation, whose keys and values lie where those of the next would.
    model.logits(&mut ctx, &[9, 8, 7, 6, 5]).unwrap();
    let prompt = vec![1, 2, 40, 3, 4];
    let error = model.logits(&mut ctx, &prompt).unwrap_err();
    assert!(matches!(error, EngineError::KvNotFinite(_)), "{error}");
    let mut generation = model.generate(&mut ctx, prompt, greedy(3)).unwrap();
    let error = generation.step().unwrap_err();
    assert!(matches!(error, EngineError::KvNotFinite(_)), "{error}");
    drop(generation);
    assert_eq!(ctx.n_past(), 0);
    let bits = |ctx: &mut _| -> Vec<u32> {
        let logits = model.logits(ctx, &[1, 2, 3]).unwrap();
        logits.iter().map(|logit| logit.to_bits()).collect()
    };
    assert_eq!(bits(&mut ctx), bits(&mut model.new_context()));
}

/// Some files name tokens that their models were never to say.
#[test]
fn suppressed_tokens_are_not_said() {
    let plain = Tiny::default().load();
    let prompt = [1, 2, 3];
    let said = reply(&plain, &prompt, greedy(8)).ids;
    let suppressing = Tiny {
        metadata: |writer| {
            let all_but_a_few: Vec<i32> = (0..250).collect();
            writer.i32s("tokenizer.ggml.suppress_tokens", &all_but_a_few)
        },
        ..Tiny::default()
    }
    .load();
    assert!(said.iter().any(|id| *id < 250));
    for temperature in [0.0, 3.0] {
        let mut options = greedy(8);
        options.sampling.temperature = temperature;
        let ids = reply(&suppressing, &prompt, options).ids;
        assert!(ids.iter().all(|id| *id >= 250), "{ids:?}");
    }
    // What the caller wishes moves the reply too.
    let mut biased = greedy(8);
    biased.logit_bias = vec![(65, 100.0)];
    assert_eq!(reply(&plain, &prompt, biased).ids, [65; 8]);
}

#[test]
fn prompts_and_options_are_checked() {
    let model = Tiny::default().load();
    let mut ctx = model.new_context();
    let mut error =
        |prompt: Vec<u32>, options| model.generate(&mut ctx, prompt, options).unwrap_err();
    assert!(matches!(error(vec![], greedy(1)), EngineError::EmptyPrompt));
    assert!(matches!(
        error(vec![1, 258], greedy(1)),
        EngineError::UnknownToken {
            token: 258,
            n_vocab: 258
        }
    ));
    let empty_stop = GenerateOptions {
        stop: vec![String::new()],
        ..greedy(1)
    };
    assert!(matches!(
        error(vec![1], empty_stop),
        EngineError::InvalidOption { field: "stop", .. }
    ));
    let sampling = SamplingParams {
        top_p: 2.0,
        ..SamplingParams::default()
    };
    let bad_sampling = GenerateOptions {
        sampling,
        ..greedy(1)
    };
    assert!(matches!(
        error(vec![1], bad_sampling),
        EngineError::Sampler(SamplerError::OutOfRange { field: "top_p", .. })
    ));
}
