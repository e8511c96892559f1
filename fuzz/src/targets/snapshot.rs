//! A stored block of a conversation, changed as the input says and given the checksum
//! that fits: accidents the checksum finds, so only what was made on purpose gets far.
//! What is brought back is then computed with.

use std::rc::Rc;

use nox_engine::snapshot::{BLOCK_TOKENS, Block, SnapshotError, reseal};
use nox_engine::{CpuLane, KvType, LoadOptions, Model, ModelLoader};

use crate::memory::MemoryCap;
use crate::model_file::ModelFile;
use crate::script::Script;
use crate::{Target, seeds};

pub(crate) const TARGET: Target = Target {
    name: "snapshot",
    memory: MemoryCap {
        // The models, which the first input loads for all.
        fixed_bytes: 64 << 20,
        per_input_byte: 1 << 10,
    },
    max_input_bytes: 4 << 10,
    words: &[],
    run,
    seeds: seeds::snapshot,
};

/// A model, what was said to it, what it makes of that, and the block of its beginning.
struct Kept {
    model: Model,
    prompt: Vec<u32>,
    logits: Vec<f32>,
    block: Vec<u8>,
}

thread_local! {
    static KEPT: Vec<Kept> = [
        ("llama", KvType::F16),
        ("qwen3", KvType::F32),
        ("gemma3", KvType::F16),
    ]
    .map(|(architecture, kv_type)| keep(architecture, kv_type))
    .into();
}

fn keep(architecture: &str, kv_type: KvType) -> Kept {
    let file = ModelFile::tiny(architecture).write();
    let options = LoadOptions {
        kv_type,
        lane: Some(Rc::new(CpuLane::single_threaded())),
        ..LoadOptions::default()
    };
    let loader = ModelLoader::new(&*file, options).expect("a sound file");
    let model = loader.load().expect("a sound file");
    let prompt: Vec<u32> = (0..100).map(|n| 3 + n * 7 % 250).collect();
    let mut ctx = model.new_context();
    let logits = model.logits(&mut ctx, &prompt).expect("finite weights");
    let block = model.block(&ctx, 0).expect("a block is filled");
    Kept {
        model,
        prompt,
        logits,
        block,
    }
}

fn run(input: &[u8]) {
    let mut script = Script::new(input);
    KEPT.with(|kept| {
        let kept = script.pick(kept);
        let mut bytes = kept.block.clone();
        // 0 leaves the length.
        let n_cut = usize::from(u16::from_le_bytes(script.bytes()));
        bytes.truncate(bytes.len() - n_cut.min(bytes.len()));
        while !script.is_empty() && !bytes.is_empty() {
            let at = usize::from(u16::from_le_bytes(script.bytes())) % bytes.len();
            bytes[at] = script.u8();
        }
        reseal(&mut bytes);
        restore(kept, &bytes);
    });
}

/// What holds for every block: it brings back whole positions of the prompt, or changes
/// nothing of what comes next.
fn restore(kept: &Kept, bytes: &[u8]) {
    let is_sound = Block::decode(bytes).is_ok();
    let mut ctx = kept.model.new_context();
    let added = {
        let restoration = kept.model.restore(&mut ctx, &kept.prompt);
        restoration.expect("the prompt is sound").add(0, bytes)
    };
    assert!(ctx.n_past() <= BLOCK_TOKENS);
    assert_eq!(ctx.tokens(), &kept.prompt[..ctx.n_past()]);
    // Other numbers than were computed may lead beyond the floats' range, and no further.
    let logits = kept.model.logits(&mut ctx, &kept.prompt);
    match added {
        Ok(()) => assert!(is_sound),
        Err(SnapshotError::Engine(error)) => panic!("the engine failed: {error}"),
        Err(_) => assert_eq!(logits.expect("finite weights"), kept.logits),
    }
}
