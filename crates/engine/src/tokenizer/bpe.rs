//! Byte-pair encoding with the `tokenizers` crate, set up from a GGUF vocabulary.

use tokenizers::Model as _;
use tokenizers::models::bpe::{BPE, Vocab as BpeVocab};

use super::TokenizerError;
use super::alphabet::spell;
use super::pre::{PreTokenizer, Splitter};
use super::vocab::{TokenKind, Vocab};
use crate::gguf::{Metadata, StrArray};

pub(super) struct Bpe {
    model: BPE,
    splitter: Splitter,
    raw_utf8: bool,
}

impl Bpe {
    pub(super) fn new(
        metadata: &Metadata,
        vocab: &Vocab,
        pre: &PreTokenizer,
    ) -> Result<Self, TokenizerError> {
        // The merges work on text, so a token that is no UTF-8 cannot take part.
        // Byte tokens do only where the crate falls back to them by name.
        let mut ids = BpeVocab::default();
        for (id, text, kind) in vocab.iter() {
            let takes_part = kind.is_plain() || (pre.raw_utf8 && kind == TokenKind::Byte);
            if let (true, Ok(text)) = (takes_part, std::str::from_utf8(text)) {
                ids.entry(text.to_owned()).or_insert(id);
            }
        }
        let merges = read_merges(metadata.str_array("tokenizer.ggml.merges")?, &ids);
        let model = BPE::builder()
            .vocab_and_merges(ids, merges)
            .ignore_merges(pre.ignore_merges)
            .byte_fallback(pre.raw_utf8)
            // The crate's cache lives in the thread and would outlive the model.
            .cache_capacity(0)
            .build()
            .map_err(TokenizerError::Bpe)?;
        Ok(Self {
            model,
            splitter: Splitter::new(pre)?,
            raw_utf8: pre.raw_utf8,
        })
    }

    /// Appends the tokens of `text`. Characters that the vocabulary lacks, which
    /// a complete vocabulary of bytes has none of, are left out.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let escaped;
        let text = if self.raw_utf8 {
            escaped = text.replace(' ', "▁");
            &escaped
        } else {
            text
        };
        let mut word = String::new();
        for piece in self.splitter.split(text)? {
            word.clear();
            if self.raw_utf8 {
                word.push_str(piece);
            } else {
                spell(piece.as_bytes(), &mut word);
            }
            let tokens = self.model.tokenize(&word).map_err(TokenizerError::Bpe)?;
            ids.extend(tokens.iter().map(|token| token.id));
        }
        Ok(())
    }
}

/// Merges as pairs, without those that could never apply because a part or the
/// whole is not in the vocabulary.
fn read_merges(merges: &StrArray, ids: &BpeVocab) -> Vec<(String, String)> {
    let mut pairs = Vec::with_capacity(merges.len());
    let mut whole = String::new();
    for merge in merges.iter() {
        let Ok(merge) = std::str::from_utf8(merge) else {
            continue;
        };
        // The left part may itself be a space.
        let Some(at) = merge.char_indices().skip(1).find(|&(_, c)| c == ' ') else {
            continue;
        };
        let (left, right) = (&merge[..at.0], &merge[at.0 + 1..]);
        whole.clear();
        whole.push_str(left);
        whole.push_str(right);
        if [left, right, &whole]
            .into_iter()
            .all(|part| ids.contains_key(part))
        {
            pairs.push((left.to_owned(), right.to_owned()));
        }
    }
    pairs
}
