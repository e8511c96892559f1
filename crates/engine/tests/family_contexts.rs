//! In every family, what a context computes does not depend on how it came about:
//! whatever was cut off, cancelled, kept as a snapshot or computed in other pieces.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;
mod family_models;

use std::rc::Rc;

use family_models::{FamilyModel, one_of_each};
use nox_engine::sampler::Pcg32;
use nox_engine::snapshot::BLOCK_TOKENS;
use nox_engine::{
    Context, CpuLane, GenerateOptions, KvType, LoadOptions, Model, SamplingParams, Step,
};

fn load(model: &FamilyModel, n_threads: usize) -> Model {
    model.load_with(LoadOptions {
        lane: Some(Rc::new(CpuLane::with_threads(n_threads).unwrap())),
        kv_type: KvType::F16,
        ..LoadOptions::default()
    })
}

fn tokens(n: usize, seed: u64) -> Vec<u32> {
    let mut rng = Pcg32::new(seed);
    (0..n).map(|_| rng.next_u32() % 299).collect()
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

fn after(model: &Model, ctx: &mut Context, tokens: &[u32]) -> Vec<u32> {
    bits(&model.logits(ctx, tokens).unwrap())
}

fn fresh(model: &Model, tokens: &[u32]) -> Vec<u32> {
    after(model, &mut model.new_context(), tokens)
}

#[test]
fn neither_pieces_nor_threads_change_a_bit() {
    let tokens = tokens(110, 1);
    for family_model in one_of_each() {
        let model = load(&family_model, 1);
        let expected = fresh(&model, &tokens);
        for lengths in [&[1][..], &[33, 2], &[3, 1, 4, 1, 5, 9]] {
            let mut ctx = model.new_context();
            let (mut end, mut logits) = (0, Vec::new());
            for length in lengths.iter().cycle() {
                if end == tokens.len() {
                    break;
                }
                end = (end + length).min(tokens.len());
                logits = after(&model, &mut ctx, &tokens[..end]);
            }
            assert_eq!(logits, expected, "{}: {lengths:?}", family_model.name);
        }
        let model = load(&family_model, 3);
        assert_eq!(fresh(&model, &tokens), expected, "{}", family_model.name);
    }
}

#[test]
fn a_truncated_context_goes_on_as_if_it_had_never_been_longer() {
    let said = tokens(200, 2);
    for family_model in one_of_each() {
        let model = load(&family_model, 1);
        let expected = fresh(&model, &said);
        let mut ctx = model.new_context();
        for n_kept in [199, 192, 130, 100, 1] {
            after(&model, &mut ctx, &said);
            ctx.truncate(n_kept);
            assert!(ctx.n_past() <= n_kept);
            assert_eq!(ctx.tokens(), &said[..ctx.n_past()]);
            let other = [&said[..n_kept], &tokens(9, 3)].concat();
            assert_eq!(
                after(&model, &mut ctx, &other),
                fresh(&model, &other),
                "{}: {n_kept} kept, another text",
                family_model.name
            );
            let found = after(&model, &mut ctx, &said);
            assert_eq!(found, expected, "{}: {n_kept} kept", family_model.name);
        }
    }
}

/// The ids of a reply, of which at most `n_steps` steps are taken.
fn reply(model: &Model, ctx: &mut Context, prompt: &[u32], n_steps: usize) -> Vec<u32> {
    let options = GenerateOptions {
        max_tokens: Some(12),
        sampling: SamplingParams {
            temperature: 0.8,
            seed: 5,
            ..SamplingParams::default()
        },
        ..GenerateOptions::default()
    };
    let mut generation = model.generate(ctx, prompt.to_vec(), options).unwrap();
    let mut ids = Vec::new();
    for _ in 0..n_steps {
        match generation.step().unwrap() {
            Step::Token { id, .. } => ids.push(id),
            Step::Done(_) => break,
            Step::Prefill { .. } => {}
        }
    }
    ids
}

#[test]
fn turns_that_are_cancelled_and_repeated_equal_fresh_ones() {
    for family_model in one_of_each() {
        let model = load(&family_model, 1);
        let mut ctx = model.new_context();
        let mut chat = tokens(75, 4);
        for (turn, n_steps) in [100, 2, 5, 100].into_iter().enumerate() {
            reply(&model, &mut ctx, &chat, n_steps);
            let whole = reply(&model, &mut ctx, &chat, 100);
            let expected = reply(&model, &mut model.new_context(), &chat, 100);
            assert_eq!(whole, expected, "{}, turn {turn}", family_model.name);
            chat.extend(whole);
            chat.extend(tokens(20 + turn, 6));
            if turn == 2 {
                // The user has edited what was said.
                chat.truncate(60);
                chat.extend(tokens(15, 7));
            }
        }
    }
}

#[test]
fn snapshots_bring_back_the_same_bits() {
    let said = tokens(150, 8);
    for family_model in one_of_each() {
        let model = load(&family_model, 1);
        let mut ctx = model.new_context();
        after(&model, &mut ctx, &said);
        let starts = (0..).step_by(BLOCK_TOKENS);
        let blocks: Vec<_> = starts.map_while(|start| model.block(&ctx, start)).collect();
        assert_eq!(blocks.len(), 3);
        let model = load(&family_model, 1);
        for n_common in [150, 128, 100, 30] {
            let prompt = [&said[..n_common], &tokens(10, 9)].concat();
            let mut ctx = model.new_context();
            let mut restoration = model.restore(&mut ctx, &prompt).unwrap();
            for (idx, block) in blocks.iter().enumerate() {
                let start = idx * BLOCK_TOKENS;
                if start <= restoration.n_past() {
                    restoration.add(start, block).unwrap();
                }
            }
            // A block's end is where a convolution can go on from.
            let n_least = n_common / BLOCK_TOKENS * BLOCK_TOKENS;
            assert!((n_least..=n_common).contains(&restoration.n_past()));
            assert_eq!(
                after(&model, &mut ctx, &prompt),
                fresh(&model, &prompt),
                "{}: {n_common} tokens in common",
                family_model.name
            );
        }
    }
}
