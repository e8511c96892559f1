//! A token's logits depend on the tokens before it and on nothing else.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;
mod tiny;

use std::rc::Rc;

use nox_engine::sampler::Pcg32;
use nox_engine::{CpuLane, KvType, LoadOptions, MAX_LOGITS, Model};
use tiny::Tiny;

fn tokens(n: usize) -> Vec<u32> {
    let mut rng = Pcg32::new(9);
    (0..n).map(|_| rng.next_u32() % 256).collect()
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

/// Feeds `tokens` in pieces of the given lengths, over and over.
fn in_pieces(model: &Model, tokens: &[u32], lengths: &[usize]) -> Vec<u32> {
    let mut ctx = model.new_context();
    let (mut end, mut logits) = (0, Vec::new());
    for length in lengths.iter().cycle() {
        if end == tokens.len() {
            break;
        }
        end = (end + length).min(tokens.len());
        logits = model.logits(&mut ctx, &tokens[..end]).unwrap();
    }
    bits(&logits)
}

#[test]
fn the_split_into_chunks_changes_no_bit() {
    let model = Tiny::default().load();
    // Beyond one page of the KV cache.
    let tokens = tokens(300);
    let expected = in_pieces(&model, &tokens, &[300]);
    for lengths in [
        &[1][..],
        &[2],
        &[3, 1, 4, 1, 5, 9],
        &[31],
        &[33, 2],
        &[64, 63],
    ] {
        assert_eq!(in_pieces(&model, &tokens, lengths), expected, "{lengths:?}");
    }
}

#[test]
fn truncating_and_extending_again_changes_no_bit() {
    let model = Tiny::default().load();
    let tokens = tokens(280);
    let expected = bits(&model.logits(&mut model.new_context(), &tokens).unwrap());
    let mut ctx = model.new_context();
    model.logits(&mut ctx, &tokens[..270]).unwrap();
    for n_kept in [269, 257, 256, 255, 100, 0] {
        ctx.truncate(n_kept);
        let other: Vec<u32> = tokens[..n_kept].iter().copied().chain([7; 9]).collect();
        model.logits(&mut ctx, &other).unwrap();
        assert_eq!(bits(&model.logits(&mut ctx, &tokens).unwrap()), expected);
    }
}

#[test]
fn logits_of_several_positions_are_those_of_each() {
    let model = Tiny::default().load();
    let tokens = tokens(60);
    let mut ctx = model.new_context();
    let alone: Vec<Vec<u32>> = (0..=tokens.len())
        .skip(1)
        .map(|end| bits(&model.logits(&mut ctx, &tokens[..end]).unwrap()))
        .collect();
    for n_logits in [1, 2, 5, MAX_LOGITS] {
        for n_held in [0, 30, 59] {
            let mut ctx = model.new_context();
            if n_held > 0 {
                model.logits(&mut ctx, &tokens[..n_held]).unwrap();
            }
            let together = model.last_logits(&mut ctx, &tokens, n_logits).unwrap();
            let expected = alone[tokens.len() - n_logits..].concat();
            assert_eq!(bits(&together), expected, "{n_logits} after {n_held}");
            assert_eq!(ctx.n_past(), tokens.len());
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let tokens = tokens(70);
    let logits = |n_threads, kv_type| {
        let lane = CpuLane::with_threads(n_threads).unwrap();
        let options = LoadOptions {
            lane: Some(Rc::new(lane)),
            kv_type,
            ..LoadOptions::default()
        };
        let model = Tiny::default().load_with(options);
        bits(&model.logits(&mut model.new_context(), &tokens).unwrap())
    };
    for kv_type in [KvType::F16, KvType::F32] {
        let expected = logits(1, kv_type);
        for n_threads in 2..5 {
            assert_eq!(logits(n_threads, kv_type), expected, "{n_threads} threads");
        }
    }
}
