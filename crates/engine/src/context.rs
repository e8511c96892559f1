//! A conversation's memory: the tokens seen so far with their keys and values.

use crate::decoder::{Decoder, DecoderMemory, KvCopyError, KvType, Scratch};
use crate::error::EngineError;
use crate::fallback::{Fallback, Running};
use crate::lane::Lane;

/// The most positions whose logits a context gives at once: enough for any guess at
/// how a text goes on, and 10 MB for a vocabulary of 150,000.
pub const MAX_LOGITS: usize = 16;

/// The state of one conversation with one [`Model`](crate::Model).
///
/// It always is consistent: the tokens that it names are those whose keys and
/// values it holds, whatever was interrupted. A new prompt keeps the longest
/// common prefix with them, so a further turn of a chat computes the new text only.
pub struct Context {
    model_id: u64,
    memory: Memory,
    tokens: Vec<u32>,
    n_vocab: usize,
    /// `[n_logits, n_vocab]`, and room for as many as ever were asked for.
    logits: Vec<f32>,
    n_logits: usize,
}

/// Keys and values, as the kind of model keeps them.
enum Memory {
    Own {
        own: DecoderMemory,
        scratch: Box<Scratch>,
    },
    /// `None` while nothing is held.
    Candle(Option<Box<Running>>),
}

impl Context {
    pub(crate) fn new(model_id: u64, decoder: &Decoder, kv_type: KvType) -> Self {
        Self {
            model_id,
            memory: Memory::Own {
                own: DecoderMemory::new(decoder.config(), kv_type),
                scratch: Box::new(decoder.new_scratch()),
            },
            tokens: Vec::new(),
            n_vocab: decoder.config().n_vocab,
            logits: vec![0.0; decoder.config().n_vocab],
            n_logits: 0,
        }
    }

    pub(crate) fn of_fallback(model_id: u64, fallback: &Fallback) -> Self {
        Self {
            model_id,
            memory: Memory::Candle(None),
            tokens: Vec::new(),
            n_vocab: fallback.plan().n_vocab(),
            logits: vec![0.0; fallback.plan().n_vocab()],
            n_logits: 1,
        }
    }

    pub(crate) fn model_id(&self) -> u64 {
        self.model_id
    }

    /// What the decoder remembers of [`Self::tokens`], if it is the decoder that
    /// computes them.
    pub(crate) fn own(&self) -> Option<&DecoderMemory> {
        match &self.memory {
            Memory::Own { own, .. } => Some(own),
            Memory::Candle(_) => None,
        }
    }

    /// The tokens that are held.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// How many tokens are held.
    pub fn n_past(&self) -> usize {
        self.tokens.len()
    }

    /// Forgets all but the first `n_tokens`. Memory is kept for what comes next.
    ///
    /// A model with short convolutions can go back to any of the last tokens, but
    /// farther back not to each: then a few tokens more are forgotten. What
    /// candle-transformers computes can't be forgotten in part: then everything is.
    /// Whoever goes on from [`Self::n_past`] computes that again.
    pub fn truncate(&mut self, n_tokens: usize) {
        match &mut self.memory {
            Memory::Own { own, .. } => {
                let n_tokens = n_tokens.min(self.tokens.len());
                self.tokens.truncate(own.conv.rewind(n_tokens));
            }
            Memory::Candle(_) if n_tokens < self.tokens.len() => self.clear(),
            Memory::Candle(_) => {}
        }
    }

    /// Forgets everything and gives the memory back.
    pub fn clear(&mut self) {
        self.tokens.clear();
        match &mut self.memory {
            Memory::Own { own, .. } => own.clear(),
            Memory::Candle(running) => *running = None,
        }
    }

    /// The bytes that keys and values, and what short convolutions remember, take now.
    pub fn kv_size_bytes(&self) -> usize {
        match &self.memory {
            Memory::Own { own, .. } => own.size_bytes(),
            Memory::Candle(running) => running
                .as_ref()
                .map_or(0, |running| running.kv_size_bytes()),
        }
    }

    /// The logits after the last token, if they were asked for.
    pub(crate) fn logits(&self) -> &[f32] {
        self.logits_at(self.n_logits.max(1) - 1)
    }

    /// The `idx`th of the logits that the last [`Self::extend`] was asked for: those
    /// after the last token are the last.
    ///
    /// # Panics
    /// There were not so many.
    pub(crate) fn logits_at(&self, idx: usize) -> &[f32] {
        &self.logits[idx * self.n_vocab..][..self.n_vocab]
    }

    /// Adds tokens whose positions were computed before, in the form in which the
    /// cache copies them out, with what short convolutions need behind the last.
    ///
    /// # Errors
    /// There is no memory, or a number is not finite; nothing is added.
    ///
    /// # Panics
    /// There are not as many positions as tokens, the state is of another size, or the
    /// model keeps neither.
    pub(crate) fn append(
        &mut self,
        tokens: &[u32],
        positions: &[u8],
        conv_state: &[u8],
    ) -> Result<(), KvCopyError> {
        let Memory::Own { own, .. } = &mut self.memory else {
            unreachable!("only a context that has positions is brought back");
        };
        assert_eq!(positions.len(), tokens.len() * own.kv.position_size_bytes());
        let end = self.tokens.len() + tokens.len();
        own.conv.reserve(end)?;
        own.kv.copy_in(self.tokens.len(), positions)?;
        own.conv.copy_in(end, conv_state)?;
        self.tokens.extend_from_slice(tokens);
        Ok(())
    }

    /// Truncates to what `prompt` begins with and returns how much is kept: all but
    /// one of the prompt's tokens at most, since the last one's logits are needed.
    pub(crate) fn keep_common_prefix(&mut self, prompt: &[u32]) -> usize {
        let pairs = self.tokens.iter().zip(prompt);
        let n_common = pairs.take_while(|(held, new)| held == new).count();
        let n_kept = n_common.min(prompt.len().saturating_sub(1));
        self.truncate(n_kept);
        self.n_past()
    }

    /// Computes `tokens`, at most [`PREFILL_CHUNK`](crate::PREFILL_CHUNK), after those
    /// that are held, and what follows each of the last `n_logits` of them: see
    /// [`Self::logits_at`].
    ///
    /// # Errors
    /// There is no memory for the tokens' keys and values, or they are not finite.
    /// Nothing is added, and no logits are there.
    ///
    /// # Panics
    /// `n_logits` is above [`MAX_LOGITS`] or the number of tokens.
    pub(crate) fn extend(
        &mut self,
        decoder: &Decoder,
        lane: &dyn Lane,
        tokens: &[u32],
        n_logits: usize,
    ) -> Result<(), EngineError> {
        assert!(n_logits <= MAX_LOGITS);
        let n_past = self.tokens.len();
        let Memory::Own { own, scratch } = &mut self.memory else {
            unreachable!("the context belongs to a model of the decoder's");
        };
        own.reserve(n_past + tokens.len())?;
        let n_needed = n_logits * self.n_vocab;
        if self.logits.len() < n_needed {
            self.logits.resize(n_needed, 0.0);
        }
        let logits = &mut self.logits[..n_needed];
        decoder.forward(lane, own, scratch, tokens, n_past, logits)?;
        self.n_logits = n_logits;
        // Last, so that a panic above leaves the context as it was.
        self.tokens.extend_from_slice(tokens);
        Ok(())
    }

    /// As [`Self::extend`], always with the logits.
    pub(crate) fn extend_fallback(
        &mut self,
        fallback: &Fallback,
        tokens: &[u32],
    ) -> Result<(), EngineError> {
        let Memory::Candle(running) = &mut self.memory else {
            unreachable!("the context belongs to a model of candle's");
        };
        let running = running.get_or_insert_with(|| Box::new(fallback.start()));
        let outcome = running.forward(tokens, &mut self.logits);
        match outcome {
            Ok(()) => self.tokens.extend_from_slice(tokens),
            // Some layers have the tokens and others have not.
            Err(_) => self.clear(),
        }
        outcome
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("n_past", &self.n_past())
            .field("kv_size_bytes", &self.kv_size_bytes())
            .finish_non_exhaustive()
    }
}
