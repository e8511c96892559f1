//! Byte-pair encoding with the vocabulary and the merges of a GGUF file.

use super::TokenizerError;
use super::alphabet::spell;
use super::index::TextIndex;
use super::merges::{Merges, Word};
use super::pre::{PreTokenizer, Splitter};
use super::vocab::{TokenKind, Vocab};
use crate::gguf::{Metadata, StrArray};

pub(super) struct Bpe {
    index: TextIndex,
    merges: Merges,
    /// For each byte the token that a word begins with it as: the byte's character in
    /// GPT-2's alphabet, or what is named `<0xNN>`.
    byte_ids: Vec<Option<u32>>,
    splitter: Splitter,
    pre: &'static PreTokenizer,
}

/// Tokens or merges that are read in one step.
const STEP_LEN: usize = 32 * 1024;

/// A [`Bpe`] in the making.
pub(super) struct BpeBuilder {
    pre: &'static PreTokenizer,
    index: TextIndex,
    /// For each token that was read, whether it is what the index finds for its text.
    is_found: Vec<bool>,
    merges: Merges,
    n_merges_read: usize,
}

impl BpeBuilder {
    /// # Errors
    /// The file has no merges.
    pub(super) fn new(
        pre: &'static PreTokenizer,
        metadata: &Metadata,
        vocab: &Vocab,
    ) -> Result<Self, TokenizerError> {
        Ok(Self {
            pre,
            index: TextIndex::new(vocab.len()),
            is_found: Vec::with_capacity(vocab.len()),
            merges: Merges::new(merges(metadata)?.len()),
            n_merges_read: 0,
        })
    }

    /// Does one piece; `true` when nothing is left but to [finish](Self::finish).
    pub(super) fn step(
        &mut self,
        metadata: &Metadata,
        vocab: &Vocab,
    ) -> Result<bool, TokenizerError> {
        let merges = merges(metadata)?;
        if self.is_found.len() < vocab.len() {
            self.read_ids(vocab)?;
        } else if self.n_merges_read < merges.len() {
            self.read_merges(merges, vocab)?;
        } else {
            return Ok(true);
        }
        Ok(false)
    }

    /// Byte tokens take part only where text falls back to them by name.
    fn read_ids(&mut self, vocab: &Vocab) -> Result<(), TokenizerError> {
        let start = self.is_found.len();
        let end = vocab.len().min(start + STEP_LEN);
        for id in start as u32..end as u32 {
            let kind = vocab.kind(id);
            let takes_part = kind.is_plain() || (self.pre.raw_utf8 && kind == TokenKind::Byte);
            let is_asked_for = takes_part && !vocab.text(id).is_empty();
            self.is_found
                .push(is_asked_for && self.index.add(vocab, id)?);
        }
        Ok(())
    }

    /// Merges as pairs, without those that could never apply because a part or the
    /// whole is not in the vocabulary. Most vocabularies have the wholes in the order of
    /// the merges, so the token after the last one is the first guess.
    fn read_merges(&mut self, merges: &StrArray, vocab: &Vocab) -> Result<(), TokenizerError> {
        let end = merges.len().min(self.n_merges_read + STEP_LEN);
        let mut whole = Vec::new();
        let mut guess = 0;
        for merge in (self.n_merges_read..end).filter_map(|idx| merges.get(idx)) {
            // The left part may itself be a space.
            let Some(n_left) = merge.iter().skip(1).position(|&byte| byte == b' ') else {
                continue;
            };
            let (left, right) = (&merge[..n_left + 1], &merge[n_left + 2..]);
            whole.clear();
            whole.extend_from_slice(left);
            whole.extend_from_slice(right);
            let is_guessed = self.is_found.get(guess as usize) == Some(&true)
                && vocab.text(guess) == whole.as_slice();
            let find = |text| self.index.find(vocab, text);
            let whole = match is_guessed {
                true => Some(guess),
                false => find(&whole),
            };
            if let (Some(whole), Some(left), Some(right)) = (whole, find(left), find(right)) {
                self.merges.push(left, right, whole)?;
                guess = whole + 1;
            }
        }
        self.n_merges_read = end;
        Ok(())
    }

    /// The encoder.
    pub(super) fn finish(self, vocab: &Vocab) -> Result<Bpe, TokenizerError> {
        let mut name = String::new();
        let byte_ids = (0..=u8::MAX).map(|byte| {
            name.clear();
            match self.pre.raw_utf8 {
                true => name = format!("<0x{byte:02X}>"),
                false => spell(&[byte], &mut name),
            }
            self.index.find(vocab, name.as_bytes())
        });
        Ok(Bpe {
            byte_ids: byte_ids.collect(),
            splitter: Splitter::new(self.pre)?,
            index: self.index,
            merges: self.merges,
            pre: self.pre,
        })
    }
}

fn merges(metadata: &Metadata) -> Result<&StrArray, TokenizerError> {
    Ok(metadata.str_array("tokenizer.ggml.merges")?)
}

impl Bpe {
    /// Appends the tokens of `text`. Characters that the vocabulary lacks, which
    /// a complete vocabulary of bytes has none of, are left out.
    pub(super) fn encode(
        &self,
        vocab: &Vocab,
        text: &str,
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let escaped;
        let text = if self.pre.escapes_spaces {
            escaped = text.replace(' ', "▁");
            &escaped
        } else {
            text
        };
        let mut word = Word::default();
        let mut spelled = String::new();
        for piece in self.splitter.split(text)? {
            if self.pre.whole_line_breaks
                && piece.bytes().all(|byte| byte == b'\n')
                && let Some(id) = self.index.find(vocab, piece.as_bytes())
            {
                ids.push(id);
                continue;
            }
            if self.pre.ignore_merges
                && let Some(id) = self.whole(vocab, piece, &mut spelled)
            {
                ids.push(id);
                continue;
            }
            word.clear();
            if self.pre.raw_utf8 {
                self.push_chars(vocab, piece, &mut word);
            } else {
                let tokens = piece.bytes().map(|byte| self.byte_ids[usize::from(byte)]);
                tokens.flatten().for_each(|id| word.push(id));
            }
            word.merge(&self.merges);
            ids.extend(word.ids());
        }
        Ok(())
    }

    /// The token that is all of `piece`.
    fn whole(&self, vocab: &Vocab, piece: &str, spelled: &mut String) -> Option<u32> {
        if self.pre.raw_utf8 {
            return self.index.find(vocab, piece.as_bytes());
        }
        spelled.clear();
        spell(piece.as_bytes(), spelled);
        self.index.find(vocab, spelled.as_bytes())
    }

    /// Characters as they are, or else byte by byte if there is a token for each.
    fn push_chars(&self, vocab: &Vocab, piece: &str, word: &mut Word) {
        for c in piece.chars() {
            let mut bytes = [0; 4];
            let bytes = c.encode_utf8(&mut bytes).as_bytes();
            if let Some(id) = self.index.find(vocab, bytes) {
                word.push(id);
                continue;
            }
            let tokens = || bytes.iter().map(|&byte| self.byte_ids[usize::from(byte)]);
            if tokens().all(|id| id.is_some()) {
                tokens().flatten().for_each(|id| word.push(id));
            }
        }
    }
}
