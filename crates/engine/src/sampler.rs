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

/// A number that orders as [`f32::total_cmp`] does, so that comparing is one
/// instruction for several logits.
#[inline(always)]
fn order_of(logit: f32) -> i32 {
    let bits = logit.to_bits() as i32;
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

/// How many of the likeliest are ranked first where nothing says how many are needed;
/// then [`MORE`] times as many, until there are enough.
const FIRST_RANKED: usize = 256;
/// See [`FIRST_RANKED`].
const MORE: usize = 8;

/// The largest bias, either way: more than trained logits are apart.
pub const MAX_BIAS: f32 = 100.0;

/// Logits that are looked at together.
const CHUNK: usize = 16;

/// Draws tokens by [`SamplingParams`].
///
/// A vocabulary has up to 150,000 tokens, and nearly all of them have no chance: they
/// are compared with the least of the likeliest so far, and only what is above becomes
/// a candidate that is sorted.
#[derive(Debug, Clone)]
pub struct Sampler {
    params: SamplingParams,
    rng: Pcg32,
    /// What is added to tokens' logits.
    biases: Vec<(u32, f32)>,
    /// Tokens that are never chosen. Sorted.
    suppressed: Vec<u32>,
    /// The logits with biases and penalties, if there are any; of the allowed tokens,
    /// if not all are.
    penalized: Vec<f32>,
    /// The tokens to choose among, if not all.
    allowed: Vec<u32>,
    /// The likeliest tokens, most likely first.
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
            biases: Vec::new(),
            suppressed: Vec::new(),
            penalized: Vec::new(),
            allowed: Vec::new(),
            candidates: Vec::new(),
        })
    }

    /// Adds to the logits of tokens, before anything else is done with them.
    ///
    /// # Errors
    /// A bias is not between −[`MAX_BIAS`] and [`MAX_BIAS`].
    pub fn with_biases(mut self, biases: Vec<(u32, f32)>) -> Result<Self, SamplerError> {
        let is_valid = |bias: f32| (-MAX_BIAS..=MAX_BIAS).contains(&bias);
        match biases.iter().find(|(_, bias)| !is_valid(*bias)) {
            Some((_, bias)) => Err(SamplerError::OutOfRange {
                field: "logit_bias",
                found: *bias,
                expected: "between -100 and 100",
            }),
            None => {
                self.biases = biases;
                Ok(self)
            }
        }
    }

    /// Never chooses these tokens.
    #[must_use]
    pub fn without(mut self, tokens: &[u32]) -> Self {
        self.suppressed = tokens.to_vec();
        self.suppressed.sort_unstable();
        self
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
        if !self.suppressed.is_empty() {
            self.allowed.clear();
            let suppressed = &self.suppressed;
            let ids = (0u32..).take(logits.len());
            self.allowed
                .extend(ids.filter(|id| suppressed.binary_search(id).is_err()));
            return self.choose_allowed(logits, history);
        }
        if self.biases.is_empty() && !self.penalizes() {
            return self.choose(logits);
        }
        let mut adjusted = std::mem::take(&mut self.penalized);
        adjusted.clear();
        adjusted.extend_from_slice(logits);
        self.adjust(&mut adjusted, history, |id| Some(id as usize));
        let chosen = self.choose(&adjusted);
        self.penalized = adjusted;
        chosen
    }

    /// Chooses the token that follows `history` among those that are allowed, as if
    /// there were no others. `mask` has a bit for each token, 32 tokens a word, the
    /// lowest bit first; tokens beyond it are not allowed.
    ///
    /// # Errors
    /// As for [`Self::sample`]; there is none, too, where none is allowed.
    pub fn sample_among(
        &mut self,
        logits: &[f32],
        history: &[u32],
        mask: &[u32],
    ) -> Result<u32, SamplerError> {
        check_finite(logits)?;
        self.allowed.clear();
        for (first_id, &word) in (0u32..).step_by(32).zip(mask) {
            let mut left = word;
            while left != 0 {
                let id = first_id + left.trailing_zeros();
                left &= left - 1;
                if (id as usize) < logits.len() && self.suppressed.binary_search(&id).is_err() {
                    self.allowed.push(id);
                }
            }
        }
        self.choose_allowed(logits, history)
    }

    /// Chooses among [`Self::allowed`], which move together in the order of their ids.
    fn choose_allowed(&mut self, logits: &[f32], history: &[u32]) -> Result<u32, SamplerError> {
        let allowed = std::mem::take(&mut self.allowed);
        let mut kept = std::mem::take(&mut self.penalized);
        kept.clear();
        kept.extend(allowed.iter().map(|id| logits[*id as usize]));
        self.adjust(&mut kept, history, |id| allowed.binary_search(&id).ok());
        let chosen = self.choose(&kept);
        let chosen = chosen.map(|idx| allowed[idx as usize]);
        self.penalized = kept;
        self.allowed = allowed;
        chosen
    }

    /// `logits` are finite.
    fn choose(&mut self, logits: &[f32]) -> Result<u32, SamplerError> {
        let best = likeliest(logits).ok_or(SamplerError::Empty)?;
        if self.params.temperature == 0.0 {
            return Ok(best);
        }
        let top_k = self.params.top_k;
        if top_k > 0 {
            self.rank(logits, top_k);
            self.keep_top_p_and_min_p(None);
            return self.draw();
        }
        let max = logits[best as usize];
        let is_cut = self.params.top_p < 1.0 || self.params.min_p > 0.0;
        if is_cut {
            self.rank_until_cut(logits, max);
            self.draw()
        } else {
            Ok(self.draw_from_all(logits, max))
        }
    }

    fn penalizes(&self) -> bool {
        self.params.repeat_penalty != 1.0 && self.params.repeat_last_n > 0
    }

    /// Biases, then penalises; `place` says where a token's logit is, if it is there.
    fn adjust(&self, logits: &mut [f32], history: &[u32], place: impl Fn(u32) -> Option<usize>) {
        for &(id, bias) in &self.biases {
            if let Some(logit) = place(id).and_then(|idx| logits.get_mut(idx)) {
                *logit = (*logit + bias).clamp(f32::MIN, f32::MAX);
            }
        }
        self.penalize(logits, history, place);
    }

    /// # Source
    /// Keskar et al., "CTRL" (2019): likely tokens are divided by the penalty,
    /// unlikely ones multiplied, each token once however often it occurred.
    fn penalize(&self, logits: &mut [f32], history: &[u32], place: impl Fn(u32) -> Option<usize>) {
        if !self.penalizes() {
            return;
        }
        let penalty = self.params.repeat_penalty;
        let recent = &history[history.len().saturating_sub(self.params.repeat_last_n)..];
        let mut recent = recent.to_vec();
        recent.sort_unstable();
        recent.dedup();
        for id in recent {
            if let Some(logit) = place(id).and_then(|idx| logits.get_mut(idx)) {
                let penalized = if *logit > 0.0 {
                    *logit / penalty
                } else {
                    *logit * penalty
                };
                // A tiny penalty must not make an infinity, which has no likelihood.
                *logit = penalized.clamp(f32::MIN, f32::MAX);
            }
        }
    }

    /// Makes the `n` likeliest tokens the candidates.
    fn rank(&mut self, logits: &[f32], n: usize) {
        let candidates = &mut self.candidates;
        candidates.clear();
        let n = n.min(logits.len());
        // What is not above this many has no place; among equals the first comes first.
        let mut least = i32::MIN;
        for (idx, chunk) in logits.chunks(CHUNK).enumerate() {
            if !chunk
                .iter()
                .fold(false, |any, logit| any | (order_of(*logit) > least))
            {
                continue;
            }
            for (lane, &logit) in chunk.iter().enumerate() {
                if order_of(logit) > least {
                    candidates.push(Candidate {
                        id: (idx * CHUNK + lane) as u32,
                        logit,
                        weight: 0.0,
                    });
                }
            }
            if candidates.len() >= n.saturating_mul(2).max(FIRST_RANKED) {
                candidates.select_nth_unstable_by(n - 1, by_likelihood);
                candidates.truncate(n);
                least = order_of(candidates[n - 1].logit);
            }
        }
        if candidates.len() > n {
            candidates.select_nth_unstable_by(n - 1, by_likelihood);
            candidates.truncate(n);
        }
        candidates.sort_unstable_by(by_likelihood);
    }

    /// Cuts the candidates off after those that top-p and min-p keep. `total` is the
    /// weight of all tokens, if there are more than the candidates. `false` if nothing
    /// was cut off: of more candidates, some might have been kept.
    fn keep_top_p_and_min_p(&mut self, total: Option<f32>) -> bool {
        let (top_p, min_p) = (self.params.top_p, self.params.min_p);
        let own_total = self.weigh(1.0);
        let n_before = self.candidates.len();
        if top_p < 1.0 {
            let mut reached = 0.0;
            let needed = top_p * total.unwrap_or(own_total);
            let last = self.candidates.iter().position(|candidate| {
                reached += candidate.weight;
                reached >= needed
            });
            if let Some(last) = last {
                self.candidates.truncate(last + 1);
                if total.is_some() {
                    self.keep_min_p(min_p);
                    return true;
                }
            }
        }
        self.keep_min_p(min_p);
        self.candidates.len() < n_before
    }

    /// The likeliest has the weight 1, so the others' weights are relative to it.
    fn keep_min_p(&mut self, min_p: f32) {
        if min_p > 0.0 {
            let n_kept = self
                .candidates
                .partition_point(|candidate| candidate.weight >= min_p);
            self.candidates.truncate(n_kept.max(1));
        }
    }

    /// Ranks so many of all tokens that top-p or min-p cuts some of them off.
    fn rank_until_cut(&mut self, logits: &[f32], max: f32) {
        let total = (self.params.top_p < 1.0).then(|| total_weight(logits, max, 1.0));
        let mut n = FIRST_RANKED;
        loop {
            self.rank(logits, n);
            let is_cut = self.keep_top_p_and_min_p(total);
            if is_cut || n >= logits.len() {
                return;
            }
            n *= MORE;
        }
    }

    /// Draws from the candidates.
    fn draw(&mut self) -> Result<u32, SamplerError> {
        let total = self.weigh(self.params.temperature);
        let target = self.rng.next_f32() * total;
        match self.reach(target) {
            Some(id) => Ok(id),
            None => self
                .candidates
                .last()
                .map(|last| last.id)
                .ok_or(SamplerError::Empty),
        }
    }

    /// Draws from all tokens; those are ranked that come before the drawn one.
    fn draw_from_all(&mut self, logits: &[f32], max: f32) -> u32 {
        let total = total_weight(logits, max, self.params.temperature);
        let target = self.rng.next_f32() * total;
        let mut n = FIRST_RANKED;
        loop {
            self.rank(logits, n);
            self.weigh(self.params.temperature);
            if let Some(id) = self.reach(target) {
                return id;
            }
            if n >= logits.len() {
                // The total is rounded, and so is what was reached.
                return self.candidates.last().map_or(0, |last| last.id);
            }
            n *= MORE;
        }
    }

    /// The candidate at which the weights add up to more than `target`.
    fn reach(&self, target: f32) -> Option<u32> {
        let mut reached = 0.0;
        let found = self.candidates.iter().find(|candidate| {
            reached += candidate.weight;
            target < reached
        });
        found.map(|candidate| candidate.id)
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

/// The sum of `e^((logit − max) / temperature)` over all logits, in [`CHUNK`] sums that
/// are added at the end.
fn total_weight(logits: &[f32], max: f32, temperature: f32) -> f32 {
    let (chunks, rest) = logits.as_chunks::<CHUNK>();
    let mut totals = [0f32; CHUNK];
    for chunk in chunks {
        for (total, logit) in totals.iter_mut().zip(chunk) {
            *total += math::exp((logit - max) / temperature);
        }
    }
    for (total, logit) in totals.iter_mut().zip(rest) {
        *total += math::exp((logit - max) / temperature);
    }
    totals.iter().sum()
}

/// The most likely token; the smallest id among equals.
///
/// # Errors
/// A logit is NaN or infinite, or there is none.
pub fn argmax(logits: &[f32]) -> Result<u32, SamplerError> {
    check_finite(logits)?;
    likeliest(logits).ok_or(SamplerError::Empty)
}

/// As [`argmax`], of finite logits.
fn likeliest(logits: &[f32]) -> Option<u32> {
    let best = logits
        .iter()
        .map(|logit| order_of(*logit))
        .fold(i32::MIN, i32::max);
    let first = logits.iter().position(|logit| order_of(*logit) == best);
    first.map(|id| id as u32)
}

fn check_finite(logits: &[f32]) -> Result<(), SamplerError> {
    if logits.is_empty() {
        return Err(SamplerError::Empty);
    }
    // An exponent of all ones; without a branch for each, so that it vectorises.
    let magnitudes = logits.iter().map(|logit| logit.to_bits() & 0x7fff_ffff);
    if magnitudes.fold(0, u32::max) < 0x7f80_0000 {
        return Ok(());
    }
    let bad = logits.iter().position(|logit| !logit.is_finite());
    let token = bad.unwrap_or_default();
    Err(SamplerError::NotFinite {
        token,
        found: logits[token],
    })
}
