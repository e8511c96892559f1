//! A model's own tokenizer, built from the metadata of its GGUF file.
//!
//! Two families are implemented: byte-pair encoding with ranked merges (`gpt2`
//! and `gemma4` in GGUF's terms) and SentencePiece's with scores (`llama`). The
//! tokenizer knows no chat format: what markup to write is the template's matter,
//! and whether markup in a text counts is the caller's ([`SpecialTokens`]). Of the
//! file's wishes for what is put around a text BOS is followed, as it is needed; EOS
//! (`add_eos_token`) is not, since nothing could follow a prompt that ends.

mod alphabet;
mod bpe;
mod decode;
mod error;
mod index;
mod merges;
mod pre;
mod special;
mod spm;
mod vocab;

pub use decode::TextDecoder;
pub use error::TokenizerError;

use std::ops::Range;

use bpe::{Bpe, BpeBuilder};
use special::{Fragment, Matcher};
use spm::Spm;
use vocab::{Spelling, TokenKind, Vocab};

use crate::gguf::{Gguf, OptionalKey as _};

/// What becomes of text that looks like a control token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialTokens {
    /// It becomes the token: for prompts that a template wrote.
    Parse,
    /// It stays text: for everything that people or other programs wrote.
    AsText,
}

/// Text to tokens and back, as the model was trained.
pub struct Tokenizer {
    vocab: Vocab,
    encoder: Encoder,
    /// Matched before encoding in any text.
    user_defined: Matcher,
    /// Matched before encoding when special tokens are parsed.
    all_special: Matcher,
    add_bos: bool,
    /// What the model must never say.
    suppressed: Vec<u32>,
}

enum Encoder {
    Bpe(Box<Bpe>),
    Spm(Spm),
}

impl Tokenizer {
    /// Builds the tokenizer that a model file describes.
    ///
    /// # Errors
    /// The file has no tokenizer, one of a kind that is not implemented, or one
    /// whose parts do not fit together.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, TokenizerError> {
        let mut builder = TokenizerBuilder::new();
        loop {
            if let Some(tokenizer) = builder.step(gguf)? {
                return Ok(tokenizer);
            }
        }
    }

    /// The tokens of `text`; BOS and EOS are not added.
    ///
    /// # Errors
    /// The vocabulary has no way to write a part of the text.
    pub fn encode(&self, text: &str, special: SpecialTokens) -> Result<Vec<u32>, TokenizerError> {
        let matcher = match special {
            SpecialTokens::Parse => &self.all_special,
            SpecialTokens::AsText => &self.user_defined,
        };
        self.encode_fragments(&matcher.split(text, |_, _| true))
    }

    fn encode_fragments(&self, fragments: &[Fragment<'_>]) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::new();
        let mut after_special = true;
        for &fragment in fragments {
            match (fragment, &self.encoder) {
                (Fragment::Token(id), _) => ids.push(id),
                (Fragment::Text(text), Encoder::Bpe(bpe)) => {
                    bpe.encode(&self.vocab, text, &mut ids)?;
                }
                (Fragment::Text(text), Encoder::Spm(spm)) => {
                    spm.encode(&self.vocab, text, after_special, &mut ids)?;
                }
            }
            after_special = matches!(fragment, Fragment::Token(_));
        }
        Ok(ids)
    }

    /// The tokens of a prompt that a template wrote: special tokens are parsed,
    /// and BOS comes first where the model wants it and the template has not
    /// written it.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_prompt(&self, prompt: &str) -> Result<Vec<u32>, TokenizerError> {
        self.encode_prompt_around(prompt, &[])
    }

    /// As [`encode_prompt`](Self::encode_prompt), with stretches of which no control
    /// token is made, in whole or in part: what people wrote. They are ascending and
    /// apart; see [`markup_in`](Self::markup_in).
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_prompt_around(
        &self,
        prompt: &str,
        as_text: &[Range<usize>],
    ) -> Result<Vec<u32>, TokenizerError> {
        let touches_text = |place: &Range<usize>| {
            let next = as_text.partition_point(|text| text.end <= place.start);
            as_text.get(next).is_some_and(|text| text.start < place.end)
        };
        let is_meant = |id, place: Range<usize>| !self.is_markup(id) || !touches_text(&place);
        let fragments = self.all_special.split(prompt, is_meant);
        let mut ids = self.encode_fragments(&fragments)?;
        if let (true, Some(bos)) = (self.add_bos, self.vocab.bos)
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    /// Where `text` spells tokens that a template alone may write, e.g. `<|im_end|>`, in
    /// bytes and ascending. Spellings that overlap are one.
    pub fn markup_in(&self, text: &str) -> Vec<Range<usize>> {
        self.all_special.places(text, |id| self.is_markup(id))
    }

    /// Whether it is a token that plain text never becomes.
    fn is_markup(&self, id: u32) -> bool {
        !self.vocab.kind(id).is_plain()
    }

    /// The bytes that a token adds to the text; they need not be whole
    /// characters. Empty for control tokens and for ids outside the vocabulary.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.vocab.bytes(id)
    }

    /// A token as the vocabulary spells it, e.g. `Ġthe` or `<|im_end|>`. Empty for
    /// a token that is no UTF-8 and for ids outside the vocabulary.
    pub fn token_text(&self, id: u32) -> &str {
        std::str::from_utf8(self.vocab.text(id)).unwrap_or_default()
    }

    /// The number of tokens in the vocabulary.
    pub fn n_vocab(&self) -> usize {
        self.vocab.len()
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.vocab.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.vocab.eos
    }

    /// Whether the model wants BOS in front of every prompt.
    pub fn add_bos(&self) -> bool {
        self.add_bos
    }

    /// Whether a generation ends with this token. A model may have several.
    pub fn is_end_of_generation(&self, id: u32) -> bool {
        self.vocab.is_end_of_generation(id)
    }

    /// Tokens that the model must never say, by the word of its file.
    pub fn suppressed(&self) -> &[u32] {
        &self.suppressed
    }

    /// Whether this is markup that never shows in the text.
    pub fn is_control(&self, id: u32) -> bool {
        self.vocab.kind(id) == TokenKind::Control
    }
}

/// A tokenizer in the making. A large vocabulary takes some tenths of a second on a slow
/// device; between two steps the caller may do as it likes.
#[derive(Default)]
pub struct TokenizerBuilder {
    stage: Stage,
}

#[derive(Default)]
enum Stage {
    #[default]
    Begin,
    Bpe {
        vocab: Vocab,
        bpe: Box<BpeBuilder>,
        bos: Bos,
    },
    Encoder {
        vocab: Vocab,
        encoder: Encoder,
        bos: Bos,
    },
}

/// Whether BOS comes first.
#[derive(Clone, Copy)]
struct Bos {
    /// Where the file does not say.
    default: bool,
    /// Whatever it says.
    is_insisted_on: bool,
}

impl TokenizerBuilder {
    /// Nothing is done yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Does one piece of the work; the last one gives the tokenizer. Every step wants
    /// the same file.
    ///
    /// # Errors
    /// As for [`Tokenizer::from_gguf`]; building then has to begin anew.
    pub fn step(&mut self, gguf: &Gguf) -> Result<Option<Tokenizer>, TokenizerError> {
        self.stage = match std::mem::take(&mut self.stage) {
            Stage::Begin => begin(gguf)?,
            Stage::Bpe {
                vocab,
                mut bpe,
                bos,
            } => match bpe.step(gguf.metadata(), &vocab)? {
                false => Stage::Bpe { vocab, bpe, bos },
                true => Stage::Encoder {
                    encoder: Encoder::Bpe(Box::new(bpe.finish(&vocab)?)),
                    vocab,
                    bos,
                },
            },
            Stage::Encoder {
                vocab,
                encoder,
                bos,
            } => return finish(gguf, vocab, encoder, bos).map(Some),
        };
        Ok(None)
    }
}

/// Reads the vocabulary and finds out which encoder it is for.
fn begin(gguf: &Gguf) -> Result<Stage, TokenizerError> {
    let metadata = gguf.metadata();
    let model = metadata.str("tokenizer.ggml.model").optional()?;
    let pre = metadata.str("tokenizer.ggml.pre").optional()?;
    match model.ok_or(TokenizerError::Missing)? {
        "no_vocab" | "none" => Err(TokenizerError::Missing),
        "llama" => {
            let vocab = Vocab::from_gguf(gguf, Spelling::Escaped)?;
            let spm = Spm::new(metadata, &vocab)?;
            Ok(Stage::Encoder {
                vocab,
                encoder: Encoder::Spm(spm),
                bos: Bos {
                    default: true,
                    is_insisted_on: false,
                },
            })
        }
        model @ ("gpt2" | "gemma4" | "whitespace") => {
            let pre = match model {
                "gemma4" => model,
                // Files from before there were pre-tokenizers do not name one.
                _ => pre.unwrap_or("default"),
            };
            let pre = pre::find(pre)?;
            let spelling = match pre.raw_utf8 {
                true => Spelling::Escaped,
                false => Spelling::ByteAlphabet,
            };
            let vocab = Vocab::from_gguf(gguf, spelling)?;
            Ok(Stage::Bpe {
                bpe: Box::new(BpeBuilder::new(pre, metadata, &vocab)?),
                vocab,
                bos: Bos {
                    default: pre.add_bos,
                    is_insisted_on: pre.insists_on_bos,
                },
            })
        }
        other => Err(TokenizerError::Unsupported {
            model: other.to_owned(),
            kind: kind_of(other),
            supported: SUPPORTED,
        }),
    }
}

const SUPPORTED: &str =
    "gpt2 (byte pairs), gemma4 (byte pairs of text), llama (SentencePiece's byte pairs)";

/// What hides behind the names that other programs know.
fn kind_of(model: &str) -> &'static str {
    match model {
        "bert" => " (WordPiece, for models that don't write text)",
        "t5" => " (SentencePiece's unigrams)",
        "rwkv" => " (a trie of RWKV's)",
        "plamo2" => " (PLaMo-2's own)",
        "hybriddna" => " (DNA)",
        _ => "",
    }
}

fn finish(
    gguf: &Gguf,
    vocab: Vocab,
    encoder: Encoder,
    bos: Bos,
) -> Result<Tokenizer, TokenizerError> {
    let stored_add_bos = gguf.metadata().bool("tokenizer.ggml.add_bos_token");
    let add_bos = stored_add_bos.optional()?.unwrap_or(bos.default) || bos.is_insisted_on;
    let suppressed = gguf
        .metadata()
        .u32_array("tokenizer.ggml.suppress_tokens")
        .optional()?;
    Ok(Tokenizer {
        suppressed: suppressed.unwrap_or_default().into_owned(),
        user_defined: Matcher::new(&vocab, |kind| kind == TokenKind::UserDefined),
        all_special: Matcher::new(&vocab, TokenKind::is_special),
        add_bos: add_bos && vocab.bos.is_some(),
        vocab,
        encoder,
    })
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("n_vocab", &self.n_vocab())
            .field("add_bos", &self.add_bos)
            .finish_non_exhaustive()
    }
}
