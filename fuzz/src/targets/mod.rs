//! The code under test, a module for each kind of input.

pub(crate) mod gguf;
pub(crate) mod model;
pub(crate) mod schema;
pub(crate) mod snapshot;
pub(crate) mod template;
pub(crate) mod tokenizer;

use std::rc::Rc;

use nox_engine::gguf::Gguf;
use nox_engine::template::ChatMessage;
use nox_engine::{
    CpuLane, GenerateOptions, LoadOptions, LoadStep, Model, ModelLoader, PromptOptions, Step,
};

/// What a file could make the engine do, from the header to the first words of a reply.
fn use_file(file: &[u8]) {
    let Ok(gguf) = Gguf::read(&file) else {
        return;
    };
    check_directory(&gguf, file.len() as u64);
    let Some(model) = load(file) else {
        return;
    };
    chat(&model);
}

/// What the reader promises of every file that it accepts.
fn check_directory(gguf: &Gguf, file_size_bytes: u64) {
    assert_eq!(gguf.file_size_bytes(), file_size_bytes);
    for tensor in gguf.tensors() {
        let end = tensor.offset.checked_add(tensor.size_bytes);
        assert!(end.is_some_and(|end| end <= file_size_bytes), "{tensor:?}");
        let n_elements = tensor.n_elements() as u64;
        assert_eq!(tensor.quant.size_bytes(n_elements), Some(tensor.size_bytes));
        assert!(gguf.tensor(&tensor.name).is_some());
    }
    for (key, value) in gguf.metadata().iter() {
        // Descriptions of values go into error messages.
        assert!(!value.type_name().is_empty());
        assert!(gguf.metadata().get(key).is_some());
    }
}

fn load(file: &[u8]) -> Option<Model> {
    let options = LoadOptions {
        lane: Some(Rc::new(CpuLane::single_threaded())),
        ..LoadOptions::default()
    };
    let mut loader = ModelLoader::new(file, options).ok()?;
    while !loader.check_step().ok()? {}
    loop {
        match loader.step().ok()? {
            LoadStep::Progress {
                done_bytes,
                total_bytes,
            } => assert!(done_bytes <= total_bytes && total_bytes <= file.len() as u64),
            LoadStep::Done(model) => return Some(*model),
        }
    }
}

/// Weights may be anything, infinities and NaN included; the arithmetic has to bear it.
fn chat(model: &Model) {
    let options = PromptOptions {
        now_unix_s: Some(0),
        ..PromptOptions::default()
    };
    let messages = [ChatMessage::new("user", "Hé!")];
    let tokens = match model.prompt(&messages, &options) {
        Ok(prompt) => prompt.tokens,
        Err(_) => vec![0],
    };
    // A template may write a long text; a few tokens go through all of the code.
    let tokens = tokens.into_iter().take(8).collect();
    let options = GenerateOptions {
        max_tokens: Some(2),
        ..GenerateOptions::default()
    };
    let mut ctx = model.new_context();
    let Ok(mut generation) = model.generate(&mut ctx, tokens, options) else {
        return;
    };
    while let Ok(step) = generation.step() {
        if matches!(step, Step::Done(_)) {
            break;
        }
    }
}
