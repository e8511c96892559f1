//! The product's own engine on the written file: what a user of Noxics gets.

use std::path::Path;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use nox_engine::template::ChatMessage;
use nox_engine::{
    CpuLane, FileSource, GenerateOptions, LoadOptions, Model, ModelLoader, PromptOptions,
    SamplingParams, Step,
};

use crate::bpe::Message;
use crate::eval::Generate;

/// The model as the product loads it, on one thread.
pub struct Engine {
    model: Model,
    max_tokens: usize,
}

impl Engine {
    /// Loads the file.
    ///
    /// # Errors
    /// The engine refuses the file, or it cannot be read.
    pub fn load(path: &Path, max_tokens: usize) -> Result<Self> {
        let source = FileSource::open(path).with_context(|| path.display().to_string())?;
        let options = LoadOptions {
            lane: Some(Rc::new(CpuLane::with_threads(1)?)),
            ..LoadOptions::default()
        };
        let model = ModelLoader::new(source, options)?.load()?;
        Ok(Self { model, max_tokens })
    }
}

impl Generate for Engine {
    fn reply(&mut self, messages: &[Message]) -> Result<String> {
        let messages: Vec<_> = messages
            .iter()
            .map(|m| ChatMessage::new(&m.role, &m.content))
            .collect();
        let options = PromptOptions {
            reserve_tokens: self.max_tokens,
            ..PromptOptions::default()
        };
        let prompt = self.model.prompt(&messages, &options)?;
        let mut ctx = self.model.new_context();
        let options = GenerateOptions {
            sampling: SamplingParams {
                temperature: 0.0,
                ..SamplingParams::default()
            },
            max_tokens: Some(self.max_tokens),
            ..GenerateOptions::default()
        };
        let mut generation = self.model.generate(&mut ctx, prompt.tokens, options)?;
        let mut text = String::new();
        loop {
            match generation.step()? {
                Step::Prefill { .. } => {}
                Step::Token { text: piece, .. } => text.push_str(&piece),
                Step::Done(_) => return Ok(text),
            }
        }
    }
}
