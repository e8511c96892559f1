//! A reply, token by token, under the caller's control.
//!
//! [`Generation`] is a step machine: each step computes one chunk of the prompt or
//! one token, and between two steps the caller may yield, show the text, or drop
//! the generation. Text is given out when it is certain: not in the middle of a
//! character, and not while it may be the beginning of a stop string.
//!
//! Tokens that are likely to follow may be computed ahead, together with the last one.
//! What was computed is then given out one token a step, as far as the sampler, which
//! draws for each of them as ever, says the same; the rest is forgotten.

use serde::{Deserialize, Serialize};

use crate::clock::Stopwatch;
use crate::constraint::{CheckedSchema, Constraint, OutputFormat, VocabularyBuilder};
use crate::context::Context;
use crate::error::EngineError;
use crate::model::{DecoderKind, Model};
use crate::sampler::{Sampler, SamplingParams};
use crate::speculation::{Guesser, Speculation};
use crate::tokenizer::TextDecoder;

/// Caps on stop strings from outside.
pub const MAX_STOPS: usize = 64;
/// See [`MAX_STOPS`].
pub const MAX_STOP_BYTES: usize = 4096;

/// How a reply is made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerateOptions {
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// What is added to the logits of tokens, at most [`MAX_BIAS`](crate::sampler::MAX_BIAS)
    /// either way.
    pub logit_bias: Vec<(u32, f32)>,
    /// The most tokens of the reply; by default as many as the context has room for.
    pub max_tokens: Option<usize>,
    /// The reply ends before the first of these that is complete in its text.
    pub stop: Vec<String>,
    /// What the reply has to be. It is that whole unless `max_tokens`, a full context
    /// or a stop string cuts it.
    pub format: OutputFormat,
    /// Whether tokens are computed ahead; the reply is the same either way.
    pub speculation: Speculation,
}

/// Why a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The model ended it, a stop string appeared, or the format that was asked for is
    /// complete.
    Stop,
    /// `max_tokens` are generated, or the context is full.
    Length,
}

/// Token counts of a reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The prompt's tokens, the cached ones among them.
    pub prompt_tokens: usize,
    /// The prompt's tokens that the context held already.
    pub cached_tokens: usize,
    /// The reply's tokens.
    pub completion_tokens: usize,
    /// Tokens that were computed ahead.
    pub draft_tokens: usize,
    /// Those of them that the reply then had.
    pub accepted_tokens: usize,
}

/// What a step has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A part of the prompt has been computed, or what has to be there before.
    Prefill {
        /// Tokens of the prompt that the context holds now.
        done: usize,
        /// Tokens of the prompt.
        total: usize,
    },
    /// The reply has become longer.
    Token {
        /// The token. The last one may be an end-of-generation token, if text that
        /// was held back became certain by it.
        id: u32,
        /// The text that is certain now; often empty.
        text: String,
    },
    /// The reply is complete; further steps say the same.
    Done(FinishReason),
}

/// What comes next.
enum State {
    /// The grammar that the reply is held to is in the making.
    Constrain(CheckedSchema, VocabularyBuilder),
    Prefill,
    /// The logits for the next token are there: those of this index.
    Sample(usize),
    /// The last token of the reply is not in the context yet.
    Advance,
    Done(FinishReason),
}

/// A reply in the making.
///
/// # Cancel safety
/// Dropping it at any time leaves the [`Context`] with the prompt's and the reply's
/// tokens computed so far, none of those that were computed ahead, and the next prompt
/// reuses what it shares with them.
pub struct Generation<'a> {
    model: &'a Model,
    ctx: &'a mut Context,
    /// The prompt, then the reply.
    tokens: Vec<u32>,
    usage: Usage,
    sampler: Sampler,
    /// What the reply is held to, if anything.
    constraint: Option<Constraint>,
    guesser: Guesser,
    /// What is computed together: the last token and what may follow.
    batch: Vec<u32>,
    text: TextDecoder,
    stops: StopMatcher,
    max_tokens: usize,
    state: State,
}

impl<'a> Generation<'a> {
    /// `prompt` has been checked by the model.
    pub(crate) fn new(
        model: &'a Model,
        ctx: &'a mut Context,
        prompt: Vec<u32>,
        options: GenerateOptions,
    ) -> Result<Self, EngineError> {
        let sampler = Sampler::new(options.sampling)?
            .with_biases(options.logit_bias)?
            .without(model.tokenizer().suppressed());
        let stops = StopMatcher::new(options.stop)?;
        let schema = options.format.check()?;
        let usage = Usage {
            prompt_tokens: prompt.len(),
            cached_tokens: ctx.keep_common_prefix(&prompt),
            ..Usage::default()
        };
        let max_tokens = options.max_tokens.unwrap_or(usize::MAX);
        Ok(Self {
            model,
            ctx,
            tokens: prompt,
            usage,
            sampler,
            constraint: None,
            guesser: Guesser::new(match model.decoder_kind() {
                DecoderKind::Own => options.speculation,
                // It computes one token at a time, and takes none back.
                DecoderKind::Candle => Speculation::Off,
            }),
            batch: Vec::new(),
            text: TextDecoder::new(),
            stops,
            max_tokens,
            state: match (max_tokens, schema) {
                (0, _) => State::Done(FinishReason::Length),
                (_, Some(schema)) => State::Constrain(schema, VocabularyBuilder::default()),
                (_, None) => State::Prefill,
            },
        })
    }

    /// Computes one chunk of the prompt or one token.
    ///
    /// # Errors
    /// There is no memory for more context, or the computation has failed
    /// numerically; the context is then empty, so that nothing broken is reused. Or
    /// the reply can't be held to its format.
    pub fn step(&mut self) -> Result<Step, EngineError> {
        let step = match &mut self.state {
            State::Constrain(..) => self.constrain(),
            State::Prefill => self.prefill(),
            State::Sample(logits_idx) => {
                let logits_idx = *logits_idx;
                self.sample(logits_idx)
            }
            State::Advance => self.advance().and_then(|()| self.sample(0)),
            State::Done(reason) => Ok(Step::Done(*reason)),
        };
        match step {
            // What the context holds is sound.
            Ok(_) | Err(EngineError::Schema(_)) => {}
            Err(_) => self.ctx.clear(),
        }
        step
    }

    /// Token counts so far.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// The reply's tokens so far, without an end-of-generation token.
    pub fn ids(&self) -> &[u32] {
        &self.tokens[self.usage.prompt_tokens..]
    }

    /// Does a piece of the work on the grammar: first on the model's vocabulary, once
    /// for all replies, then on the schema.
    fn constrain(&mut self) -> Result<Step, EngineError> {
        let vocabulary = self.model.grammar_vocabulary();
        let State::Constrain(schema, builder) = &mut self.state else {
            unreachable!("the step is for this state");
        };
        match vocabulary.get() {
            None => {
                if let Some(built) = builder.step(self.model.tokenizer())? {
                    // A generation of another context may have been faster.
                    vocabulary.get_or_init(|| built);
                }
            }
            Some(vocabulary) => {
                self.constraint = Some(Constraint::new(vocabulary, schema)?);
                self.state = State::Prefill;
            }
        }
        Ok(Step::Prefill {
            done: self.ctx.n_past(),
            total: self.tokens.len(),
        })
    }

    fn prefill(&mut self) -> Result<Step, EngineError> {
        self.model.extend(self.ctx, &self.tokens)?;
        let (done, total) = (self.ctx.n_past(), self.tokens.len());
        if done == total {
            self.state = State::Sample(0);
        }
        Ok(Step::Prefill { done, total })
    }

    /// Computes the last token, and together with it what may follow.
    fn advance(&mut self) -> Result<(), EngineError> {
        // A context may forget more than it was asked to.
        let before = &self.tokens[..self.tokens.len() - 1];
        while self.ctx.n_past() < before.len() {
            self.model.extend(self.ctx, before)?;
        }
        self.fill_batch();
        let stopwatch = Stopwatch::start();
        let mut n_computed = self.batch.len();
        if n_computed > 1 {
            match self.model.extend_with_all_logits(self.ctx, &self.batch) {
                Ok(()) => self.usage.draft_tokens += n_computed - 1,
                // One token may still have room, and what is wrong with a guess is no
                // matter of the reply's.
                Err(EngineError::KvOutOfMemory(_) | EngineError::KvNotFinite(_)) => n_computed = 1,
                Err(error) => return Err(error),
            }
        }
        if n_computed == 1 {
            self.model.extend(self.ctx, &self.tokens)?;
        }
        let mut costs = self.model.forward_costs().borrow_mut();
        costs.measure(n_computed, stopwatch.elapsed_ms());
        Ok(())
    }

    /// Collects the last token and what is worth computing with it.
    fn fill_batch(&mut self) {
        let n_left = self.max_tokens - self.usage.completion_tokens;
        let n_room = self.model.n_ctx() - self.tokens.len();
        let costs = self.model.forward_costs().borrow();
        let guess = self
            .guesser
            .guess(&self.tokens, n_room.min(n_left - 1), &costs);
        let tokenizer = self.model.tokenizer();
        // Nothing follows an end.
        let n_before_end = guess
            .iter()
            .position(|&id| tokenizer.is_end_of_generation(id));
        let mut guess = &guess[..n_before_end.unwrap_or(guess.len())];
        if self.constraint.is_some() {
            // The grammar is not asked about guesses: what it may spend on a reply is
            // bounded, and a reply must not end for what was never said. It allows no
            // token without text but an end.
            let n_text = guess
                .iter()
                .position(|&id| tokenizer.token_bytes(id).is_empty());
            guess = &guess[..n_text.unwrap_or(guess.len())];
        }
        self.batch.clear();
        self.batch.extend(self.tokens.last());
        self.batch.extend(guess);
    }

    fn sample(&mut self, logits_idx: usize) -> Result<Step, EngineError> {
        let id = self.choose(logits_idx)?;
        self.guesser.hear(id);
        let tokenizer = self.model.tokenizer();
        if tokenizer.is_end_of_generation(id) {
            return Ok(self.end(id, String::new(), FinishReason::Stop));
        }
        self.tokens.push(id);
        self.usage.completion_tokens += 1;
        let decoded = self.text.push(tokenizer, id);
        let (text, is_stopped) = self.stops.push(&decoded);
        let was_ahead = self.ctx.tokens().get(self.tokens.len() - 1) == Some(&id);
        if was_ahead {
            self.usage.accepted_tokens += 1;
        } else {
            self.ctx.truncate(self.tokens.len() - 1);
        }
        if is_stopped {
            self.finish(FinishReason::Stop);
            return Ok(Step::Token { id, text });
        }
        if let Some(constraint) = &mut self.constraint
            && constraint.push(id)?
        {
            return Ok(self.end(id, text, FinishReason::Stop));
        }
        // The context must have room for this token before another can follow.
        let is_full = self.tokens.len() > self.model.n_ctx();
        if is_full || self.usage.completion_tokens >= self.max_tokens {
            return Ok(self.end(id, text, FinishReason::Length));
        }
        self.state = match was_ahead {
            true => State::Sample(logits_idx + 1),
            false => State::Advance,
        };
        Ok(Step::Token { id, text })
    }

    /// The next token, out of those that the reply's format allows.
    fn choose(&mut self, logits_idx: usize) -> Result<u32, EngineError> {
        let logits = self.ctx.logits_at(logits_idx);
        let Some(constraint) = &mut self.constraint else {
            return Ok(self.sampler.sample(logits, &self.tokens)?);
        };
        let mask = constraint.mask()?.as_slice();
        Ok(self.sampler.sample_among(logits, &self.tokens, mask)?)
    }

    fn finish(&mut self, reason: FinishReason) {
        // Nobody has said what was computed beyond the reply.
        self.ctx.truncate(self.tokens.len());
        self.state = State::Done(reason);
    }

    /// Gives out what was held back, as nothing can follow it.
    fn end(&mut self, id: u32, mut text: String, reason: FinishReason) -> Step {
        let rest = self.text.finish();
        let (more, is_stopped) = self.stops.push(&rest);
        text.push_str(&more);
        let reason = if is_stopped {
            FinishReason::Stop
        } else {
            text.push_str(&self.stops.finish());
            reason
        };
        self.finish(reason);
        if text.is_empty() && self.model.tokenizer().is_end_of_generation(id) {
            Step::Done(reason)
        } else {
            Step::Token { id, text }
        }
    }
}

impl Drop for Generation<'_> {
    /// Nobody has said what was computed ahead, and what the context holds may be kept
    /// for later runs.
    fn drop(&mut self) {
        self.ctx.truncate(self.tokens.len());
    }
}

impl std::fmt::Debug for Generation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generation")
            .field("usage", &self.usage)
            .field("ids", &self.ids())
            .finish_non_exhaustive()
    }
}

/// Finds stop strings in text that comes in pieces.
#[derive(Debug)]
struct StopMatcher {
    stops: Vec<String>,
    /// The end of the text, as long as it may be the beginning of a stop string.
    held: String,
}

impl StopMatcher {
    fn new(stops: Vec<String>) -> Result<Self, EngineError> {
        let invalid = |found: String, expected: String| EngineError::InvalidOption {
            field: "stop",
            found,
            expected,
        };
        if stops.len() > MAX_STOPS {
            return Err(invalid(
                format!("{} strings", stops.len()),
                format!("at most {MAX_STOPS}"),
            ));
        }
        for stop in &stops {
            if stop.is_empty() || stop.len() > MAX_STOP_BYTES {
                return Err(invalid(
                    format!("a string of {} bytes", stop.len()),
                    format!("strings of 1 to {MAX_STOP_BYTES} bytes"),
                ));
            }
        }
        Ok(Self {
            stops,
            held: String::new(),
        })
    }

    /// Adds `text`; returns what is certain, and whether a stop string ends it.
    fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        // The one that is complete first, so that it does not matter how the text is cut.
        let matches = self.stops.iter().filter_map(|stop| {
            let start = self.held.find(stop)?;
            Some((start + stop.len(), start))
        });
        if let Some((_, start)) = matches.min() {
            self.held.truncate(start);
            return (std::mem::take(&mut self.held), true);
        }
        let n_uncertain = self.longest_beginning();
        let rest = self.held.split_off(self.held.len() - n_uncertain);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What is held back at the end of the text.
    fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// The length of the longest end of `held` with which a stop string begins.
    fn longest_beginning(&self) -> usize {
        let is_beginning = |tail: &str| self.stops.iter().any(|stop| stop.starts_with(tail));
        let tails = self
            .held
            .char_indices()
            .map(|(start, _)| &self.held[start..]);
        let longest_stop = self.stops.iter().map(String::len).max().unwrap_or(0);
        tails
            .filter(|tail| tail.len() < longest_stop)
            .find(|tail| is_beginning(tail))
            .map_or(0, str::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::Pcg32;

    /// Feeds `text` in pieces of random lengths.
    fn run(stops: &[&str], text: &str, seed: u64) -> (String, bool) {
        let stops = stops.iter().map(|&stop| stop.to_owned()).collect();
        let mut matcher = StopMatcher::new(stops).unwrap();
        let mut rng = Pcg32::new(seed);
        let chars: Vec<char> = text.chars().collect();
        let (mut output, mut at) = (String::new(), 0);
        while at < chars.len() {
            let end = (at + 1 + rng.next_u32() as usize % 4).min(chars.len());
            let piece: String = chars[at..end].iter().collect();
            let (text, is_stopped) = matcher.push(&piece);
            output.push_str(&text);
            if is_stopped {
                return (output, true);
            }
            at = end;
        }
        output.push_str(&matcher.finish());
        (output, false)
    }

    #[test]
    fn stop_strings_are_found_however_the_text_is_cut() {
        let cases: &[(&[&str], &str, &str, bool)] = &[
            (&["END"], "one END two", "one ", true),
            (&["END"], "one EN two", "one EN two", false),
            (&["END"], "one EN", "one EN", false),
            (&["END"], "EENDD", "E", true),
            (&["aab"], "aaaab", "aa", true),
            (&["</s>", "\n\n"], "a\nb\n\nc</s>", "a\nb", true),
            (&["b", "abc"], "xabc", "xa", true),
            (&["ünd"], "hünügründe ünd", "hünügr", true),
            (&["🦙🦙"], "🦙x🦙🦙", "🦙x", true),
            (&[], "anything", "anything", false),
        ];
        for &(stops, text, expected, is_stopped) in cases {
            for seed in 0..50 {
                let (found, stopped) = run(stops, text, seed);
                assert_eq!(
                    (found.as_str(), stopped),
                    (expected, is_stopped),
                    "{stops:?}"
                );
            }
        }
    }

    #[test]
    fn only_possible_beginnings_are_held_back() {
        let mut matcher = StopMatcher::new(vec!["<end>".to_owned()]).unwrap();
        assert_eq!(matcher.push("abc"), ("abc".to_owned(), false));
        assert_eq!(matcher.push("d<en"), ("d".to_owned(), false));
        assert_eq!(matcher.push("x<"), ("<enx".to_owned(), false));
        assert_eq!(matcher.finish(), "<");
    }

    #[test]
    fn empty_and_excessive_stop_strings_are_refused() {
        for stops in [
            vec![String::new()],
            vec!["x".repeat(MAX_STOP_BYTES + 1)],
            vec!["x".to_owned(); MAX_STOPS + 1],
        ] {
            let error = StopMatcher::new(stops).unwrap_err();
            assert!(matches!(
                error,
                EngineError::InvalidOption { field: "stop", .. }
            ));
        }
    }
}
