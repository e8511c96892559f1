//! A loaded model: decoder, tokenizer and template, ready to generate.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::constraint::GrammarVocabulary;
use crate::context::{Context, MAX_LOGITS};
use crate::decoder::{Decoder, KvType, ModelConfig, PREFILL_CHUNK};
use crate::error::EngineError;
use crate::fallback::Fallback;
use crate::generate::{GenerateOptions, Generation};
use crate::lane::Lane;
use crate::sampler::argmax;
use crate::speculation::ForwardCosts;
use crate::template::{ChatTemplate, TemplateError};
use crate::tokenizer::Tokenizer;

/// What computes a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecoderKind {
    /// This crate's decoder.
    Own,
    /// candle-transformers, for what the decoder lacks: slower, on one thread in
    /// WebAssembly, and with a prompt computed anew where it does not go on from what
    /// the context holds.
    Candle,
}

/// A kind with what it computes.
pub(crate) enum Compute {
    Own(Decoder),
    Candle(Fallback),
}

/// A model in memory. It does not change: any number of [`Context`]s share it.
pub struct Model {
    /// Tells this model's contexts from another's.
    id: u64,
    compute: Compute,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    lane: Rc<dyn Lane>,
    n_ctx: usize,
    kv_type: KvType,
    /// Of the file's header and weights.
    file_checksum: u64,
    /// Made when the first reply is held to a format.
    grammar_vocabulary: OnceCell<GrammarVocabulary>,
    /// What was measured while replies were made.
    forward_costs: RefCell<ForwardCosts>,
}

impl Model {
    pub(crate) fn new(
        compute: Compute,
        tokenizer: Tokenizer,
        template: Option<ChatTemplate>,
        lane: Rc<dyn Lane>,
        n_ctx: usize,
        kv_type: KvType,
        file_checksum: u64,
    ) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            compute,
            tokenizer,
            template,
            lane,
            n_ctx,
            kv_type,
            file_checksum,
            grammar_vocabulary: OnceCell::new(),
            forward_costs: RefCell::default(),
        }
    }

    /// The file's own name for the model, else its architecture.
    pub fn name(&self) -> &str {
        match &self.compute {
            Compute::Own(decoder) => decoder.config().name.as_deref(),
            Compute::Candle(fallback) => fallback.plan().name(),
        }
        .unwrap_or(self.architecture())
    }

    /// GGUF's name for the family.
    pub fn architecture(&self) -> &'static str {
        match &self.compute {
            Compute::Own(decoder) => decoder.config().architecture,
            Compute::Candle(fallback) => fallback.plan().architecture(),
        }
    }

    /// What computes the model.
    pub fn decoder_kind(&self) -> DecoderKind {
        match self.compute {
            Compute::Own(_) => DecoderKind::Own,
            Compute::Candle(_) => DecoderKind::Candle,
        }
    }

    /// The decoder's sizes and layers; `None` where something else computes the model.
    pub fn config(&self) -> Option<&ModelConfig> {
        match &self.compute {
            Compute::Own(decoder) => Some(decoder.config()),
            Compute::Candle(_) => None,
        }
    }

    /// Text to tokens and back.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The model's chat template.
    ///
    /// # Errors
    /// The file has none.
    pub fn template(&self) -> Result<&ChatTemplate, TemplateError> {
        self.template.as_ref().ok_or(TemplateError::Missing)
    }

    /// The tokens that a context holds at most.
    pub fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    /// How keys and values are stored.
    pub fn kv_type(&self) -> KvType {
        self.kv_type
    }

    /// Tells this model's file from others.
    pub(crate) fn file_checksum(&self) -> u64 {
        self.file_checksum
    }

    /// Where the model computes.
    pub fn lane(&self) -> &dyn Lane {
        self.lane.as_ref()
    }

    /// The vocabulary for grammars, if it has been made.
    pub(crate) fn grammar_vocabulary(&self) -> &OnceCell<GrammarVocabulary> {
        &self.grammar_vocabulary
    }

    /// What it costs to compute several tokens together.
    pub(crate) fn forward_costs(&self) -> &RefCell<ForwardCosts> {
        &self.forward_costs
    }

    /// How many threads compute the model.
    pub fn n_threads(&self) -> usize {
        match self.compute {
            Compute::Own(_) => self.lane.n_threads(),
            Compute::Candle(_) => crate::fallback::n_threads(),
        }
    }

    /// An empty context. Its memory grows with its tokens.
    pub fn new_context(&self) -> Context {
        match &self.compute {
            Compute::Own(decoder) => Context::new(self.id, decoder, self.kv_type),
            Compute::Candle(fallback) => Context::of_fallback(self.id, fallback),
        }
    }

    /// Prepares a reply to `prompt`; nothing is computed before the first
    /// [`Generation::step`]. Of what `ctx` holds, the longest common prefix with
    /// the prompt is kept and not computed again.
    ///
    /// # Errors
    /// The prompt is empty, too long or has unknown tokens, or an option is out of range.
    ///
    /// # Panics
    /// `ctx` belongs to another model.
    pub fn generate<'a>(
        &'a self,
        ctx: &'a mut Context,
        prompt: Vec<u32>,
        options: GenerateOptions,
    ) -> Result<Generation<'a>, EngineError> {
        self.check_tokens(&prompt)?;
        self.check_owns(ctx);
        Generation::new(self, ctx, prompt, options)
    }

    /// The logits after the last of `tokens`.
    ///
    /// # Shape
    /// `[n_vocab] f32`
    ///
    /// # Errors
    /// As for [`Self::generate`].
    ///
    /// # Panics
    /// `ctx` belongs to another model.
    pub fn logits(&self, ctx: &mut Context, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        self.check_tokens(tokens)?;
        self.check_owns(ctx);
        ctx.keep_common_prefix(tokens);
        while ctx.n_past() < tokens.len() {
            self.extend(ctx, tokens)?;
        }
        Ok(ctx.logits().to_vec())
    }

    /// The logits after each of the last `n_logits` of `tokens`.
    ///
    /// # Shape
    /// `[n_logits, n_vocab] f32`
    ///
    /// # Errors
    /// As for [`Self::generate`].
    ///
    /// # Panics
    /// `ctx` belongs to another model, or `n_logits` is 0, above [`MAX_LOGITS`] or
    /// the number of tokens.
    pub fn last_logits(
        &self,
        ctx: &mut Context,
        tokens: &[u32],
        n_logits: usize,
    ) -> Result<Vec<f32>, EngineError> {
        self.check_tokens(tokens)?;
        self.check_owns(ctx);
        assert!((1..=MAX_LOGITS.min(tokens.len())).contains(&n_logits));
        let n_before = tokens.len() - n_logits;
        ctx.keep_common_prefix(tokens);
        ctx.truncate(n_before);
        let Compute::Own(decoder) = &self.compute else {
            return self.last_logits_one_by_one(ctx, tokens, n_before);
        };
        while ctx.n_past() < n_before {
            let end = (ctx.n_past() + PREFILL_CHUNK).min(n_before);
            let chunk = &tokens[ctx.n_past()..end];
            ctx.extend(decoder, self.lane(), chunk, 0)?;
        }
        ctx.extend(decoder, self.lane(), &tokens[n_before..], n_logits)?;
        Ok((0..n_logits)
            .flat_map(|idx| ctx.logits_at(idx).iter().copied())
            .collect())
    }

    fn last_logits_one_by_one(
        &self,
        ctx: &mut Context,
        tokens: &[u32],
        n_before: usize,
    ) -> Result<Vec<f32>, EngineError> {
        let mut logits = Vec::new();
        for end in n_before..tokens.len() {
            while ctx.n_past() <= end {
                self.extend(ctx, &tokens[..=end])?;
            }
            logits.extend_from_slice(ctx.logits());
        }
        Ok(logits)
    }

    /// The next `count` tokens, always the most likely one, whatever it means:
    /// neither the end of generation nor anything else stops it but a full context.
    ///
    /// # Errors
    /// As for [`Self::logits`], and numerical failure.
    pub fn greedy(&self, tokens: &[u32], count: usize) -> Result<Vec<u32>, EngineError> {
        let mut ctx = self.new_context();
        let mut tokens = tokens.to_vec();
        let n_prompt = tokens.len();
        while tokens.len() < n_prompt + count && tokens.len() <= self.n_ctx {
            tokens.push(argmax(&self.logits(&mut ctx, &tokens)?)?);
        }
        Ok(tokens.split_off(n_prompt))
    }

    /// Computes the next chunk of `tokens` beyond what `ctx` holds of them; after
    /// the last chunk, the context has the logits.
    pub(crate) fn extend(&self, ctx: &mut Context, tokens: &[u32]) -> Result<(), EngineError> {
        let n_past = ctx.n_past();
        let end = (n_past + PREFILL_CHUNK).min(tokens.len());
        let n_logits = usize::from(end == tokens.len());
        match &self.compute {
            Compute::Own(decoder) => {
                ctx.extend(decoder, self.lane(), &tokens[n_past..end], n_logits)
            }
            Compute::Candle(fallback) => ctx.extend_fallback(fallback, &tokens[n_past..end]),
        }
    }

    /// Computes `tokens` after what `ctx` holds, and the logits after each of them.
    ///
    /// # Panics
    /// The model is candle's, which gives one token's logits at a time.
    pub(crate) fn extend_with_all_logits(
        &self,
        ctx: &mut Context,
        tokens: &[u32],
    ) -> Result<(), EngineError> {
        match &self.compute {
            Compute::Own(decoder) => ctx.extend(decoder, self.lane(), tokens, tokens.len()),
            Compute::Candle(_) => unreachable!("nothing is computed ahead with it"),
        }
    }

    /// # Panics
    /// `ctx` belongs to another model.
    pub(crate) fn check_owns(&self, ctx: &Context) {
        assert_eq!(ctx.model_id(), self.id, "a context of another model");
    }

    pub(crate) fn check_tokens(&self, tokens: &[u32]) -> Result<(), EngineError> {
        if tokens.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        if tokens.len() > self.n_ctx {
            return Err(EngineError::ContextOverflow {
                needed: tokens.len(),
                n_ctx: self.n_ctx,
            });
        }
        let n_vocab = self.tokenizer.n_vocab();
        match tokens.iter().find(|&&token| token as usize >= n_vocab) {
            Some(&token) => Err(EngineError::UnknownToken { token, n_vocab }),
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("name", &self.name())
            .field("decoder", &self.decoder_kind())
            .field("lane", &self.lane.kind())
            .field("n_ctx", &self.n_ctx)
            .finish_non_exhaustive()
    }
}
