//! Chooses the next token from logits.
//!
//! The chain is llama.cpp's: repeat penalty, top-k, top-p, min-p, temperature,
//! then a draw. Candidates of equal logits are ordered by their ids, sums run in
//! that order, the exponential and the random numbers are our own: a seed gives
//! the same tokens on every target. The sampler knows nothing of text.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::math;

/// How tokens are chosen.
///
/// # Source
/// Defaults are llama.cpp's (`common_params_sampling` in `common/common.h`):
/// temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, no repeat penalty, 64 last tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingParams {
    /// Divides the logits; 0 always takes the most likely token.
    pub temperature: f32,
    /// Only the `top_k` most likely tokens stay; 0 keeps all.
    pub top_k: usize,
    /// Only the most likely tokens that together reach this probability stay; 1 keeps all.
    pub top_p: f32,
    /// Only tokens at least this fraction as likely as the likeliest stay; 0 keeps all.
    pub min_p: f32,
    /// Makes tokens among the last `repeat_last_n` less likely; 1 leaves them alone.
    pub repeat_penalty: f32,
    /// How many tokens back the penalty looks; 0 turns it off.
    pub repeat_last_n: usize,
    /// The same seed and the same logits give the same tokens.
    pub seed: u64,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            seed: 0,
        }
    }
}

/// What is wrong with sampling parameters or with logits.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs)] // the fields are named by the messages
pub enum SamplerError {
    #[error("{field} is {found}, it must be {expected}")]
    OutOfRange {
        field: &'static str,
        found: f32,
        expected: &'static str,
    },
    /// The numbers have left the floats' range: a broken model file, or a broken kernel.
    #[error("logit {token} is {found}: the computation has failed numerically")]
    NotFinite { token: usize, found: f32 },
    #[error("there are no logits to choose from")]
    Empty,
}

impl SamplingParams {
    /// Always the most likely token.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            ..Self::default()
        }
    }

    /// Checks every field's range.
    ///
    /// # Errors
    /// [`SamplerError::OutOfRange`] with the first field that is outside its range, NaN included.
    pub fn validate(&self) -> Result<(), SamplerError> {
        let check = |field, found: f32, is_valid, expected| {
            if is_valid {
                Ok(())
            } else {
                Err(SamplerError::OutOfRange {
                    field,
                    found,
                    expected,
                })
            }
        };
        check(
            "temperature",
            self.temperature,
            (0.0..=100.0).contains(&self.temperature),
            "between 0 and 100",
        )?;
        check(
            "top_p",
            self.top_p,
            self.top_p > 0.0 && self.top_p <= 1.0,
            "above 0 and at most 1",
        )?;
        check(
            "min_p",
            self.min_p,
            (0.0..=1.0).contains(&self.min_p),
            "between 0 and 1",
        )?;
        check(
            "repeat_penalty",
            self.repeat_penalty,
            self.repeat_penalty > 0.0 && self.repeat_penalty <= 10.0,
            "above 0 and at most 10",
        )
    }
}

/// A permuted congruential generator: 64 bits of state, 32 bits a draw.
///
/// # Source
/// M. E. O'Neill, "PCG: A Family of Simple Fast Space-Efficient Statistically Good
/// Algorithms for Random Number Generation" (2014); the variant XSH RR with the
/// reference implementation's increment. Not for secrets.
#[derive(Debug, Clone)]
pub struct Pcg32 {
    state: u64,
}

impl Pcg32 {
    const MULTIPLIER: u64 = 6_364_136_223_846_793_005;
    const INCREMENT: u64 = 1_442_695_040_888_963_407;

    /// The generator that `seed` stands for.
    pub fn new(seed: u64) -> Self {
        let mut rng = Self {
            state: seed.wrapping_add(Self::INCREMENT),
        };
        rng.next_u32();
        rng
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        let old = self.state;
        self.state = old
            .wrapping_mul(Self::MULTIPLIER)
            .wrapping_add(Self::INCREMENT);
        let shifted = (((old >> 18) ^ old) >> 27) as u32;
        shifted.rotate_right((old >> 59) as u32)
    }

    /// A number from 0 up to but without 1, in steps of 2⁻²⁴.
    pub fn next_f32(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 / 16_777_216.0
    }
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: u32,
    logit: f32,
    weight: f32,
}

/// Most likely first; the smaller id among equals.
fn by_likelihood(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// Draws tokens by [`SamplingParams`].
#[derive(Debug, Clone)]
pub struct Sampler {
    params: SamplingParams,
    rng: Pcg32,
    candidates: Vec<Candidate>,
}

impl Sampler {
    /// # Errors
    /// A parameter is out of range.
    pub fn new(params: SamplingParams) -> Result<Self, SamplerError> {
        params.validate()?;
        Ok(Self {
            rng: Pcg32::new(params.seed),
            params,
            candidates: Vec::new(),
        })
    }

    /// Chooses the token that follows `history`.
    ///
    /// # Shape
    /// `logits: [n_vocab] f32`
    ///
    /// # Errors
    /// A logit is NaN or infinite, or there is none.
    pub fn sample(&mut self, logits: &[f32], history: &[u32]) -> Result<u32, SamplerError> {
        check_finite(logits)?;
        self.candidates.clear();
        self.candidates
            .extend(logits.iter().enumerate().map(|(id, &logit)| Candidate {
                id: id as u32,
                logit,
                weight: 0.0,
            }));
        self.penalize(history);
        if self.params.temperature == 0.0 {
            return self
                .candidates
                .iter()
                .min_by(|a, b| by_likelihood(a, b))
                .map(|best| best.id)
                .ok_or(SamplerError::Empty);
        }
        self.keep_top_k();
        self.keep_top_p();
        self.keep_min_p();
        self.draw()
    }

    /// # Source
    /// Keskar et al., "CTRL" (2019): likely tokens are divided by the penalty,
    /// unlikely ones multiplied, each token once however often it occurred.
    fn penalize(&mut self, history: &[u32]) {
        let penalty = self.params.repeat_penalty;
        if penalty == 1.0 {
            return;
        }
        let recent = &history[history.len().saturating_sub(self.params.repeat_last_n)..];
        let mut recent = recent.to_vec();
        recent.sort_unstable();
        recent.dedup();
        for id in recent {
            if let Some(candidate) = self.candidates.get_mut(id as usize) {
                let penalized = if candidate.logit > 0.0 {
                    candidate.logit / penalty
                } else {
                    candidate.logit * penalty
                };
                // A tiny penalty must not make an infinity, which has no likelihood.
                candidate.logit = penalized.clamp(f32::MIN, f32::MAX);
            }
        }
    }

    fn keep_top_k(&mut self) {
        let top_k = self.params.top_k;
        if top_k > 0 && top_k < self.candidates.len() {
            self.candidates.select_nth_unstable_by(top_k, by_likelihood);
            self.candidates.truncate(top_k);
        }
        self.candidates.sort_unstable_by(by_likelihood);
    }

    fn keep_top_p(&mut self) {
        if self.params.top_p >= 1.0 {
            return;
        }
        let total = self.weigh(1.0);
        let mut reached = 0.0;
        let needed = self.params.top_p * total;
        let n_kept = self.candidates.iter().position(|candidate| {
            reached += candidate.weight;
            reached >= needed
        });
        if let Some(last) = n_kept {
            self.candidates.truncate(last + 1);
        }
    }

    fn keep_min_p(&mut self) {
        if self.params.min_p == 0.0 {
            return;
        }
        self.weigh(1.0);
        // The likeliest has the weight 1, so the others' weights are relative to it.
        let min_p = self.params.min_p;
        let n_kept = self
            .candidates
            .partition_point(|candidate| candidate.weight >= min_p);
        self.candidates.truncate(n_kept.max(1));
    }

    fn draw(&mut self) -> Result<u32, SamplerError> {
        let total = self.weigh(self.params.temperature);
        let target = self.rng.next_f32() * total;
        let mut reached = 0.0;
        for candidate in &self.candidates {
            reached += candidate.weight;
            if target < reached {
                return Ok(candidate.id);
            }
        }
        let last = self.candidates.last().ok_or(SamplerError::Empty)?;
        Ok(last.id)
    }

    /// Sets the weights to `e^((logit − max) / temperature)` and returns their sum.
    fn weigh(&mut self, temperature: f32) -> f32 {
        let max = self.candidates.first().map_or(0.0, |best| best.logit);
        let mut total = 0.0;
        for candidate in &mut self.candidates {
            candidate.weight = math::exp((candidate.logit - max) / temperature);
            total += candidate.weight;
        }
        total
    }
}

/// The most likely token; the smallest id among equals.
///
/// # Errors
/// A logit is NaN or infinite, or there is none.
pub fn argmax(logits: &[f32]) -> Result<u32, SamplerError> {
    check_finite(logits)?;
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = id;
        }
    }
    Ok(best as u32)
}

fn check_finite(logits: &[f32]) -> Result<(), SamplerError> {
    if logits.is_empty() {
        return Err(SamplerError::Empty);
    }
    match logits.iter().position(|logit| !logit.is_finite()) {
        None => Ok(()),
        Some(token) => Err(SamplerError::NotFinite {
            token,
            found: logits[token],
        }),
    }
}
