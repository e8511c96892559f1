//! A byte-pair vocabulary in which a prompt's length is known without encoding it.
//!
//! Every word of three letters with a space before it is one token, and so is a
//! word of two letters at the start of a text. A prompt of n such words has n
//! tokens in every engine, and the ids follow from the letters alone:
//! `bench/src/prompt.mjs` relies on the order below.

/// GGUF's `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenType {
    Normal = 1,
    Control = 3,
}

/// Ids in order: `<|endoftext|>`, the 256 bytes, ` a` to ` z`, `aa` to `zz`, ` aaa`
/// to ` zzz`, and four-letter pieces from `aaaa` on until the vocabulary is full.
pub(crate) struct Vocabulary {
    pub(crate) tokens: Vec<String>,
    pub(crate) types: Vec<TokenType>,
    /// The rank of a merge is its place.
    pub(crate) merges: Vec<String>,
}

/// The token that begins and ends texts.
pub(crate) const END_OF_TEXT: u32 = 0;
/// The id of byte 0.
const FIRST_BYTE: usize = 1;
/// GPT-2's alphabet writes a space so.
const SPACE: char = 'Ġ';

impl Vocabulary {
    /// `n_vocab` tokens; fewer than 959 leave out pieces that a prompt needs.
    pub(crate) fn new(n_vocab: usize) -> Self {
        let mut vocabulary = Self {
            tokens: vec!["<|endoftext|>".to_owned()],
            types: vec![TokenType::Control],
            merges: Vec::new(),
        };
        vocabulary
            .tokens
            .extend((0..=u8::MAX).map(|byte| alphabet(byte).to_string()));
        for letter in letters() {
            vocabulary.merge(n_vocab, &SPACE.to_string(), &letter);
        }
        for [first, second] in pairs(letters().collect()) {
            vocabulary.merge(n_vocab, &first, &second);
        }
        let two: Vec<_> = pairs(letters().collect())
            .map(|pair| pair.concat())
            .collect();
        for letter in letters() {
            for pair in &two {
                vocabulary.merge(n_vocab, &format!("{SPACE}{letter}"), pair);
            }
        }
        for [first, second] in pairs(two) {
            vocabulary.merge(n_vocab, &first, &second);
        }
        vocabulary.tokens.truncate(n_vocab);
        vocabulary
            .types
            .resize(vocabulary.tokens.len(), TokenType::Normal);
        vocabulary
    }

    /// Whether a model that emits this token would write something odd: the end of
    /// the text, a control character, or a byte that is no character by itself.
    pub(crate) fn is_silent(id: usize) -> bool {
        let printable = FIRST_BYTE + usize::from(b' ')..=FIRST_BYTE + usize::from(b'~');
        id <= FIRST_BYTE + usize::from(u8::MAX) && !printable.contains(&id)
    }

    fn merge(&mut self, n_vocab: usize, first: &str, second: &str) {
        if self.tokens.len() < n_vocab {
            self.tokens.push(format!("{first}{second}"));
            self.merges.push(format!("{first} {second}"));
        }
    }
}

fn letters() -> impl Iterator<Item = String> {
    ('a'..='z').map(String::from)
}

/// Every ordered pair, the first element varying slowest.
fn pairs(parts: Vec<String>) -> impl Iterator<Item = [String; 2]> {
    let seconds = parts.clone();
    parts.into_iter().flat_map(move |first| {
        let seconds = seconds.clone();
        seconds
            .into_iter()
            .map(move |second| [first.clone(), second])
    })
}

/// The printable character by which GPT-2's vocabularies write a byte.
///
/// # Source
/// `bytes_to_unicode` in GPT-2's `encoder.py`.
fn alphabet(byte: u8) -> char {
    let keeps_itself = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if keeps_itself(byte) {
        return char::from(byte);
    }
    let moved_before = (0..byte).filter(|&other| !keeps_itself(other)).count();
    char::from_u32(0x100 + moved_before as u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_in_gpt2s_alphabet() {
        assert_eq!(alphabet(b' '), SPACE);
        assert_eq!(alphabet(b'\n'), 'Ċ');
        assert_eq!(alphabet(b'a'), 'a');
        assert_eq!(alphabet(0xAD), 'Ń');
    }

    #[test]
    fn the_vocabulary_has_the_size_asked_for_and_no_token_twice() {
        let mut tokens = Vocabulary::new(49_152).tokens;
        assert_eq!(tokens.len(), 49_152);
        tokens.sort_unstable();
        tokens.dedup();
        assert_eq!(tokens.len(), 49_152);
    }

    #[test]
    fn only_tokens_that_read_as_text_may_be_emitted() {
        let vocabulary = Vocabulary::new(1_500);
        let loud = |id: &usize| !Vocabulary::is_silent(*id);
        for id in (0..1_500).filter(loud) {
            let token = &vocabulary.tokens[id];
            let printable = |c: char| c == SPACE || c.is_ascii_graphic();
            assert!(token.chars().all(printable), "{id}: {token}");
        }
        assert!(Vocabulary::is_silent(END_OF_TEXT as usize));
    }
}
