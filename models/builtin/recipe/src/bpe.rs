//! Byte-level BPE: trainer, encoder and decoder, split as llama.cpp's `smollm` pre-tokenizer
//! does. Knows the three special tokens and the ChatML frame, not what is said inside it.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

/// Begins nothing and ends nothing here; kept because readers of GGUF expect such a token.
pub const END_OF_TEXT: u32 = 0;
/// Opens a message.
pub const IM_START: u32 = 1;
/// Closes a message, and so ends a reply.
pub const IM_END: u32 = 2;
/// Texts of the special tokens, by id.
pub const SPECIALS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
const FIRST_BYTE: u32 = SPECIALS.len() as u32;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
        }
    }
}

/// Vocabulary: specials, the 256 bytes, then one token per merge.
#[derive(Clone, Debug)]
pub struct Bpe {
    /// Bytes of every token; empty for specials.
    pub tokens: Vec<Vec<u8>>,
    /// Pairs of token ids in the order in which they are merged.
    pub merges: Vec<(u32, u32)>,
    ranks: HashMap<(u32, u32), u32>,
}

impl Bpe {
    /// The vocabulary that these merges span.
    fn from_merges(merges: Vec<(u32, u32)>) -> Self {
        let mut tokens = vec![Vec::new(); SPECIALS.len()];
        tokens.extend((0..=255u8).map(|b| vec![b]));
        let mut ranks = HashMap::new();
        for (rank, &(a, b)) in merges.iter().enumerate() {
            let joined = [&tokens[a as usize][..], &tokens[b as usize][..]].concat();
            tokens.push(joined);
            ranks.insert((a, b), rank as u32);
        }
        Self {
            tokens,
            merges,
            ranks,
        }
    }

    /// Learns merges until there are `n_vocab` tokens. Ties go to the pair whose bytes sort
    /// first, so that the result depends on nothing but the counts.
    pub fn train<'a>(texts: impl Iterator<Item = &'a str>, n_vocab: usize) -> Self {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for text in texts {
            split(text, |piece| *counts.entry(piece).or_default() += 1);
        }
        let mut words: Vec<(Vec<u32>, u64)> = counts
            .into_iter()
            .map(|(w, n)| (w.bytes().map(|b| b as u32 + FIRST_BYTE).collect(), n))
            .collect();
        let mut bpe = Self::from_merges(Vec::new());
        let mut merges = Vec::new();
        while bpe.tokens.len() < n_vocab {
            let mut pairs: HashMap<(u32, u32), u64> = HashMap::new();
            for (word, n) in &words {
                for w in word.windows(2) {
                    *pairs.entry((w[0], w[1])).or_default() += n;
                }
            }
            let key = |&(a, b): &(u32, u32)| (&bpe.tokens[a as usize], &bpe.tokens[b as usize]);
            let best = pairs
                .iter()
                .filter(|&(_, &n)| n > 1)
                .max_by(|x, y| x.1.cmp(y.1).then_with(|| key(y.0).cmp(&key(x.0))));
            let Some((&pair, _)) = best else { break };
            let id = bpe.tokens.len() as u32;
            let joined = [
                &bpe.tokens[pair.0 as usize][..],
                &bpe.tokens[pair.1 as usize][..],
            ]
            .concat();
            bpe.tokens.push(joined);
            merges.push(pair);
            words.iter_mut().for_each(|(word, _)| merge(word, pair, id));
        }
        Self::from_merges(merges)
    }

    /// Number of tokens, specials included.
    pub fn n_vocab(&self) -> usize {
        self.tokens.len()
    }

    /// Token ids of plain text; specials inside it are not recognised.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut out = Vec::with_capacity(text.len() / 3 + 1);
        split(text, |piece| {
            let mut word: Vec<u32> = piece.bytes().map(|b| b as u32 + FIRST_BYTE).collect();
            loop {
                let best = word
                    .windows(2)
                    .filter_map(|w| self.ranks.get(&(w[0], w[1])).map(|&r| (r, (w[0], w[1]))))
                    .min();
                let Some((rank, pair)) = best else { break };
                merge(&mut word, pair, FIRST_BYTE + 256 + rank);
            }
            out.extend_from_slice(&word);
        });
        out
    }

    /// A whole conversation in ChatML, with a flag per token: true where the token is to be
    /// learnt, which is what the assistant says and the `<|im_end|>` that closes it.
    pub fn conversation(&self, messages: &[Message]) -> (Vec<u32>, Vec<bool>) {
        let (mut ids, mut learnt) = (Vec::new(), Vec::new());
        for message in messages {
            let head = self.encode(&format!("{}\n", message.role));
            let body = self.encode(&message.content);
            let assistant = message.role == "assistant";
            ids.push(IM_START);
            ids.extend_from_slice(&head);
            learnt.resize(ids.len(), false);
            ids.extend_from_slice(&body);
            ids.push(IM_END);
            learnt.resize(ids.len(), assistant);
            ids.extend(self.encode("\n"));
            learnt.resize(ids.len(), false);
        }
        (ids, learnt)
    }

    /// The conversation so far and the opening of the assistant's turn.
    pub fn prompt(&self, messages: &[Message]) -> Vec<u32> {
        let (mut ids, _) = self.conversation(messages);
        ids.push(IM_START);
        ids.extend(self.encode("assistant\n"));
        ids
    }

    /// Text of token `id` as GGUF's `gpt2` tokenizers store it.
    pub fn gguf_token(&self, id: u32) -> String {
        match SPECIALS.get(id as usize) {
            Some(s) => s.to_string(),
            None => self.tokens[id as usize]
                .iter()
                .map(|&b| byte_char(b))
                .collect(),
        }
    }
}

fn merge(word: &mut Vec<u32>, pair: (u32, u32), id: u32) {
    let mut i = 0;
    while i + 1 < word.len() {
        if (word[i], word[i + 1]) == pair {
            word[i] = id;
            word.remove(i + 1);
        }
        i += 1;
    }
}

/// GPT-2's printable stand-in for a byte.
pub fn byte_char(b: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(b) {
        return b as char;
    }
    let before = (0..b).filter(|&x| !printable(x)).count() as u32;
    char::from_u32(256 + before).expect("below the surrogates")
}

/// Cuts text as llama.cpp's `smollm` does: first every digit by itself, then GPT-2's pattern
/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)` on the rest, where
/// what the pattern leaves over stands by itself.
pub fn split<'a>(text: &'a str, mut f: impl FnMut(&'a str)) {
    let mut rest_start = 0;
    for (at, c) in text.char_indices().filter(|(_, c)| c.is_numeric()) {
        split_gpt2(&text[rest_start..at], &mut f);
        rest_start = at + c.len_utf8();
        f(&text[at..rest_start]);
    }
    split_gpt2(&text[rest_start..], &mut f);
}

fn split_gpt2<'a>(mut text: &'a str, f: &mut impl FnMut(&'a str)) {
    while !text.is_empty() {
        let (piece, rest) = text.split_at(next_piece(text));
        f(piece);
        text = rest;
    }
}

/// Bytes of the piece at the head of `text`, which holds no digits.
fn next_piece(text: &str) -> usize {
    for suffix in ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"] {
        if text.starts_with(suffix) {
            return suffix.len();
        }
    }
    let body = text.strip_prefix(' ').unwrap_or(text);
    let lead = text.len() - body.len();
    let run = |class: fn(char) -> bool| {
        body.char_indices()
            .find(|&(_, c)| !class(c))
            .map_or(body.len(), |(i, _)| i)
    };
    let letters = run(char::is_alphabetic);
    if letters > 0 {
        return lead + letters;
    }
    let others = run(|c| !c.is_whitespace() && !c.is_alphabetic());
    if others > 0 {
        return lead + others;
    }
    // White space only: all of it at the end, all but the last before something else.
    let spaces: Vec<usize> = text
        .char_indices()
        .take_while(|(_, c)| c.is_whitespace())
        .map(|(i, c)| i + c.len_utf8())
        .collect();
    match spaces.as_slice() {
        [.., end] if *end == text.len() => *end,
        [.., before_last, _] => *before_last,
        [only] => *only,
        [] => unreachable!("text begins with a letter, a mark or white space"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn pieces(text: &str) -> Vec<&str> {
        let mut out = Vec::new();
        split(text, |p| out.push(p));
        out
    }

    #[test]
    fn splits_like_the_smollm_pattern() {
        let check = |text: &str, want: &[&str]| assert_eq!(pieces(text), want, "{text:?}");
        check("what's top_k?", &["what", "'s", " top", "_", "k", "?"]);
        check("12 + 30", &["1", "2", " +", " ", "3", "0"]);
        check("/reset  now", &["/", "reset", " ", " now"]);
        check(
            "user\nhi\n\nyou  ",
            &["user", "\n", "hi", "\n", "\n", "you", "  "],
        );
        check(" use /title", &[" use", " /", "title"]);
    }

    #[test]
    fn encoding_round_trips_and_merges() {
        let texts = ["hello there hello", "hello again there", "naïve → 12"];
        let bpe = Bpe::train(texts.into_iter(), 280);
        for text in texts.iter().chain(&["unseen wörds\n 7"]) {
            let ids = bpe.encode(text);
            let bytes: Vec<u8> = ids
                .iter()
                .flat_map(|&i| bpe.tokens[i as usize].clone())
                .collect();
            assert_eq!(bytes, text.as_bytes());
        }
        assert!(bpe.encode("hello").len() < 5);
        assert!(bpe.tokens.len() <= 280);
    }

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        let all: BTreeSet<char> = (0..=255).map(byte_char).collect();
        assert_eq!(all.len(), 256);
        assert_eq!(byte_char(b' '), 'Ġ');
    }

    #[test]
    fn only_the_assistants_words_are_learnt() {
        let bpe = Bpe::from_merges(Vec::new());
        let (ids, learnt) =
            bpe.conversation(&[Message::new("user", "a"), Message::new("assistant", "bc")]);
        let taught: Vec<u32> = ids
            .iter()
            .zip(&learnt)
            .filter(|(_, l)| **l)
            .map(|(&i, _)| i)
            .collect();
        assert_eq!(taught, [b'b' as u32 + 3, b'c' as u32 + 3, IM_END]);
    }
}
