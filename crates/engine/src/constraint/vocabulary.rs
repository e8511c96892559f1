//! A model's vocabulary as the grammar library wants it: a trie of the tokens' bytes.
//!
//! It is made when the first structured reply is asked for, in steps, and kept with
//! the model. For 150,000 tokens it takes some tens of milliseconds and 10 to 20 MB.

use std::sync::Arc;

use llguidance::ParserFactory;
use llguidance::api::ParserLimits;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{
    INVALID_TOKEN, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv,
};

use super::SchemaError;
use crate::tokenizer::Tokenizer;

/// Longer tokens are left out: they hold runs of one character, which shorter ones
/// write as well, and the trie's depth is bounded.
const MAX_TOKEN_BYTES: usize = 256;

/// Caps on the work for one reply. The library counts it, so they hold on any device:
/// about 20 ms to begin with and 15 ms for one token where a core does 14,000 units
/// of a lexer's work in a millisecond, and some 30 MB for the lexer's states.
fn limits() -> ParserLimits {
    ParserLimits {
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        max_items_in_row: 2_000,
        max_lexer_states: 20_000,
        max_grammar_size: 100_000,
        precompute_large_lexemes: false,
        verbose_errors: false,
    }
}

/// A model's vocabulary, ready for grammars.
pub(crate) struct GrammarVocabulary {
    factory: ParserFactory,
}

impl GrammarVocabulary {
    pub(super) fn factory(&self) -> &ParserFactory {
        &self.factory
    }
}

/// A [`GrammarVocabulary`] in the making.
#[derive(Default)]
pub(crate) enum VocabularyBuilder {
    /// Nothing is done yet.
    #[default]
    Begin,
    /// The bytes of the tokens have been collected.
    Collected(Vec<Vec<u8>>),
    /// The trie is there; what it holds of common texts' tokens is not.
    Built(TokEnv),
}

impl VocabularyBuilder {
    /// Does one piece of the work; the last one gives the vocabulary.
    ///
    /// # Errors
    /// The library refuses; no vocabulary is known with which it does.
    pub(crate) fn step(
        &mut self,
        tokenizer: &Tokenizer,
    ) -> Result<Option<GrammarVocabulary>, SchemaError> {
        *self = match std::mem::take(self) {
            Self::Begin => Self::Collected(collect(tokenizer)),
            Self::Collected(words) => Self::Built(Arc::new(Trie::new(tokenizer, &words))),
            Self::Built(env) => return finish(&env).map(Some),
        };
        Ok(None)
    }
}

/// What each token writes; nothing for those that no structured reply may hold.
fn collect(tokenizer: &Tokenizer) -> Vec<Vec<u8>> {
    let n_vocab = u32::try_from(tokenizer.n_vocab()).unwrap_or(u32::MAX);
    let words = (0..n_vocab).map(|id| {
        let bytes = tokenizer.token_bytes(id);
        let is_text = !tokenizer.is_control(id)
            && !tokenizer.is_end_of_generation(id)
            && bytes.len() <= MAX_TOKEN_BYTES
            // In no UTF-8, and the library's mark of a special token.
            && !bytes.contains(&TokTrie::SPECIAL_TOKEN_MARKER);
        if is_text { bytes.to_vec() } else { Vec::new() }
    });
    words.collect()
}

fn finish(env: &TokEnv) -> Result<GrammarVocabulary, SchemaError> {
    let slices = SlicedBiasComputer::json_slices();
    let factory = ParserFactory::new(env, InferenceCapabilities::default(), &slices);
    let mut factory = factory.map_err(|error| SchemaError::Refused {
        reason: error.to_string(),
    })?;
    factory.quiet();
    *factory.limits_mut() = limits();
    Ok(GrammarVocabulary { factory })
}

/// The trie without a way to tokenize text: every token is the model's own choice.
struct Trie {
    trie: TokTrie,
}

impl Trie {
    fn new(tokenizer: &Tokenizer, words: &[Vec<u8>]) -> Self {
        let ends: Vec<TokenId> = (0..words.len() as u32)
            .filter(|&id| tokenizer.is_end_of_generation(id))
            .collect();
        let info = TokRxInfo::new(
            words.len() as u32,
            ends.first().copied().unwrap_or(INVALID_TOKEN),
        );
        let trie = TokTrie::from(&info, words);
        Self {
            trie: match ends.len() {
                0 | 1 => trie,
                _ => trie.with_eos_tokens(&ends),
            },
        }
    }
}

impl TokenizerEnv for Trie {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<TokenId> {
        self.trie.greedy_tokenize(text)
    }

    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}
