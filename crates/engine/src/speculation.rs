//! Guesses at how a text goes on, taken from what it has said before.
//!
//! Where the last tokens occurred earlier, what followed them there is likely to
//! follow again: quotations, code, names, the rows of a table. Several tokens are
//! computed together for little more than one, so a guess that comes true saves
//! time, and one that does not costs some. This module makes the guesses and decides
//! how long they may be; the sampler alone decides what is said, so the text is the
//! same with and without. Nothing here knows logits or the model.
//!
//! # Source
//! A. Saxena, "Prompt Lookup Decoding" (2023), with lengths chosen by measurement.

use crate::context::MAX_LOGITS;

/// Guesses are at most so long: with the token before them, as many logits as a
/// context gives at once.
pub(crate) const MAX_DRAFT: usize = MAX_LOGITS - 1;
/// A single token that occurred before says little about what follows.
const MIN_MATCH: usize = 2;
/// Longer matches say no more.
const MAX_MATCH: usize = 12;

/// Whether guesses are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Speculation {
    /// As long as measurements say that they pay.
    #[default]
    Auto,
    /// Wherever there is one to make, at full length: for tests and measurements.
    Always,
    /// Never.
    Off,
}

/// Where a text has said its end before.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Match {
    /// How many tokens agree.
    n_tokens: usize,
    /// Where in the text that which followed begins.
    follows: usize,
}

impl Match {
    /// What is likely to follow now: what followed then, and where that reaches the
    /// text's end, itself again.
    fn continuation<'a>(&self, tokens: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
        tokens[self.follows..].iter().copied().cycle()
    }
}

/// The longest earlier occurrence of the text's end; the latest among equals.
fn find(tokens: &[u32]) -> Option<Match> {
    let (&last, before) = tokens.split_last()?;
    let mut best: Option<Match> = None;
    for (idx, _) in before
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, token)| **token == last)
    {
        let pairs = before.iter().rev().zip(before[..idx].iter().rev());
        let n_before = pairs
            .take(MAX_MATCH - 1)
            .take_while(|(a, b)| a == b)
            .count();
        let n_tokens = n_before + 1;
        if n_tokens >= MIN_MATCH && best.as_ref().is_none_or(|best| n_tokens > best.n_tokens) {
            best = Some(Match {
                n_tokens,
                follows: idx + 1,
            });
            if n_tokens == MAX_MATCH {
                break;
            }
        }
    }
    best
}

/// How often guesses came true, by how many tokens had agreed before.
#[derive(Debug, Clone)]
struct Acceptance {
    /// For matches of 2, of 3 and 4, of 5 to 8, and of more tokens.
    rates: [f64; 4],
}

impl Acceptance {
    fn class(n_matched: usize) -> usize {
        match n_matched {
            0..=2 => 0,
            3..=4 => 1,
            5..=8 => 2,
            _ => 3,
        }
    }

    fn rate(&self, n_matched: usize) -> f64 {
        self.rates[Self::class(n_matched)]
    }

    fn learn(&mut self, n_matched: usize, came_true: bool) {
        // About the last ten guesses count.
        const WEIGHT: f64 = 0.1;
        let rate = &mut self.rates[Self::class(n_matched)];
        *rate += WEIGHT * (f64::from(u8::from(came_true)) - *rate);
    }
}

impl Default for Acceptance {
    /// What text with much repetition shows; other text corrects it within a few tokens,
    /// before anything is spent on it.
    fn default() -> Self {
        Self {
            rates: [0.3, 0.5, 0.7, 0.8],
        }
    }
}

/// What it costs to compute several tokens together, as a multiple of one. It belongs
/// to a model on a device, whatever the text.
#[derive(Debug, Clone)]
pub(crate) struct ForwardCosts {
    /// Milliseconds for one token, lately.
    one_ms: Option<f64>,
    /// `[n_tokens]`, where it was measured.
    ratios: [Option<f64>; MAX_LOGITS + 1],
}

impl Default for ForwardCosts {
    fn default() -> Self {
        Self {
            one_ms: None,
            ratios: [None; MAX_LOGITS + 1],
        }
    }
}

impl ForwardCosts {
    /// Weight of a new measurement.
    const WEIGHT: f64 = 0.25;
    /// What is held against a size that was never tried, for each token beyond the
    /// first: high enough that only guesses which are nearly sure are used to find out.
    const UNKNOWN: f64 = 0.6;

    /// Takes in how long `n_tokens` together took.
    pub(crate) fn measure(&mut self, n_tokens: usize, ms: f64) {
        // The clock's resolution: models this small gain nothing.
        const SHORTEST_MS: f64 = 0.01;
        if ms.is_nan() || ms <= SHORTEST_MS || n_tokens > MAX_LOGITS {
            return;
        }
        if n_tokens == 1 {
            let one_ms = self.one_ms.get_or_insert(ms);
            *one_ms += Self::WEIGHT * (ms - *one_ms);
        } else if let Some(one_ms) = self.one_ms {
            let ratio = ms / one_ms;
            let known = self.ratios[n_tokens].get_or_insert(ratio);
            *known += Self::WEIGHT * (ratio - *known);
        }
    }

    /// The cost of `n_tokens` together; infinite as long as nothing is known.
    fn ratio(&self, n_tokens: usize) -> f64 {
        if n_tokens == 1 {
            return 1.0;
        }
        if self.one_ms.is_none() {
            return f64::INFINITY;
        }
        if let Some(ratio) = self.ratios[n_tokens] {
            return ratio;
        }
        // Between what is known on both sides, else beyond the nearest.
        let known = |n: &usize| self.ratios[*n].map(|ratio| (*n, ratio));
        let below = (2..n_tokens)
            .rev()
            .find_map(|n| known(&n))
            .unwrap_or((1, 1.0));
        let above = (n_tokens + 1..=MAX_LOGITS).find_map(|n| known(&n));
        let n_more = (n_tokens - below.0) as f64;
        match above {
            Some((n, ratio)) => below.1 + (ratio - below.1) * n_more / (n - below.0) as f64,
            None => below.1 + Self::UNKNOWN * n_more,
        }
    }
}

/// Makes the guesses of one reply.
#[derive(Debug)]
pub(crate) struct Guesser {
    mode: Speculation,
    acceptance: Acceptance,
    /// What is expected to follow, whether or not it is computed ahead.
    expected: Vec<u32>,
    /// How many tokens agreed before the first of `expected`.
    n_matched: usize,
}

impl Guesser {
    pub(crate) fn new(mode: Speculation) -> Self {
        Self {
            mode,
            acceptance: Acceptance::default(),
            expected: Vec::new(),
            n_matched: 0,
        }
    }

    /// The tokens that are worth computing together with the last of `tokens`; at most
    /// `max` of them, and often none.
    pub(crate) fn guess(&mut self, tokens: &[u32], max: usize, costs: &ForwardCosts) -> &[u32] {
        self.expected.clear();
        if self.mode == Speculation::Off {
            return &[];
        }
        let Some(found) = find(tokens) else {
            return &[];
        };
        let max = max.min(MAX_DRAFT);
        self.n_matched = found.n_tokens;
        let n_drafted = match self.mode {
            Speculation::Always => max,
            _ => self.best_length(max, costs),
        };
        // One more is watched at no cost, so that it is known when guesses pay again.
        let n_watched = n_drafted.max(1);
        self.expected
            .extend(found.continuation(tokens).take(n_watched));
        &self.expected[..n_drafted]
    }

    /// Hears what was said.
    pub(crate) fn hear(&mut self, token: u32) {
        let Some(&expected) = self.expected.first() else {
            return;
        };
        let came_true = expected == token;
        self.acceptance.learn(self.n_matched, came_true);
        if came_true {
            self.expected.remove(0);
            self.n_matched += 1;
        } else {
            self.expected.clear();
        }
    }

    /// The length with the most tokens for the time, 0 unless that is clearly more
    /// than without guessing.
    fn best_length(&self, max: usize, costs: &ForwardCosts) -> usize {
        const CLEARLY: f64 = 1.1;
        let (mut best, mut best_speed) = (0, CLEARLY);
        let (mut likelihood, mut n_expected) = (1.0, 1.0);
        for n_drafted in 1..=max {
            likelihood *= self.acceptance.rate(self.n_matched + n_drafted - 1);
            n_expected += likelihood;
            let speed = n_expected / costs.ratio(n_drafted + 1);
            if speed > best_speed {
                (best, best_speed) = (n_drafted, speed);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(one_ms: f64, per_token: f64) -> ForwardCosts {
        let mut costs = ForwardCosts::default();
        for n_tokens in [1, 2, 4, 8, 16] {
            costs.measure(n_tokens, one_ms * (1.0 + per_token * (n_tokens - 1) as f64));
        }
        costs
    }

    #[test]
    fn the_longest_and_then_the_latest_occurrence_is_found() {
        for (text, expected) in [
            ("abcXabcYab", Some((2, "cYabcY"))),
            ("zabcXabcYzabc", Some((4, "XabcYz"))),
            ("aaaa", Some((3, "aaaaaa"))),
            ("abcdef", None),
            ("ab", None),
            ("a", None),
            ("", None),
            // One token alone is no match.
            ("xaybza", None),
        ] {
            let tokens: Vec<u32> = text.chars().map(u32::from).collect();
            let found = find(&tokens).map(|found| {
                let follows = found.continuation(&tokens).take(6);
                let text: String = follows.filter_map(char::from_u32).collect();
                (found.n_tokens, text)
            });
            let expected = expected.map(|(n, text)| (n, text.to_owned()));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn nothing_is_guessed_before_anything_was_measured() {
        let tokens = [1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4];
        let mut guesser = Guesser::new(Speculation::Auto);
        assert!(
            guesser
                .guess(&tokens, 8, &ForwardCosts::default())
                .is_empty()
        );
        assert_eq!(guesser.guess(&tokens, 8, &costs(10.0, 0.1))[0], 5);
    }

    #[test]
    fn dear_batches_and_false_hopes_switch_it_off_and_true_ones_on_again() {
        let tokens = [1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4];
        // A batch that costs as much as its tokens one by one never pays.
        let mut guesser = Guesser::new(Speculation::Auto);
        assert!(guesser.guess(&tokens, 8, &costs(10.0, 1.0)).is_empty());
        let cheap = costs(10.0, 0.1);
        for _ in 0..20 {
            guesser.guess(&tokens, 8, &cheap);
            guesser.hear(99);
        }
        assert!(guesser.guess(&tokens, 8, &cheap).is_empty());
        // It goes on watching, and comes back.
        for _ in 0..20 {
            guesser.guess(&tokens, 8, &cheap);
            guesser.hear(5);
        }
        assert!(!guesser.guess(&tokens, 8, &cheap).is_empty());
    }

    #[test]
    fn the_cheaper_a_batch_the_longer_the_guess() {
        let tokens: Vec<u32> = (0..30).chain(0..12).collect();
        let length = |per_token| {
            let mut guesser = Guesser::new(Speculation::Auto);
            guesser
                .guess(&tokens, MAX_DRAFT, &costs(10.0, per_token))
                .len()
        };
        let lengths = [1.0, 0.5, 0.2, 0.05].map(length);
        assert!(
            lengths.is_sorted() && lengths[0] == 0 && lengths[3] > 5,
            "{lengths:?}"
        );
    }

    #[test]
    fn guesses_keep_to_their_limits() {
        let tokens: Vec<u32> = (0..50).chain(0..12).collect();
        let mut guesser = Guesser::new(Speculation::Always);
        for max in [0, 1, 7, 100] {
            let guess = guesser.guess(&tokens, max, &ForwardCosts::default());
            assert_eq!(guess, &tokens[12..][..max.min(MAX_DRAFT)]);
        }
        let mut off = Guesser::new(Speculation::Off);
        assert!(off.guess(&tokens, 8, &costs(10.0, 0.0)).is_empty());
    }

    #[test]
    fn costs_are_read_between_and_beyond_what_was_measured() {
        let mut costs = ForwardCosts::default();
        assert_eq!(costs.ratio(4), f64::INFINITY);
        costs.measure(1, 10.0);
        assert_eq!(costs.ratio(1), 1.0);
        assert_eq!(costs.ratio(2), 1.0 + ForwardCosts::UNKNOWN);
        costs.measure(5, 18.0);
        assert!((costs.ratio(3) - 1.4).abs() < 1e-9);
        assert!((costs.ratio(6) - 1.8 - ForwardCosts::UNKNOWN).abs() < 1e-9);
        // What a clock can't see is no measurement.
        costs.measure(2, 0.0);
        assert!((costs.ratio(2) - 1.2).abs() < 1e-9);
    }
}
