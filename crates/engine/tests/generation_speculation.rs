//! Computing ahead changes nothing but the time: the same tokens, text and end as
//! without, in every way that a reply can go.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;
mod tiny;

use nox_engine::{
    Context, FinishReason, GenerateOptions, LoadOptions, Model, OutputFormat, SamplingParams,
    Speculation, Step, Usage,
};
use serde_json::json;
use tiny::Tiny;

#[derive(Debug, PartialEq)]
struct Reply {
    ids: Vec<u32>,
    pieces: Vec<String>,
    reason: FinishReason,
}

fn run(
    model: &Model,
    ctx: &mut Context,
    prompt: &[u32],
    options: &GenerateOptions,
    speculation: Speculation,
) -> (Reply, Usage) {
    let options = GenerateOptions {
        speculation,
        ..options.clone()
    };
    let mut generation = model.generate(ctx, prompt.to_vec(), options).unwrap();
    let mut pieces = Vec::new();
    let reason = loop {
        match generation.step().unwrap() {
            Step::Prefill { .. } => {}
            Step::Token { text, .. } => pieces.push(text),
            Step::Done(reason) => break reason,
        }
    };
    let usage = generation.usage();
    let reply = Reply {
        ids: generation.ids().to_vec(),
        pieces,
        reason,
    };
    drop(generation);
    let n_known = prompt.len() + reply.ids.len();
    assert!(ctx.n_past() <= n_known, "nothing stays that nobody said");
    assert_eq!(ctx.tokens(), &[prompt, &reply.ids].concat()[..ctx.n_past()]);
    (reply, usage)
}

/// Runs with and without; gives the usage with.
fn check(model: &Model, prompt: &[u32], options: &GenerateOptions) -> Usage {
    let fresh = |mode| run(model, &mut model.new_context(), prompt, options, mode);
    let (plain, usage) = fresh(Speculation::Off);
    assert_eq!((usage.draft_tokens, usage.accepted_tokens), (0, 0));
    let (auto, _) = fresh(Speculation::Auto);
    assert_eq!(auto, plain, "{options:?}");
    let (always, usage) = fresh(Speculation::Always);
    assert_eq!(always, plain, "{options:?}");
    assert!(usage.accepted_tokens <= usage.draft_tokens);
    usage
}

fn sampled(temperature: f32, seed: u64, max_tokens: usize) -> GenerateOptions {
    GenerateOptions {
        sampling: SamplingParams {
            temperature,
            seed,
            ..SamplingParams::default()
        },
        max_tokens: Some(max_tokens),
        ..GenerateOptions::default()
    }
}

/// A prompt that says the same several times.
fn repeating() -> Vec<u32> {
    let phrase: Vec<u32> = (40..60).collect();
    [phrase.clone(), phrase.clone(), vec![7], phrase].concat()
}

#[test]
fn replies_are_the_same_at_every_temperature_and_seed() {
    let mut sum = Usage::default();
    for weights in 0..3 {
        let model = Tiny {
            seed: weights,
            ..Tiny::default()
        }
        .load();
        for seed in 0..12 {
            for temperature in [0.0, 0.2, 0.7, 2.0] {
                let mut options = sampled(temperature, seed, 60);
                options.sampling.repeat_penalty = if seed % 3 == 0 { 1.1 } else { 1.0 };
                let usage = check(&model, &repeating(), &options);
                sum.draft_tokens += usage.draft_tokens;
                sum.accepted_tokens += usage.accepted_tokens;
            }
        }
    }
    // Both ways of a guess were there.
    assert!(sum.accepted_tokens > 100, "{sum:?}");
    assert!(sum.draft_tokens > 2 * sum.accepted_tokens, "{sum:?}");
}

#[test]
fn a_reply_that_repeats_itself_takes_a_fraction_of_the_forwards() {
    // Greedy decoding of random weights ends in a circle.
    let model = Tiny::default().load();
    let usage = check(&model, &[9, 8, 7], &sampled(0.0, 0, 300));
    let n_forwards = usage.completion_tokens - usage.accepted_tokens;
    assert!(n_forwards * 4 < usage.completion_tokens, "{usage:?}");
}

#[test]
fn every_end_is_the_same() {
    let model = Tiny::default().load();
    let prompt = repeating();
    for max_tokens in 1..20 {
        check(&model, &prompt, &sampled(0.0, 1, max_tokens));
    }
    let text: String = {
        let options = sampled(0.3, 5, 40);
        let ctx = &mut model.new_context();
        let (reply, _) = run(&model, ctx, &prompt, &options, Speculation::Off);
        reply.pieces.concat()
    };
    for (start, c) in text.char_indices() {
        let options = GenerateOptions {
            stop: vec![text[start..start + c.len_utf8()].to_owned()],
            ..sampled(0.3, 5, 40)
        };
        check(&model, &prompt, &options);
    }
}

#[test]
fn an_end_of_generation_token_that_was_expected_ends_the_reply() {
    let prompt = repeating();
    let plain = Tiny::default().load().greedy(&prompt, 30).unwrap();
    for eos in plain {
        let model = Tiny {
            eos,
            ..Tiny::default()
        }
        .load();
        check(&model, &prompt, &sampled(0.0, 0, 40));
        check(&model, &prompt, &sampled(1.0, 3, 40));
    }
}

#[test]
fn a_full_context_ends_the_reply_at_the_same_token() {
    for n_ctx in 64..90 {
        let options = LoadOptions {
            n_ctx: Some(n_ctx),
            ..tiny::single_threaded()
        };
        let model = Tiny::default().load_with(options);
        check(&model, &repeating(), &sampled(0.0, 0, 1000));
    }
}

#[test]
fn structured_replies_are_the_same() {
    let model = Tiny::default().load();
    let item = json!({"type": "object", "properties": {"kind": {"enum": ["alpha", "beta"]},
        "n": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["kind", "n"]});
    let schema = json!({"type": "array", "items": item, "minItems": 4, "maxItems": 4});
    let mut n_accepted = 0;
    for seed in 0..20 {
        for temperature in [0.0, 0.8, 2.0] {
            let mut options = sampled(temperature, seed, 250);
            options.format = match schema.clone() {
                serde_json::Value::Object(schema) => OutputFormat::Schema(schema),
                _ => unreachable!(),
            };
            n_accepted += check(&model, &[seed as u32, 5], &options).accepted_tokens;
        }
    }
    assert!(n_accepted > 1000, "{n_accepted}");
}

#[test]
fn turns_that_follow_find_a_context_that_was_never_ahead() {
    let model = Tiny::default().load();
    let mut ctx = model.new_context();
    let mut prompt = repeating();
    for turn in 0..4 {
        let options = sampled(0.5, turn, 25);
        let (found, _) = run(&model, &mut ctx, &prompt, &options, Speculation::Always);
        let fresh = &mut model.new_context();
        let (expected, _) = run(&model, fresh, &prompt, &options, Speculation::Off);
        assert_eq!(found, expected, "turn {turn}");
        prompt.extend(&found.ids);
        prompt.extend(40..52);
    }
}

#[test]
fn dropped_anywhere_the_context_can_be_used_again() {
    let model = Tiny::default().load();
    // The second reply goes round in a circle, so guesses come true.
    let mut n_accepted = 0;
    for (prompt, options, n_steps_max) in [
        (repeating(), sampled(0.3, 2, 30), 25),
        (vec![9, 8, 7], sampled(0.0, 0, 120), 100),
    ] {
        let fresh = &mut model.new_context();
        let (expected, _) = run(&model, fresh, &prompt, &options, Speculation::Off);
        for n_steps in 0..n_steps_max {
            let mut ctx = model.new_context();
            let ahead = GenerateOptions {
                speculation: Speculation::Always,
                ..options.clone()
            };
            let mut generation = model.generate(&mut ctx, prompt.clone(), ahead).unwrap();
            for _ in 0..n_steps {
                generation.step().unwrap();
            }
            let said = [&prompt, generation.ids()].concat();
            n_accepted += generation.usage().accepted_tokens;
            drop(generation);
            assert!(
                said.starts_with(ctx.tokens()),
                "nothing stays that nobody said, after {n_steps} steps"
            );
            let (again, _) = run(&model, &mut ctx, &prompt, &options, Speculation::Always);
            assert_eq!(again, expected, "after {n_steps} steps");
        }
    }
    assert!(n_accepted > 100, "{n_accepted}");
}
