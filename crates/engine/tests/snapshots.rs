//! What a snapshot brings back is what would have been computed, and what is not in
//! order brings nothing.
#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;
mod family_models;
mod tiny;

use nox_engine::sampler::Pcg32;
use nox_engine::snapshot::{BLOCK_TOKENS, Block, PrefixKey, Restored, SnapshotError, reseal};
use nox_engine::{
    Context, GenerateOptions, KvType, LoadOptions, Model, ModelLoader, SamplingParams, Step,
};
use tiny::{Tiny, single_threaded};

fn tokens(n: usize, seed: u64) -> Vec<u32> {
    let mut rng = Pcg32::new(seed);
    (0..n).map(|_| rng.next_u32() % 256).collect()
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

fn fresh(model: &Model, tokens: &[u32]) -> Vec<u32> {
    bits(&model.logits(&mut model.new_context(), tokens).unwrap())
}

fn filled(model: &Model, tokens: &[u32]) -> Context {
    let mut ctx = model.new_context();
    model.logits(&mut ctx, tokens).unwrap();
    ctx
}

/// All blocks of what the context holds.
fn blocks(model: &Model, ctx: &Context) -> Vec<Vec<u8>> {
    let starts = (0..).step_by(BLOCK_TOKENS);
    starts.map_while(|start| model.block(ctx, start)).collect()
}

/// Adds blocks until one is refused.
fn bring_back(
    model: &Model,
    ctx: &mut Context,
    prompt: &[u32],
    blocks: &[Vec<u8>],
) -> (Restored, Option<SnapshotError>) {
    let mut restoration = model.restore(ctx, prompt).unwrap();
    for (idx, block) in blocks.iter().enumerate() {
        let start = idx * BLOCK_TOKENS;
        if start > restoration.n_past() {
            break;
        }
        if let Err(error) = restoration.add(start, block) {
            return (restoration.counts(), Some(error));
        }
    }
    (restoration.counts(), None)
}

fn with_kv_type(kv_type: KvType) -> Model {
    Tiny::default().load_with(LoadOptions {
        kv_type,
        ..single_threaded()
    })
}

#[test]
fn a_restored_context_gives_the_same_bits() {
    for kv_type in [KvType::F16, KvType::F32] {
        let model = with_kv_type(kv_type);
        let said = tokens(300, 1);
        let kept = blocks(&model, &filled(&model, &said));
        assert_eq!(kept.len(), 300_usize.div_ceil(BLOCK_TOKENS));
        // As by another run: the same file, loaded anew.
        let model = with_kv_type(kv_type);
        for n_prompt in [2, 10, 64, 65, 128, 200, 299, 300, 330] {
            let prompt: Vec<u32> = [&said[..], &tokens(30, 2)].concat()[..n_prompt].to_vec();
            let mut ctx = model.new_context();
            let (restored, error) = bring_back(&model, &mut ctx, &prompt, &kept);
            assert!(error.is_none(), "{error:?}");
            let n_known = (n_prompt - 1).min(300);
            assert_eq!(ctx.n_past(), n_known);
            assert_eq!(restored.n_restored + restored.n_computed, n_known);
            assert!(restored.n_computed <= 8);
            let logits = bits(&model.logits(&mut ctx, &prompt).unwrap());
            assert_eq!(logits, fresh(&model, &prompt), "{n_prompt} tokens");
        }
    }
}

#[test]
fn only_the_common_beginning_is_taken() {
    let model = Tiny::default().load();
    let said = tokens(200, 1);
    let kept = blocks(&model, &filled(&model, &said));
    for n_common in [0, 1, 7, 8, 9, 63, 64, 100, 127, 128, 150] {
        let mut prompt = said.clone();
        for token in &mut prompt[n_common..] {
            *token = (*token + 1) % 256;
        }
        let mut ctx = model.new_context();
        let (_, error) = bring_back(&model, &mut ctx, &prompt, &kept);
        // The block after the one in which the texts part has another prefix.
        let is_foreign = matches!(error, None | Some(SnapshotError::OtherPrefix));
        assert!(is_foreign, "{error:?}");
        assert_eq!(ctx.tokens(), &said[..n_common]);
        let logits = bits(&model.logits(&mut ctx, &prompt).unwrap());
        assert_eq!(logits, fresh(&model, &prompt), "{n_common} in common");
    }
}

#[test]
fn what_the_context_holds_is_not_read_again() {
    let model = Tiny::default().load();
    let said = tokens(200, 1);
    let kept = blocks(&model, &filled(&model, &said));
    for n_held in [1, 60, 64, 70, 128, 190] {
        let mut ctx = filled(&model, &said[..n_held]);
        let (restored, error) = bring_back(&model, &mut ctx, &said, &kept);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(restored.n_restored + restored.n_computed, 199 - n_held);
        let logits = bits(&model.logits(&mut ctx, &said).unwrap());
        assert_eq!(logits, fresh(&model, &said), "{n_held} held");
    }
}

#[test]
fn blocks_do_not_depend_on_how_their_positions_came_about() {
    let model = Tiny::default().load();
    let said = tokens(200, 1);
    let expected = blocks(&model, &filled(&model, &said));
    let mut in_turns = model.new_context();
    for end in [3, 90, 91, 200] {
        model.logits(&mut in_turns, &said[..end]).unwrap();
    }
    assert_eq!(blocks(&model, &in_turns), expected);
    let mut again = model.new_context();
    bring_back(&model, &mut again, &said, &expected);
    model.logits(&mut again, &said).unwrap();
    assert_eq!(blocks(&model, &again), expected);
}

/// Keeps everything after each turn and begins each turn in an empty context.
#[test]
fn conversations_with_snapshots_in_between_equal_fresh_runs() {
    let model = Tiny::default().load();
    for seed in 0..6 {
        let mut rng = Pcg32::new(seed);
        let mut said = tokens(40, seed);
        let mut kept: Vec<Vec<u8>> = Vec::new();
        for turn in 0..5 {
            said.extend(tokens(1 + rng.next_u32() as usize % 60, seed + 100 + turn));
            let n_steps = 1 + rng.next_u32() as usize % 20;
            let mut ctx = model.new_context();
            bring_back(&model, &mut ctx, &said, &kept);
            let warm = cancelled_after(&model, &mut ctx, &said, n_steps);
            let cold = cancelled_after(&model, &mut model.new_context(), &said, n_steps);
            assert_eq!(warm, cold, "seed {seed}, turn {turn}");
            kept = blocks(&model, &ctx);
            said.extend(warm);
            // Now and then the end is taken back, as when a chat is edited.
            if rng.next_u32().is_multiple_of(2) {
                said.truncate(said.len() - said.len() / 4);
            }
        }
    }
}

/// The tokens that a reply has after so many steps.
fn cancelled_after(model: &Model, ctx: &mut Context, prompt: &[u32], n_steps: usize) -> Vec<u32> {
    let options = GenerateOptions {
        sampling: SamplingParams::greedy(),
        ..GenerateOptions::default()
    };
    let mut generation = model.generate(ctx, prompt.to_vec(), options).unwrap();
    let mut n_tokens = 0;
    while n_tokens < n_steps {
        match generation.step().unwrap() {
            Step::Prefill { .. } => {}
            Step::Token { .. } => n_tokens += 1,
            Step::Done(_) => break,
        }
    }
    generation.ids().to_vec()
}

#[test]
fn blocks_of_another_model_are_refused() {
    let said = tokens(100, 1);
    let model = Tiny::default().load();
    let kept = blocks(&model, &filled(&model, &said));
    let f32_cache = with_kv_type(KvType::F32);
    let other_weights = Tiny {
        seed: 2,
        ..Tiny::default()
    };
    let other_header = Tiny {
        context_length: 400,
        ..Tiny::default()
    };
    for other in [f32_cache, other_weights.load(), other_header.load()] {
        let mut ctx = other.new_context();
        let (restored, error) = bring_back(&other, &mut ctx, &said, &kept);
        assert!(
            matches!(error, Some(SnapshotError::OtherModel)),
            "{error:?}"
        );
        assert_eq!((restored, ctx.n_past()), (Restored::default(), 0));
    }
}

/// A file of which one byte differs is another model, wherever the byte is.
#[test]
fn every_byte_of_the_file_counts() {
    let file = Tiny::default().gguf();
    let key = |file: &[u8]| -> Option<PrefixKey> {
        let loader = ModelLoader::new(file.to_vec(), single_threaded()).ok()?;
        Some(loader.load().ok()?.prefix_key())
    };
    let expected = key(&file).unwrap();
    assert_eq!(key(&file), Some(expected));
    let mut rng = Pcg32::new(4);
    for _ in 0..60 {
        let mut changed = file.clone();
        // The lowest bit of a weight, so that the file stays sound.
        let at = file.len() - 4 * (1 + rng.next_u32() as usize % 20_000);
        changed[at] ^= 1;
        assert_ne!(key(&changed), Some(expected), "byte {at}");
    }
}

#[test]
fn damaged_blocks_are_refused_and_leave_nothing() {
    let model = Tiny::default().load();
    let said = tokens(100, 1);
    let block = model.block(&filled(&model, &said), 0).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        let mut ctx = model.new_context();
        let error = model.restore(&mut ctx, &said).unwrap().add(0, bytes);
        assert!(error.is_err(), "{what}");
        assert_eq!(ctx.n_past(), 0, "{what}");
        assert_eq!(
            bits(&model.logits(&mut ctx, &said).unwrap()),
            fresh(&model, &said)
        );
    };
    for n_bytes in (0..200).chain([block.len() - 9, block.len() - 1]) {
        refused(&block[..n_bytes], &format!("cut to {n_bytes} bytes"));
    }
    let mut longer = block.clone();
    longer.push(0);
    refused(&longer, "a byte too long");
    for at in (0..200).chain((200..block.len()).step_by(997)) {
        let mut changed = block.clone();
        changed[at] ^= 0x10;
        refused(&changed, &format!("byte {at} changed"));
    }
}

/// Whoever writes a block with a right checksum can say anything in it.
#[test]
fn hostile_blocks_neither_crash_nor_allocate() {
    let model = Tiny::default().load();
    let said = tokens(100, 1);
    let block = model.block(&filled(&model, &said), 0).unwrap();
    let mut rng = Pcg32::new(8);
    let use_block = |bytes: &[u8]| {
        let _ = Block::decode(bytes);
        let ctx = &mut model.new_context();
        let _ = model.restore(ctx, &said).unwrap().add(0, bytes);
    };
    for _ in 0..1000 {
        let mut bytes = block.clone();
        for _ in 0..1 + rng.next_u32() % 4 {
            let at = rng.next_u32() as usize % 70;
            bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.next_u32() as usize % 5];
        }
        reseal(&mut bytes);
        use_block(&bytes);
        bytes.truncate(1 + rng.next_u32() as usize % block.len());
        reseal(&mut bytes);
        use_block(&bytes);
    }
    // Numbers of all kinds, at any position.
    for _ in 0..1000 {
        let mut bytes = block.clone();
        for _ in 0..1 + rng.next_u32() % 4 {
            let at = 56 + rng.next_u32() as usize % (block.len() - 56 - 8);
            bytes[at] = [0, 0x7c, 0x7f, 0xfc, 0xff][rng.next_u32() as usize % 5];
        }
        reseal(&mut bytes);
        use_block(&bytes);
    }
    // Counts whose product would wrap in 32 bits.
    for (position_size_bytes, n_tokens) in [(u32::MAX, 64), (u32::MAX, u32::MAX), (1 << 30, 4)] {
        let mut bytes = block[..64].to_vec();
        bytes[48..52].copy_from_slice(&position_size_bytes.to_le_bytes());
        bytes[52..56].copy_from_slice(&n_tokens.to_le_bytes());
        reseal(&mut bytes);
        assert!(Block::decode(&bytes).is_err());
    }
}

/// The first positions are computed as well; what stands behind them has to be such
/// numbers as a cache holds.
#[test]
fn a_number_that_is_not_finite_is_found_wherever_it_is() {
    let said = tokens(100, 1);
    for kv_type in [KvType::F16, KvType::F32] {
        let model = with_kv_type(kv_type);
        let block = model.block(&filled(&model, &said), 0).unwrap();
        let number: &[u8] = match kv_type {
            KvType::F32 => &f32::INFINITY.to_le_bytes(),
            _ => &[0x00, 0x7c],
        };
        let positions = 56 + 4 * BLOCK_TOKENS..block.len() - 8;
        for at in positions.step_by(1000) {
            check_damaged(&model, &said, &block, at, number);
        }
        check_damaged(
            &model,
            &said,
            &block,
            block.len() - 8 - number.len(),
            number,
        );
    }
}

#[test]
fn a_state_of_convolutions_that_is_not_finite_is_found() {
    let families = family_models::one_of_each();
    let family = families.iter().find(|model| model.architecture == "lfm2");
    let model = family.unwrap().load();
    let said = tokens(100, 1);
    let block = model.block(&filled(&model, &said), 0).unwrap();
    for number in [f32::NAN, f32::NEG_INFINITY] {
        // The last number of the state, and one before it.
        for at in [block.len() - 12, block.len() - 40] {
            check_damaged(&model, &said, &block, at, &number.to_le_bytes());
        }
    }
}

/// The block with `number` at `at` is refused for its numbers, and leaves what is right.
fn check_damaged(model: &Model, said: &[u32], block: &[u8], at: usize, number: &[u8]) {
    let mut bytes = block.to_vec();
    bytes[at..at + number.len()].copy_from_slice(number);
    reseal(&mut bytes);
    let mut ctx = model.new_context();
    let error = model.restore(&mut ctx, said).unwrap().add(0, &bytes);
    assert!(
        matches!(error, Err(SnapshotError::OtherNumbers)),
        "byte {at}: {error:?}"
    );
    let logits = bits(&model.logits(&mut ctx, said).unwrap());
    assert_eq!(logits, fresh(model, said), "byte {at}");
}

#[test]
fn a_block_behind_another_text_is_refused() {
    let model = Tiny::default().load();
    let said = tokens(200, 1);
    let kept = blocks(&model, &filled(&model, &said));
    // The same second block of tokens behind another first one.
    let other = [&tokens(BLOCK_TOKENS, 7), &said[BLOCK_TOKENS..]].concat();
    let mut ctx = filled(&model, &other[..BLOCK_TOKENS]);
    let mut restoration = model.restore(&mut ctx, &other).unwrap();
    let error = restoration.add(BLOCK_TOKENS, &kept[1]);
    assert!(
        matches!(error, Err(SnapshotError::OtherPrefix)),
        "{error:?}"
    );
}

#[test]
fn keys_are_read_back_from_their_text() {
    let model = Tiny::default().load();
    let key = model.prefix_key().then(&[1, 2, 3]);
    assert_eq!(PrefixKey::parse(&key.to_string()), Some(key));
    assert_ne!(key, model.prefix_key().then(&[1, 2]));
    for text in [
        "",
        "0",
        &"0".repeat(31),
        &"A".repeat(32),
        &"g".repeat(32),
        &"é".repeat(16),
    ] {
        assert_eq!(PrefixKey::parse(text), None, "{text:?}");
    }
}
