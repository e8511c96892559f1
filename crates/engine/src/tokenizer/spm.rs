//! SentencePiece's byte-pair encoding: neighbouring pieces are joined as long as
//! the result is in the vocabulary, the one with the highest score first.
//!
//! # Source
//! `llm_tokenizer_spm` in `llama-vocab.cpp` of the llama.cpp project.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::TokenizerError;
use super::index::TextIndex;
use super::vocab::{Vocab, parse_byte_token};
use crate::gguf::{Metadata, OptionalKey as _};

pub(super) struct Spm {
    scores: Vec<f32>,
    /// The tokens that text may become.
    index: TextIndex,
    /// For each byte the token that stands for it.
    byte_ids: Vec<Option<u32>>,
    add_space_prefix: bool,
}

/// A stretch of the text that is one piece so far; merged ones are empty.
struct Symbol {
    start: usize,
    n_bytes: usize,
    prev: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that could be joined.
struct Bigram {
    score: f32,
    left: usize,
    right: usize,
    n_bytes: usize,
}

impl Ord for Bigram {
    /// Highest score first, then leftmost.
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = self.score.total_cmp(&other.score);
        by_score.then_with(|| other.left.cmp(&self.left))
    }
}

impl PartialOrd for Bigram {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Bigram {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Bigram {}

impl Spm {
    pub(super) fn new(metadata: &Metadata, vocab: &Vocab) -> Result<Self, TokenizerError> {
        let mut index = TextIndex::new(vocab.len());
        for (id, text, kind) in vocab.iter() {
            if kind.is_plain() && !text.is_empty() {
                index.add(vocab, id)?;
            }
        }
        let add_space_prefix = metadata
            .bool("tokenizer.ggml.add_space_prefix")
            .optional()?;
        Ok(Self {
            scores: read_scores(metadata, vocab.len())?,
            index,
            byte_ids: byte_ids(vocab),
            add_space_prefix: add_space_prefix.unwrap_or(true),
        })
    }

    /// Appends the tokens of `text`, which follows a special token or begins the prompt
    /// if `after_special`.
    pub(super) fn encode(
        &self,
        vocab: &Vocab,
        text: &str,
        after_special: bool,
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let mut escaped = String::with_capacity(text.len() + 3);
        if after_special && self.add_space_prefix {
            escaped.push('▁');
        }
        escaped.extend(text.chars().map(|c| if c == ' ' { '▁' } else { c }));
        let symbols = self.merge(vocab, &escaped);
        for symbol in symbols.iter().filter(|symbol| symbol.n_bytes > 0) {
            let piece = &escaped.as_bytes()[symbol.start..symbol.start + symbol.n_bytes];
            match self.index.find(vocab, piece) {
                Some(id) => ids.push(id),
                None => self.push_bytes(vocab, piece, ids)?,
            }
        }
        Ok(())
    }

    fn push_bytes(
        &self,
        vocab: &Vocab,
        piece: &[u8],
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        for &byte in piece {
            let id = self.byte_ids[usize::from(byte)].or(vocab.unknown);
            ids.push(id.ok_or(TokenizerError::NoTokenForByte { byte })?);
        }
        Ok(())
    }

    /// The characters of `text`, joined until no two neighbours make a token.
    fn merge(&self, vocab: &Vocab, text: &str) -> Vec<Symbol> {
        let mut symbols: Vec<Symbol> = Vec::with_capacity(text.len());
        for (start, c) in text.char_indices() {
            let idx = symbols.len();
            let end = start + c.len_utf8();
            symbols.push(Symbol {
                start,
                n_bytes: c.len_utf8(),
                prev: idx.checked_sub(1),
                next: (end < text.len()).then_some(idx + 1),
            });
        }
        let mut queue = BinaryHeap::new();
        for right in 1..symbols.len() {
            queue.extend(self.bigram(vocab, text, &symbols, Some(right - 1), Some(right)));
        }
        while let Some(bigram) = queue.pop() {
            let (left, right) = (&symbols[bigram.left], &symbols[bigram.right]);
            // One of the two has been joined to something else since.
            let is_stale = left.n_bytes == 0
                || right.n_bytes == 0
                || left.n_bytes + right.n_bytes != bigram.n_bytes;
            if is_stale {
                continue;
            }
            let (prev, next) = (left.prev, right.next);
            symbols[bigram.left].n_bytes = bigram.n_bytes;
            symbols[bigram.left].next = next;
            symbols[bigram.right].n_bytes = 0;
            if let Some(next) = next {
                symbols[next].prev = Some(bigram.left);
            }
            queue.extend(self.bigram(vocab, text, &symbols, prev, Some(bigram.left)));
            queue.extend(self.bigram(vocab, text, &symbols, Some(bigram.left), next));
        }
        symbols
    }

    /// The joining of two neighbours, if both exist and make a token.
    fn bigram(
        &self,
        vocab: &Vocab,
        text: &str,
        symbols: &[Symbol],
        left: Option<usize>,
        right: Option<usize>,
    ) -> Option<Bigram> {
        let (left, right) = (left?, right?);
        let start = symbols[left].start;
        let n_bytes = symbols[left].n_bytes + symbols[right].n_bytes;
        let joined = &text.as_bytes()[start..start + n_bytes];
        let id = self.index.find(vocab, joined)?;
        Some(Bigram {
            score: self.scores.get(id as usize).copied().unwrap_or(0.0),
            left,
            right,
            n_bytes,
        })
    }
}

fn read_scores(metadata: &Metadata, n_vocab: usize) -> Result<Vec<f32>, TokenizerError> {
    const KEY: &str = "tokenizer.ggml.scores";
    let Some(scores) = metadata.f32_array(KEY).optional()? else {
        return Ok(Vec::new());
    };
    if scores.len() < n_vocab {
        return Err(TokenizerError::LengthMismatch {
            key: KEY,
            n_vocab,
            found: scores.len(),
        });
    }
    Ok(scores.into_owned())
}

/// Byte tokens by their names, else tokens whose text is the byte itself.
fn byte_ids(vocab: &Vocab) -> Vec<Option<u32>> {
    let mut named = vec![None; 256];
    let mut bare = vec![None; 256];
    for (id, text, _) in vocab.iter() {
        if let Some(byte) = parse_byte_token(text) {
            named[usize::from(byte)].get_or_insert(id);
        } else if let [byte] = *text {
            bare[usize::from(byte)].get_or_insert(id);
        }
    }
    named
        .into_iter()
        .zip(bare)
        .map(|(named, bare)| named.or(bare))
        .collect()
}
