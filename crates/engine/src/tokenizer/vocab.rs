//! The vocabulary: what each token is called, what bytes it stands for, and
//! which tokens have a special part.
//!
//! # Source
//! `llama-vocab.cpp` of the llama.cpp project for defaults and for the names that
//! end a generation.

use super::TokenizerError;
use super::alphabet::byte_of_char;
use crate::gguf::{Gguf, Metadata, OptionalKey as _, StrArray};

/// How a vocabulary spells bytes in the texts of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// GPT-2's alphabet: a printable character for every byte.
    ByteAlphabet,
    /// UTF-8 with `▁` for a space; other bytes have tokens named `<0xNN>`.
    Escaped,
}

/// The values of `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
    Undefined,
}

impl TokenKind {
    fn from_id(id: i32) -> Self {
        match id {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Undefined,
        }
    }

    /// Whether plain text may be encoded with tokens of this kind. Control tokens
    /// come from parsed markup alone, so that no message can forge one.
    pub(super) fn is_plain(self) -> bool {
        !matches!(self, Self::Control | Self::Unknown | Self::Byte)
    }

    /// Whether text that spells a token of this kind can be parsed as the token.
    pub(super) fn is_special(self) -> bool {
        matches!(self, Self::Control | Self::Unknown | Self::UserDefined)
    }
}

pub(super) struct Vocab {
    texts: StrArray,
    bytes: StrArray,
    kinds: Vec<TokenKind>,
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) unknown: Option<u32>,
    /// Sorted.
    end_of_generation: Vec<u32>,
    /// Tokens that take the white space before them along. Sorted.
    pub(super) strips_left: Vec<u32>,
    /// Tokens that take the white space after them along. Sorted.
    pub(super) strips_right: Vec<u32>,
}

/// Tokens that end a generation wherever they occur in a vocabulary, as models'
/// files often name only one of those that they emit.
const END_OF_GENERATION: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// Ends of a file in code completion: a key of the metadata that may name the token,
/// and the names it has where the key is missing.
const END_OF_FILE: &[(&str, &[&str])] = &[
    (
        "fim_pad",
        &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"],
    ),
    (
        "fim_rep",
        &[
            "<|fim_repo|>",
            "<|repo_name|>",
            "<fim-repo>",
            "<REPO>",
            "<reponame>",
        ],
    ),
    ("fim_sep", &["<|file_sep|>"]),
];

/// The other marks of code completion, which are no text whatever the file says.
const CODE_COMPLETION: &[(&str, &[&str])] = &[
    (
        "fim_pre",
        &[
            "<|fim_prefix|>",
            "<fim-prefix>",
            "<fim_prefix>",
            "<｜fim▁begin｜>",
            "<PRE>",
            "▁<PRE>",
            "<|code_prefix|>",
            "<|prefix|>",
        ],
    ),
    (
        "fim_suf",
        &[
            "<|fim_suffix|>",
            "<fim-suffix>",
            "<fim_suffix>",
            "<｜fim▁hole｜>",
            "<SUF>",
            "▁<SUF>",
            "<|code_suffix|>",
            "<|suffix|>",
        ],
    ),
    (
        "fim_mid",
        &[
            "<|fim_middle|>",
            "<fim-middle>",
            "<fim_middle>",
            "<｜fim▁end｜>",
            "<MID>",
            "▁<MID>",
            "<|code_middle|>",
            "<|middle|>",
        ],
    ),
];

/// A name from [`END_OF_GENERATION`] that ends nothing in vocabularies which also
/// hold certain others.
struct NoEndBeside {
    name: &'static str,
    others: &'static [&'static str],
    kind: TokenKind,
}

const NO_END_BESIDE: &[NoEndBeside] = &[
    // harmony: `<|end|>` closes a message, not the turn.
    NoEndBeside {
        name: "<|end|>",
        others: &["<|return|>", "<|call|>"],
        kind: TokenKind::UserDefined,
    },
    NoEndBeside {
        name: "<|end|>",
        others: &["<|calls|>", "<|flush|>"],
        kind: TokenKind::UserDefined,
    },
    // gemma4: `</s>` is a tag of HTML.
    NoEndBeside {
        name: "</s>",
        others: &["<|tool_response>"],
        kind: TokenKind::Normal,
    },
];

/// Markup of the harmony format that has to show in the text, whatever its type.
const ALWAYS_VISIBLE: &[&str] = &["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

impl Vocab {
    pub(super) fn from_gguf(gguf: &Gguf, spelling: Spelling) -> Result<Self, TokenizerError> {
        let metadata = gguf.metadata();
        let texts = metadata.str_array("tokenizer.ggml.tokens")?.clone();
        if texts.is_empty() {
            return Err(TokenizerError::EmptyVocabulary);
        }
        let mut vocab = Self {
            kinds: read_kinds(metadata, texts.len())?,
            bytes: StrArray::default(),
            bos: None,
            eos: None,
            unknown: None,
            end_of_generation: Vec::new(),
            strips_left: Vec::new(),
            strips_right: Vec::new(),
            texts,
        };
        vocab.read_special_ids(metadata, spelling)?;
        vocab.mark_special_names(metadata)?;
        vocab.mark_strips(metadata);
        vocab.bytes = vocab.decoded(spelling);
        Ok(vocab)
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// Every id with its text and kind.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &[u8], TokenKind)> + '_ {
        let described = self.texts.iter().zip(&self.kinds);
        (0u32..)
            .zip(described)
            .map(|(id, (text, &kind))| (id, text, kind))
    }

    pub(super) fn text(&self, id: u32) -> &[u8] {
        self.texts.get(id as usize).unwrap_or_default()
    }

    pub(super) fn bytes(&self, id: u32) -> &[u8] {
        self.bytes.get(id as usize).unwrap_or_default()
    }

    pub(super) fn kind(&self, id: u32) -> TokenKind {
        let kind = self.kinds.get(id as usize);
        kind.copied().unwrap_or(TokenKind::Undefined)
    }

    pub(super) fn is_end_of_generation(&self, id: u32) -> bool {
        self.end_of_generation.binary_search(&id).is_ok()
    }

    fn read_special_ids(
        &mut self,
        metadata: &Metadata,
        spelling: Spelling,
    ) -> Result<(), TokenizerError> {
        // SentencePiece's own numbering, for files that do not say.
        let default = |id: u32| (spelling == Spelling::Escaped).then_some(id);
        self.bos = self.special_id(metadata, "bos", default(1))?;
        self.eos = self.special_id(metadata, "eos", default(2))?;
        let marked = self.kinds.first() == Some(&TokenKind::Unknown);
        self.unknown = self.special_id(metadata, "unknown", default(0).filter(|_| marked))?;
        Ok(())
    }

    /// An id outside the vocabulary counts as none.
    fn special_id(
        &self,
        metadata: &Metadata,
        name: &str,
        default: Option<u32>,
    ) -> Result<Option<u32>, TokenizerError> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        let in_vocabulary = |id: &u32| (*id as usize) < self.len();
        let stored = metadata.u32(&key).optional()?.filter(in_vocabulary);
        Ok(stored.or(default.filter(in_vocabulary)))
    }

    /// Finds the tokens that end a generation and corrects the kinds of tokens
    /// that files often mark wrongly.
    fn mark_special_names(&mut self, metadata: &Metadata) -> Result<(), TokenizerError> {
        let marks = self.named(looks_like_mark);
        let mut ends = self.end_of_file(metadata, &marks)?;
        for &id in &marks {
            let text = self.text(id);
            if END_OF_GENERATION.iter().any(|name| name.as_bytes() == text) {
                self.kinds[id as usize] = TokenKind::Control;
                ends.push(id);
            } else if ALWAYS_VISIBLE.iter().any(|name| name.as_bytes() == text) {
                self.kinds[id as usize] = TokenKind::UserDefined;
            }
        }
        for rule in NO_END_BESIDE {
            self.apply(rule, &mut ends);
        }
        ends.extend(self.eos);
        for name in ["eot", "eom"] {
            ends.extend(self.special_id(metadata, name, None)?);
        }
        ends.sort_unstable();
        ends.dedup();
        self.end_of_generation = ends;
        Ok(())
    }

    /// Finds the marks of code completion, and returns those that end a generation.
    fn end_of_file(
        &mut self,
        metadata: &Metadata,
        marks: &[u32],
    ) -> Result<Vec<u32>, TokenizerError> {
        for (key, names) in CODE_COMPLETION {
            self.marked(metadata, marks, key, names)?;
        }
        let mut ends = Vec::new();
        for (key, names) in END_OF_FILE {
            ends.extend(self.marked(metadata, marks, key, names)?);
        }
        Ok(ends)
    }

    /// The token that the metadata name, else those among `marks` with one of the names,
    /// which become control tokens.
    fn marked(
        &mut self,
        metadata: &Metadata,
        marks: &[u32],
        key: &str,
        names: &[&str],
    ) -> Result<Vec<u32>, TokenizerError> {
        if let Some(id) = self.special_id(metadata, key, None)? {
            return Ok(vec![id]);
        }
        let is_named = |id: &u32| names.iter().any(|name| name.as_bytes() == self.text(*id));
        let ids: Vec<u32> = marks.iter().copied().filter(is_named).collect();
        for &id in &ids {
            self.kinds[id as usize] = TokenKind::Control;
        }
        Ok(ids)
    }

    /// GGUF has no key for what a token does to the white space around it, so it is
    /// known by the model's name.
    fn mark_strips(&mut self, metadata: &Metadata) {
        let text = |key: &str| metadata.str(key).unwrap_or_default().to_lowercase();
        let name = text("general.name");
        let contains = |text: &str, parts: &[&str]| parts.iter().any(|part| text.contains(part));
        let masks = contains(
            &text("tokenizer.ggml.pre"),
            &["jina-v2-de", "jina-v2-es", "jina-v2-code"],
        ) || contains(
            &text("general.architecture"),
            &["nomic-bert-moe", "jina-bert-v3"],
        );
        if masks {
            self.strips_left = self.named(|text| text == b"<mask>");
        } else if contains(&name, &["phi-3", "phi3"]) {
            let keeps = |text: &[u8]| matches!(text, b"<unk>" | b"<s>" | b"<|endoftext|>");
            let strips = self
                .iter()
                .filter(|(_, text, kind)| (kind.is_special() || *text == b"</s>") && !keeps(text));
            self.strips_right = strips.map(|(id, _, _)| id).collect();
        } else if contains(&name, &["modern-bert"]) {
            self.strips_left = self.named(|text| text == b"[MASK]");
        }
    }

    fn named(&self, is_meant: impl Fn(&[u8]) -> bool) -> Vec<u32> {
        let meant = self.iter().filter(|(_, text, _)| is_meant(text));
        meant.map(|(id, _, _)| id).collect()
    }

    fn apply(&mut self, rule: &NoEndBeside, ends: &mut Vec<u32>) {
        let find = |name: &str| {
            let mut ids = ends.iter().copied();
            ids.find(|&id| self.text(id) == name.as_bytes())
        };
        let applies = rule.others.iter().all(|other| find(other).is_some());
        if let (true, Some(id)) = (applies, find(rule.name)) {
            ends.retain(|&end| end != id);
            self.kinds[id as usize] = rule.kind;
        }
    }

    /// For each token the bytes that it adds to the text.
    fn decoded(&self, spelling: Spelling) -> StrArray {
        let mut decoded = StrArray::with_room_of(&self.texts);
        for (_, text, kind) in self.iter() {
            decoded.push_with(|bytes| decode(text, kind, spelling, bytes));
        }
        decoded
    }
}

/// Appends the bytes that a token adds to the text: never more than spell it.
fn decode(text: &[u8], kind: TokenKind, spelling: Spelling, bytes: &mut Vec<u8>) {
    match kind {
        TokenKind::Control | TokenKind::Unknown | TokenKind::Unused | TokenKind::Undefined => {}
        TokenKind::UserDefined => bytes.extend_from_slice(text),
        TokenKind::Byte => match parse_byte_token(text) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(text),
        },
        TokenKind::Normal => match (spelling, std::str::from_utf8(text)) {
            (Spelling::ByteAlphabet, Ok(text)) => decode_alphabet(text, bytes),
            (Spelling::Escaped, Ok(text)) => decode_escaped(text, bytes),
            // A token that is no UTF-8 can only be meant as the bytes it is.
            (_, Err(_)) => bytes.extend_from_slice(text),
        },
    }
}

/// A character outside the alphabet stands for itself.
fn decode_alphabet(mut text: &str, bytes: &mut Vec<u8>) {
    loop {
        // Printable ASCII, which is most of it, stands for itself.
        let n_same = text.bytes().take_while(u8::is_ascii_graphic).count();
        let (same, rest) = text.split_at(n_same);
        bytes.extend_from_slice(same.as_bytes());
        let mut chars = rest.chars();
        match chars.next() {
            Some(c) => match byte_of_char(c) {
                Some(byte) => bytes.push(byte),
                None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            },
            None => break,
        }
        text = chars.as_str();
    }
}

fn decode_escaped(text: &str, bytes: &mut Vec<u8>) {
    for (i, part) in text.split('▁').enumerate() {
        if i > 0 {
            bytes.push(b' ');
        }
        bytes.extend_from_slice(part.as_bytes());
    }
}

/// Whether a text ends as all the names do that are searched for: most tokens don't, so
/// that not each is compared with each name.
fn looks_like_mark(text: &[u8]) -> bool {
    matches!(text.last(), Some(b'>' | b']' | b'['))
}

/// The byte that a token named `<0xNN>` stands for; `None` for any other text,
/// `<0x-1>` and its like included.
pub(super) fn parse_byte_token(text: &[u8]) -> Option<u8> {
    let digits: [u8; 2] = text
        .strip_prefix(b"<0x")?
        .strip_suffix(b">")?
        .try_into()
        .ok()?;
    let value = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(value(digits[0])? * 16 + value(digits[1])?).ok()
}

fn read_kinds(metadata: &Metadata, n_vocab: usize) -> Result<Vec<TokenKind>, TokenizerError> {
    const KEY: &str = "tokenizer.ggml.token_type";
    let Some(ids) = metadata.i32_array(KEY).optional()? else {
        return Ok(vec![TokenKind::Normal; n_vocab]);
    };
    let ids = ids.get(..n_vocab).ok_or(TokenizerError::LengthMismatch {
        key: KEY,
        n_vocab,
        found: ids.len(),
    })?;
    Ok(ids.iter().map(|&id| TokenKind::from_id(id)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_passed_over() {
        let of_files = END_OF_FILE.iter().chain(CODE_COMPLETION);
        let names = END_OF_GENERATION.iter().chain(ALWAYS_VISIBLE);
        for name in names.chain(of_files.flat_map(|(_, names)| *names)) {
            assert!(looks_like_mark(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn byte_tokens_are_parsed_strictly() {
        assert_eq!(parse_byte_token(b"<0x0A>"), Some(10));
        assert_eq!(parse_byte_token(b"<0xff>"), Some(255));
        let others: &[&[u8]] = &[
            b"<0x-1>",
            b"<0x+1>",
            b"<0x1>",
            b"<0x100>",
            b"<0xG0>",
            b"<0x0A",
            b"0x0A>",
            b"<0x>",
            b"",
            b"<0x\xFF\xFE>",
        ];
        for text in others {
            assert_eq!(parse_byte_token(text), None, "{text:?}");
        }
    }
}
