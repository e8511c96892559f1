//! Byte-pair encoding against the `tokenizers` crate's, which shares no code with it beyond
//! the pre-tokenizers' regular expressions: with vocabularies and texts made by chance, and
//! with real vocabularies.
#![allow(clippy::unwrap_used)] // helpers fail the test that calls them

mod common;

use common::GgufWriter;
use nox_engine::gguf::Gguf;
use nox_engine::sampler::Pcg32;
use nox_engine::tokenizer::{SpecialTokens, Tokenizer};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    Model as _, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _,
};

const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// A tokenizer of theirs, put together from the same parts.
struct Theirs {
    model: BPE,
    /// GPT-2's words and alphabet; else the text is one word, with `▁` for a space.
    is_gpt2: bool,
}

impl Theirs {
    /// Of tokens with one text the first counts; merges of what is no token do not.
    fn new(tokens: &[(String, i32)], merges: &[String], pre: &str) -> Self {
        let is_raw = pre == "sarvam-moe";
        let mut vocab = Vocab::default();
        for (id, (text, kind)) in (0..).zip(tokens) {
            if *kind != CONTROL && (*kind != BYTE || is_raw) {
                vocab.entry(text.clone()).or_insert(id);
            }
        }
        let merges = merges.iter().filter_map(|merge| {
            let at = merge.char_indices().skip(1).find(|&(_, c)| c == ' ')?.0;
            let (left, right) = (&merge[..at], &merge[at + 1..]);
            let parts = [left, right, &format!("{left}{right}")];
            let are_tokens = parts.iter().all(|part| vocab.contains_key(*part));
            are_tokens.then(|| (left.to_owned(), right.to_owned()))
        });
        let merges = merges.collect();
        let builder = BPE::builder().vocab_and_merges(vocab, merges);
        let builder = builder.ignore_merges(pre == "llama-bpe").cache_capacity(0);
        Self {
            model: builder.byte_fallback(is_raw).build().unwrap(),
            is_gpt2: !is_raw,
        }
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        let ids = |word: &str| {
            let tokens = self.model.tokenize(word).unwrap();
            tokens.into_iter().map(|token| token.id).collect::<Vec<_>>()
        };
        if !self.is_gpt2 {
            return ids(&text.replace(' ', "▁"));
        }
        let mut words = PreTokenizedString::from(text);
        let byte_level = ByteLevel::new(false, false, true);
        byte_level.pre_tokenize(&mut words).unwrap();
        let words = words.get_splits(OffsetReferential::Original, OffsetType::Byte);
        words.iter().flat_map(|(word, ..)| ids(word)).collect()
    }
}

fn gguf(tokens: &[(String, i32)], merges: &[String], pre: &str) -> Gguf {
    let texts: Vec<_> = tokens.iter().map(|(text, _)| text).collect();
    let kinds: Vec<_> = tokens.iter().map(|&(_, kind)| kind).collect();
    let file = GgufWriter::new()
        .str("tokenizer.ggml.model", "gpt2")
        .str("tokenizer.ggml.pre", pre)
        .strings("tokenizer.ggml.tokens", &texts)
        .i32s("tokenizer.ggml.token_type", &kinds)
        .strings("tokenizer.ggml.merges", merges)
        .finish();
    Gguf::read(&file).unwrap()
}

fn below(rng: &mut Pcg32, n: usize) -> usize {
    rng.next_u32() as usize % n
}

fn pick<'a, T>(rng: &mut Pcg32, from: &'a [T]) -> &'a T {
    &from[below(rng, from.len())]
}

/// Up to `n` characters that the vocabularies know, or do not know.
fn text(rng: &mut Pcg32, n: usize) -> String {
    const CHARS: [&str; 12] = [
        "a", "a", "a", "b", "b", "c", "d", " ", "é", "1", "😀", "\u{7f}",
    ];
    (0..below(rng, n + 1)).map(|_| *pick(rng, &CHARS)).collect()
}

/// A vocabulary with few characters and many merges of them, so that ranks matter: some
/// tokens stand twice, some cannot be made, some merges are doubled or lead nowhere.
fn vocabulary(rng: &mut Pcg32, pre: &str) -> (Vec<(String, i32)>, Vec<String>) {
    let chars: &[&str] = match pre {
        "sarvam-moe" => &["a", "b", "c", "▁", "é"],
        // The alphabet's space, and the two bytes of `é`.
        _ => &["a", "b", "c", "Ġ", "Ã", "©"],
    };
    let mut tokens: Vec<_> = chars.iter().map(|&c| (c.to_owned(), NORMAL)).collect();
    if pre == "sarvam-moe" {
        // The bytes of `😀` and `1`, of which one may be missing.
        let bytes = [0xF0u8, 0x9F, 0x98, 0x80, 0x31];
        let names = bytes.iter().map(|byte| format!("<0x{byte:02X}>"));
        tokens.extend(names.skip(below(rng, 2)).map(|name| (name, BYTE)));
    }
    let mut merges = Vec::new();
    for _ in 0..below(rng, 60) {
        let left = pick(rng, &tokens).0.clone();
        let right = pick(rng, &tokens).0.clone();
        let kind = match below(rng, 12) {
            0 => CONTROL,
            1 => UNUSED,
            _ => NORMAL,
        };
        if below(rng, 10) > 0 {
            tokens.push((format!("{left}{right}"), kind));
        }
        if below(rng, 10) > 0 {
            let at = merges.len() - below(rng, merges.len().min(4) + 1);
            merges.insert(at, format!("{left} {right}"));
        }
    }
    merges.extend(["a nothing".to_owned(), "b".to_owned(), String::new()]);
    for _ in 0..below(rng, 4) {
        let again = pick(rng, &merges).clone();
        merges.insert(below(rng, merges.len()), again);
    }
    (tokens, merges)
}

#[test]
fn chance_vocabularies_encode_as_those_of_the_tokenizers_crate() {
    let mut n_merged = 0;
    for seed in 0..500 {
        let mut rng = Pcg32::new(seed);
        let pre = *pick(&mut rng, &["gpt-2", "llama-bpe", "sarvam-moe"]);
        let (tokens, merges) = vocabulary(&mut rng, pre);
        let ours = Tokenizer::from_gguf(&gguf(&tokens, &merges, pre)).unwrap();
        let theirs = Theirs::new(&tokens, &merges, pre);
        for n in [3, 8, 30, 200] {
            let mut text = text(&mut rng, n);
            if pre == "llama-bpe" {
                // Its words differ from GPT-2's, but not where there is one alone.
                text.retain(|c| matches!(c, 'a'..='d' | 'é'));
            }
            let found = ours.encode(&text, SpecialTokens::AsText).unwrap();
            let expected = theirs.encode(&text);
            assert_eq!(found, expected, "seed {seed}, {pre}, {text:?}");
            n_merged += text.len().saturating_sub(found.len());
        }
    }
    assert!(n_merged > 3_000, "only {n_merged} merges");
}

/// Words of chance letters are merged in ways that no ordinary text asks for.
#[test]
fn a_real_vocabulary_encodes_as_that_of_the_tokenizers_crate() {
    let Some(folder) = common::fixtures("vocab") else {
        return;
    };
    let file = std::fs::read(folder.join("ggml-vocab-gpt-2.gguf")).unwrap();
    let gguf = Gguf::read(&file).unwrap();
    let strings = |key: &str| -> Vec<String> {
        let strings = gguf.metadata().str_array(key).unwrap().iter();
        strings
            .map(|s| String::from_utf8(s.to_vec()).unwrap())
            .collect()
    };
    let kinds = gguf
        .metadata()
        .i32_array("tokenizer.ggml.token_type")
        .unwrap();
    let tokens = strings("tokenizer.ggml.tokens")
        .into_iter()
        .zip(kinds.iter().copied());
    let tokens: Vec<_> = tokens.collect();
    let theirs = Theirs::new(&tokens, &strings("tokenizer.ggml.merges"), "gpt-2");
    let ours = Tokenizer::from_gguf(&gguf).unwrap();
    let mut rng = Pcg32::new(1);
    let letters: Vec<char> = "eeeettaaooiinnsshhrrddlluu  ..,'0123456789EТäßñ漢字😀\n\t-_/"
        .chars()
        .collect();
    for n in (1..200).chain([3000]) {
        let text: String = (0..n).map(|_| *pick(&mut rng, &letters)).collect();
        let found = ours.encode(&text, SpecialTokens::AsText).unwrap();
        assert_eq!(found, theirs.encode(&text), "{text:?}");
    }
}
