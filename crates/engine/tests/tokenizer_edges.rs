//! Tokenizers of the tests' own making: special tokens, byte fallback, and files
//! that do not fit together.
#![allow(clippy::unwrap_used)] // helpers fail the test that calls them

mod common;

use common::GgufWriter;
use nox_engine::gguf::Gguf;
use nox_engine::tokenizer::{
    SpecialTokens, TextDecoder, Tokenizer, TokenizerBuilder, TokenizerError,
};

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const BYTE: i32 = 6;

fn build(writer: GgufWriter) -> Result<Tokenizer, TokenizerError> {
    Tokenizer::from_gguf(&Gguf::read(&writer.finish()).unwrap())
}

fn with_vocabulary(writer: GgufWriter, tokens: &[(&str, i32)]) -> GgufWriter {
    let texts: Vec<_> = tokens.iter().map(|&(text, _)| text).collect();
    let types: Vec<_> = tokens.iter().map(|&(_, kind)| kind).collect();
    writer
        .strings("tokenizer.ggml.tokens", &texts)
        .i32s("tokenizer.ggml.token_type", &types)
}

/// Ids: a b c ab abc Ġ | <s> <|im_end|> <tool>
fn bpe() -> GgufWriter {
    let writer = GgufWriter::new()
        .str("tokenizer.ggml.model", "gpt2")
        .str("tokenizer.ggml.pre", "gpt-2")
        .strings("tokenizer.ggml.merges", &["a b", "ab c", "b zz"])
        .u32("tokenizer.ggml.bos_token_id", 6)
        .u32("tokenizer.ggml.eos_token_id", 6);
    with_vocabulary(
        writer,
        &[
            ("a", NORMAL),
            ("b", NORMAL),
            ("c", NORMAL),
            ("ab", NORMAL),
            ("abc", NORMAL),
            ("Ġ", NORMAL),
            ("<s>", CONTROL),
            ("<|im_end|>", NORMAL),
            ("<tool>", USER_DEFINED),
        ],
    )
}

/// Ids: a Ġ Ċ | <|user|> <|end|> <s> <|endoftext|>, of a model called `name`.
fn chatty(name: &str) -> GgufWriter {
    let writer = GgufWriter::new()
        .str("general.name", name)
        .str("tokenizer.ggml.model", "gpt2")
        .str("tokenizer.ggml.pre", "gpt-2")
        .strings("tokenizer.ggml.merges", &[] as &[&str]);
    with_vocabulary(
        writer,
        &[
            ("a", NORMAL),
            ("Ġ", NORMAL),
            ("Ċ", NORMAL),
            ("<|user|>", USER_DEFINED),
            ("<|end|>", CONTROL),
            ("<s>", CONTROL),
            ("<|endoftext|>", CONTROL),
        ],
    )
}

#[test]
fn tokens_of_phi_3_take_the_white_space_after_them_along() {
    let text = "a <|user|>\n a<|end|> \n<|user|><s> a<|endoftext|>\n";
    let ids = |name: &str| {
        let tokenizer = build(chatty(name)).unwrap();
        tokenizer.encode(text, SpecialTokens::Parse).unwrap()
    };
    assert_eq!(
        ids("Phi-3-mini-4k-instruct"),
        [0, 1, 3, 0, 4, 3, 5, 1, 0, 6, 2]
    );
    assert_eq!(
        ids("Another"),
        [0, 1, 3, 2, 1, 0, 4, 1, 2, 3, 5, 1, 0, 6, 2]
    );
}

/// Ids: a | <mask>
#[test]
fn a_mask_takes_the_white_space_before_it_along() {
    let writer = GgufWriter::new()
        .str("tokenizer.ggml.model", "gpt2")
        .str("tokenizer.ggml.pre", "jina-v2-de")
        .strings("tokenizer.ggml.merges", &[] as &[&str]);
    let writer = with_vocabulary(writer, &[("a", NORMAL), ("Ġ", NORMAL), ("<mask>", CONTROL)]);
    let tokenizer = build(writer).unwrap();
    let ids = tokenizer.encode("a  <mask> a", SpecialTokens::Parse);
    assert_eq!(ids.unwrap(), [0, 2, 1, 0]);
}

#[test]
fn marks_of_code_completion_are_no_text_and_files_ends_end_a_reply() {
    let tokens: &[(&str, i32)] = &[
        ("a", NORMAL),
        ("<|fim_prefix|>", NORMAL),
        ("<|fim_pad|>", NORMAL),
        ("<PAD>", NORMAL),
        ("<|file_sep|>", NORMAL),
    ];
    let writer = || {
        let writer = GgufWriter::new()
            .str("tokenizer.ggml.model", "gpt2")
            .str("tokenizer.ggml.pre", "gpt-2")
            .strings("tokenizer.ggml.merges", &[] as &[&str]);
        with_vocabulary(writer, tokens)
    };
    let ends = |tokenizer: &Tokenizer| -> Vec<u32> {
        let ids = 0..tokens.len() as u32;
        ids.filter(|&id| tokenizer.is_end_of_generation(id))
            .collect()
    };
    let named = build(writer()).unwrap();
    assert_eq!(ends(&named), [2, 3, 4]);
    assert!(named.is_control(1) && named.token_bytes(1).is_empty());
    // What the file says itself counts instead of names.
    let told = build(writer().u32("tokenizer.ggml.fim_pad_token_id", 3)).unwrap();
    assert_eq!(ends(&told), [3, 4]);
}

/// Ids: <bos> a ▁ \n \n\n <0x0D>
#[test]
fn gemma_4_wants_bos_whatever_its_file_says_and_whole_line_breaks() {
    let writer = GgufWriter::new()
        .str("tokenizer.ggml.model", "gemma4")
        .strings("tokenizer.ggml.merges", &[] as &[&str])
        .u32("tokenizer.ggml.bos_token_id", 0)
        .bool("tokenizer.ggml.add_bos_token", false);
    let writer = with_vocabulary(
        writer,
        &[
            ("<bos>", CONTROL),
            ("a", NORMAL),
            ("▁", NORMAL),
            ("\n", NORMAL),
            ("\n\n", NORMAL),
            ("<0x0D>", BYTE),
        ],
    );
    let tokenizer = build(writer).unwrap();
    assert!(tokenizer.add_bos());
    let ids = tokenizer.encode_prompt("a a\n\na\n\r").unwrap();
    assert_eq!(ids, [0, 1, 2, 1, 4, 1, 3, 5]);
}

/// Ids: <unk> <s> </s> <0x0A> <0xC3> <0xA9> ▁ a b ▁a ▁ab <0x-1>
fn spm(scores: &[f32]) -> GgufWriter {
    let writer = GgufWriter::new()
        .str("tokenizer.ggml.model", "llama")
        .f32s("tokenizer.ggml.scores", scores);
    with_vocabulary(
        writer,
        &[
            ("<unk>", UNKNOWN),
            ("<s>", CONTROL),
            ("</s>", CONTROL),
            ("<0x0A>", BYTE),
            ("<0xC3>", BYTE),
            ("<0xA9>", BYTE),
            ("▁", NORMAL),
            ("a", NORMAL),
            ("b", NORMAL),
            ("▁a", NORMAL),
            ("▁ab", NORMAL),
            ("<0x-1>", BYTE),
        ],
    )
}

const SCORES: &[f32] = &[
    0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -9.0, -8.0, -7.0, -1.0, -2.0, 0.0,
];

#[test]
fn merges_apply_in_the_order_of_their_ranks() {
    let tokenizer = build(bpe()).unwrap();
    let encode = |text| tokenizer.encode(text, SpecialTokens::AsText).unwrap();
    assert_eq!(encode("abc"), [4]);
    assert_eq!(encode("bca ab"), [1, 2, 0, 5, 3]);
    assert_eq!(encode(""), [0u32; 0]);
}

#[test]
fn markup_counts_only_when_it_is_parsed() {
    let tokenizer = build(bpe()).unwrap();
    let text = "a<s><tool>b<|im_end|>";
    assert_eq!(
        tokenizer.encode(text, SpecialTokens::Parse).unwrap(),
        [0, 6, 8, 1, 7]
    );
    // The vocabulary has no tokens for the brackets, so they are lost, but no
    // control token comes out of plain text.
    let plain = tokenizer.encode(text, SpecialTokens::AsText).unwrap();
    assert_eq!(plain, [0, 8, 1]);
}

#[test]
fn special_tokens_know_their_part() {
    let tokenizer = build(bpe()).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(6), Some(6)));
    // The file calls `<|im_end|>` a normal token; its name says otherwise.
    assert!(tokenizer.is_end_of_generation(7) && tokenizer.is_control(7));
    assert!(tokenizer.is_end_of_generation(6) && !tokenizer.is_end_of_generation(8));
    assert_eq!(tokenizer.token_text(7), "<|im_end|>");
    assert_eq!(tokenizer.token_bytes(7), b"");
    assert_eq!(tokenizer.token_bytes(8), b"<tool>");
    assert_eq!(tokenizer.token_bytes(5), b" ");
    for beyond in [9, u32::MAX] {
        assert_eq!(
            (tokenizer.token_text(beyond), tokenizer.token_bytes(beyond)),
            ("", &b""[..])
        );
        assert!(!tokenizer.is_control(beyond) && !tokenizer.is_end_of_generation(beyond));
    }
}

#[test]
fn bos_comes_first_once_where_the_model_wants_it() {
    let tokenizer = build(bpe().bool("tokenizer.ggml.add_bos_token", true)).unwrap();
    assert_eq!(tokenizer.encode_prompt("ab").unwrap(), [6, 3]);
    assert_eq!(tokenizer.encode_prompt("<s>ab").unwrap(), [6, 3]);
    assert_eq!(tokenizer.encode_prompt("").unwrap(), [6]);
    let tokenizer = build(bpe()).unwrap();
    assert_eq!(tokenizer.encode_prompt("ab").unwrap(), [3]);
}

#[test]
fn sentencepiece_joins_by_score_and_falls_back_to_bytes() {
    let tokenizer = build(spm(SCORES)).unwrap();
    let encode = |text| tokenizer.encode(text, SpecialTokens::Parse).unwrap();
    assert_eq!(encode("ab"), [10]);
    assert_eq!(encode("a a"), [9, 9]);
    assert_eq!(encode("é\n"), [6, 4, 5, 3]);
    // A space comes in front of text after a special token as well.
    assert_eq!(encode("<s>a</s>b"), [1, 9, 2, 6, 8]);
    // A byte without a token is unknown.
    assert_eq!(encode("ü"), [6, 4, 0]);
    assert!(tokenizer.add_bos());
    assert_eq!(tokenizer.encode_prompt("a").unwrap(), [1, 9]);
}

#[test]
fn sentencepiece_does_not_make_control_tokens_of_plain_text() {
    let tokenizer = build(spm(SCORES)).unwrap();
    let ids = tokenizer.encode("<s>", SpecialTokens::AsText).unwrap();
    assert!(!ids.contains(&1), "{ids:?}");
}

#[test]
fn a_byte_token_with_a_wrong_name_is_only_text() {
    let tokenizer = build(spm(SCORES)).unwrap();
    assert_eq!(tokenizer.token_bytes(11), b"<0x-1>");
    assert_eq!(tokenizer.token_bytes(3), b"\n");
    let mut decoder = TextDecoder::new();
    let text: String = [4, 5, 10].map(|id| decoder.push(&tokenizer, id)).concat();
    assert_eq!(text, "é ab");
}

#[test]
fn scores_that_are_no_numbers_do_no_harm() {
    let mut scores = SCORES.to_vec();
    scores[9] = f32::NAN;
    scores[10] = f32::NEG_INFINITY;
    let tokenizer = build(spm(&scores)).unwrap();
    assert!(
        !tokenizer
            .encode("ab ab a", SpecialTokens::Parse)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn the_space_in_front_can_be_switched_off() {
    let tokenizer = build(spm(SCORES).bool("tokenizer.ggml.add_space_prefix", false)).unwrap();
    assert_eq!(
        tokenizer.encode("ab", SpecialTokens::Parse).unwrap(),
        [7, 8]
    );
}

#[test]
fn tokens_that_are_no_utf8_survive() {
    let writer = GgufWriter::new()
        .str("tokenizer.ggml.model", "gpt2")
        .str("tokenizer.ggml.pre", "gpt-2")
        .strings(
            "tokenizer.ggml.tokens",
            &[b"a".as_slice(), b"\xFF\xFE", b"b"],
        )
        .strings("tokenizer.ggml.merges", &[b"\xFF a".as_slice()]);
    let tokenizer = build(writer).unwrap();
    assert_eq!(tokenizer.token_bytes(1), b"\xFF\xFE");
    assert_eq!(tokenizer.token_text(1), "");
    assert_eq!(
        tokenizer.encode("ab", SpecialTokens::Parse).unwrap(),
        [0, 2]
    );
}

#[test]
fn raw_utf8_vocabularies_fall_back_to_bytes() {
    let writer = GgufWriter::new()
        .str("tokenizer.ggml.model", "gemma4")
        .strings("tokenizer.ggml.merges", &["▁ a"]);
    let writer = with_vocabulary(
        writer,
        &[
            ("▁", NORMAL),
            ("a", NORMAL),
            ("▁a", NORMAL),
            ("<0xC3>", BYTE),
            ("<0xA9>", BYTE),
        ],
    );
    let tokenizer = build(writer).unwrap();
    assert_eq!(
        tokenizer.encode("a aé", SpecialTokens::Parse).unwrap(),
        [1, 2, 3, 4]
    );
    assert_eq!(tokenizer.token_bytes(2), b" a");
}

#[test]
fn files_without_a_usable_tokenizer_are_refused_with_the_reason() {
    let check = |writer: GgufWriter, expected: &str| {
        let error = build(writer).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let model = |name| GgufWriter::new().str("tokenizer.ggml.model", name);
    check(GgufWriter::new(), "has no tokenizer");
    check(model("none"), "has no tokenizer");
    for (unsupported, what) in [
        ("t5", " (SentencePiece's unigrams)"),
        ("bert", " (WordPiece, for models that don't write text)"),
        ("rwkv", " (a trie of RWKV's)"),
        ("plamo2", " (PLaMo-2's own)"),
        ("new", ""),
    ] {
        check(
            model(unsupported),
            &format!("{unsupported:?}{what} is not supported; supported are gpt2"),
        );
    }
    check(
        model("gpt2").str("tokenizer.ggml.pre", "qwen99"),
        "\"qwen99\" is not known; known are",
    );
    check(model("gpt2"), "\"tokenizer.ggml.tokens\" is missing");
    let empty: &[&str] = &[];
    check(
        model("llama").strings("tokenizer.ggml.tokens", empty),
        "vocabulary is empty",
    );
    check(
        model("gpt2").strings("tokenizer.ggml.tokens", &["a"]),
        "\"tokenizer.ggml.merges\" is missing",
    );
    check(
        model("llama").i32s("tokenizer.ggml.tokens", &[1]),
        "expected array of string",
    );
    check(
        GgufWriter::new().u32("tokenizer.ggml.model", 1),
        "expected string",
    );
    let two = || model("llama").strings("tokenizer.ggml.tokens", &["a", "b"]);
    check(
        two().i32s("tokenizer.ggml.token_type", &[1]),
        "has 1 elements for 2 tokens",
    );
    check(
        two().f32s("tokenizer.ggml.scores", &[1.0]),
        "has 1 elements for 2 tokens",
    );
    check(
        two().strings("tokenizer.ggml.scores", &["x", "y"]),
        "expected array of f32",
    );
}

#[test]
fn special_ids_outside_the_vocabulary_count_as_none() {
    let writer = GgufWriter::new()
        .str("tokenizer.ggml.model", "llama")
        .strings("tokenizer.ggml.tokens", &["a"])
        .u32("tokenizer.ggml.bos_token_id", 7)
        .u32("tokenizer.ggml.eos_token_id", u32::MAX)
        .bool("tokenizer.ggml.add_bos_token", true);
    let tokenizer = build(writer).unwrap();
    assert_eq!(
        (tokenizer.bos(), tokenizer.eos(), tokenizer.add_bos()),
        (None, None, false)
    );
}

#[test]
fn a_byte_that_cannot_be_written_is_an_error() {
    let writer = GgufWriter::new()
        .str("tokenizer.ggml.model", "llama")
        .bool("tokenizer.ggml.add_space_prefix", false)
        .strings("tokenizer.ggml.tokens", &["a"]);
    let tokenizer = build(writer).unwrap();
    assert_eq!(
        tokenizer.encode("aa", SpecialTokens::Parse).unwrap(),
        [0, 0]
    );
    let error = tokenizer.encode("ab", SpecialTokens::Parse).unwrap_err();
    assert!(error.to_string().contains("byte 0x62"), "{error}");
}

/// At each byte of a text each length that a special token has may have to be tried.
#[test]
fn special_tokens_are_looked_for_up_to_a_length() {
    let long = |n_bytes: usize| format!("<{}", "a".repeat(n_bytes - 1));
    let writer = GgufWriter::new()
        .str("tokenizer.ggml.model", "gpt2")
        .str("tokenizer.ggml.pre", "gpt-2")
        .strings("tokenizer.ggml.merges", &[] as &[&str]);
    let writer = with_vocabulary(
        writer,
        &[
            ("a", NORMAL),
            ("<", NORMAL),
            (&long(256), CONTROL),
            (&long(257), CONTROL),
        ],
    );
    let tokenizer = build(writer).unwrap();
    let encode = |text: &str| tokenizer.encode(text, SpecialTokens::Parse).unwrap();
    assert_eq!(encode(&long(256)), [2]);
    assert_eq!(encode(&long(257)), [2, 0]);
}

#[test]
fn long_texts_take_time_in_proportion() {
    for tokenizer in [build(bpe()).unwrap(), build(spm(SCORES)).unwrap()] {
        for text in [
            "ab".repeat(200_000),
            " ".repeat(400_000),
            "é".repeat(100_000),
            "<s>".repeat(100_000),
        ] {
            tokenizer.encode(&text, SpecialTokens::Parse).unwrap();
        }
    }
}

/// `a`, `b`, `aa`, `ab`, … with a merge for each: as many tokens as large models have.
fn large_bpe(n_vocab: usize, pre: &str) -> GgufWriter {
    let mut tokens = vec!["a".to_owned(), "b".to_owned()];
    let mut merges = Vec::new();
    let mut at = 0;
    while tokens.len() < n_vocab {
        for last in ["a", "b"] {
            merges.push(format!("{} {last}", tokens[at]));
            tokens.push(format!("{}{last}", tokens[at]));
        }
        at += 1;
    }
    GgufWriter::new()
        .str("tokenizer.ggml.model", "gpt2")
        .str("tokenizer.ggml.pre", pre)
        .strings("tokenizer.ggml.tokens", &tokens)
        .strings("tokenizer.ggml.merges", &merges)
}

#[test]
fn a_large_vocabulary_is_read_in_many_steps() {
    let gguf = Gguf::read(&large_bpe(150_000, "qwen2").finish()).unwrap();
    let mut builder = TokenizerBuilder::new();
    let mut n_steps = 1;
    let tokenizer = loop {
        if let Some(tokenizer) = builder.step(&gguf).unwrap() {
            break tokenizer;
        }
        n_steps += 1;
    };
    assert!(n_steps >= 10, "{n_steps} steps");
    let ids = tokenizer.encode("ab", SpecialTokens::AsText).unwrap();
    assert_eq!(ids.len(), 1);
    assert_eq!(tokenizer.token_text(ids[0]), "ab");
}

/// Whatever repeats itself, as one word or as many: time grows with the length alone.
/// A method that is quadratic takes twenty seconds and more.
#[test]
fn long_texts_take_no_more_time_than_their_length_deserves() {
    const N_BYTES: usize = 50_000;
    const LIMIT: std::time::Duration = std::time::Duration::from_secs(5);
    let units = [
        "a", "ab", " ", "1", ".", "\n", " \n", "a ", "aA", "'", "é", "a b1. \n",
    ];
    let check = |name: &str, tokenizer: &Tokenizer| {
        for unit in units {
            let text = unit.repeat(N_BYTES / unit.len());
            let elapsed = common::least_time(LIMIT, || {
                let started = std::time::Instant::now();
                tokenizer.encode(&text, SpecialTokens::AsText).unwrap();
                started.elapsed()
            });
            assert!(elapsed < LIMIT, "{name} {unit:?}: {elapsed:?}");
        }
    };
    check("spm", &build(spm(SCORES)).unwrap());
    for pre in [
        "default",
        "gpt-2",
        "llama-bpe",
        "qwen2",
        "qwen35",
        "smollm",
        "falcon",
        "deepseek-llm",
        "deepseek-coder",
        "deepseek-v3",
        "gpt-4o",
        "tiny_aya",
        "tekken",
        "bloom",
        "viking",
        "chameleon",
        "jais-2",
        "bailingmoe",
        "seed-coder",
        "exaone-moe",
        "minicpm5",
        "laguna",
    ] {
        check(pre, &build(large_bpe(64, pre)).unwrap());
    }
}
