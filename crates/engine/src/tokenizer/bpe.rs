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
    pre: &'static PreTokenizer,
}

/// Tokens or merges that are read in one step.
const STEP_LEN: usize = 32 * 1024;

/// A [`Bpe`] in the making.
pub(super) struct BpeBuilder {
    pre: &'static PreTokenizer,
    ids: BpeVocab,
    n_ids_read: usize,
    merges: Vec<(String, String)>,
    n_merges_read: usize,
    model: Option<BPE>,
}

impl BpeBuilder {
    pub(super) fn new(pre: &'static PreTokenizer) -> Self {
        Self {
            pre,
            ids: BpeVocab::default(),
            n_ids_read: 0,
            merges: Vec::new(),
            n_merges_read: 0,
            model: None,
        }
    }

    /// Does one piece; the last one gives the encoder.
    pub(super) fn step(
        &mut self,
        metadata: &Metadata,
        vocab: &Vocab,
    ) -> Result<Option<Bpe>, TokenizerError> {
        let merges = metadata.str_array("tokenizer.ggml.merges")?;
        if self.n_ids_read < vocab.len() {
            self.read_ids(vocab);
        } else if self.n_merges_read < merges.len() {
            self.read_merges(merges);
        } else if let Some(model) = self.model.take() {
            return Ok(Some(Bpe {
                model,
                splitter: Splitter::new(self.pre)?,
                pre: self.pre,
            }));
        } else {
            self.model = Some(self.build_model()?);
        }
        Ok(None)
    }

    /// The merges work on text, so a token that is no UTF-8 cannot take part.
    /// Byte tokens do only where the crate falls back to them by name.
    fn read_ids(&mut self, vocab: &Vocab) {
        for (id, text, kind) in vocab.iter().skip(self.n_ids_read).take(STEP_LEN) {
            let takes_part = kind.is_plain() || (self.pre.raw_utf8 && kind == TokenKind::Byte);
            if let (true, Ok(text)) = (takes_part, std::str::from_utf8(text)) {
                self.ids.entry(text.to_owned()).or_insert(id);
            }
        }
        self.n_ids_read += STEP_LEN;
    }

    /// Merges as pairs, without those that could never apply because a part or the
    /// whole is not in the vocabulary.
    fn read_merges(&mut self, merges: &StrArray) {
        let mut whole = String::new();
        for merge in merges.iter().skip(self.n_merges_read).take(STEP_LEN) {
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
                .all(|part| self.ids.contains_key(part))
            {
                self.merges.push((left.to_owned(), right.to_owned()));
            }
        }
        self.n_merges_read += STEP_LEN;
    }

    /// The one piece that the crate does not let us divide.
    fn build_model(&mut self) -> Result<BPE, TokenizerError> {
        let (ids, merges) = (
            std::mem::take(&mut self.ids),
            std::mem::take(&mut self.merges),
        );
        BPE::builder()
            .vocab_and_merges(ids, merges)
            .ignore_merges(self.pre.ignore_merges)
            .byte_fallback(self.pre.raw_utf8)
            // The crate's cache lives in the thread and would outlive the model.
            .cache_capacity(0)
            .build()
            .map_err(TokenizerError::Bpe)
    }
}

impl Bpe {
    /// Appends the tokens of `text`. Characters that the vocabulary lacks, which
    /// a complete vocabulary of bytes has none of, are left out.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let escaped;
        let text = if self.pre.escapes_spaces {
            escaped = text.replace(' ', "▁");
            &escaped
        } else {
            text
        };
        let mut word = String::new();
        for piece in self.splitter.split(text)? {
            if self.pre.whole_line_breaks
                && piece.bytes().all(|byte| byte == b'\n')
                && let Some(id) = self.model.token_to_id(piece)
            {
                ids.push(id);
                continue;
            }
            word.clear();
            if self.pre.raw_utf8 {
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
