//! Inputs to begin with: sound ones, those that have broken other programs, and what the
//! fuzzer has found here. All of them are also run as plain tests.
//!
//! # Source
//! The advisories named below, for the kind of defect; the files are made here.

use nox_engine::gguf::GgmlType;

use crate::common::GgufWriter;
use crate::model_file::{Entry, ModelFile};
use crate::targets::tokenizer::END;

/// An input with a name that says what it is.
#[derive(Debug, Clone)]
pub struct Seed {
    /// Also the name of its file.
    pub name: &'static str,
    /// The input itself.
    pub bytes: Vec<u8>,
}

fn seed(name: &'static str, bytes: impl Into<Vec<u8>>) -> Seed {
    Seed {
        name,
        bytes: bytes.into(),
    }
}

/// Files for the `gguf` target.
pub fn gguf() -> Vec<Seed> {
    let mut seeds = vec![
        seed("empty", []),
        seed("magic-alone", *b"GGUF"),
        seed("sound-llama", ModelFile::tiny("llama").write()),
        seed("sound-qwen2", ModelFile::tiny("qwen2").write()),
        seed("sound-qwen3", ModelFile::tiny("qwen3").write()),
        seed("sound-gemma3", ModelFile::tiny("gemma3").write()),
        seed("every-value-type", every_value_type()),
    ];
    seeds.extend(incidents());
    seeds
}

/// Files that have broken other readers.
pub fn incidents() -> Vec<Seed> {
    let f32 = GgmlType::F32.id();
    let tensor = |dims: &[u64], type_id, offset| {
        let mut file = GgufWriter::new()
            .tensor_entry("t", dims, type_id, offset)
            .finish();
        file.resize(file.len() + 256, 0);
        file
    };
    vec![
        // CVE-2026-7482: data read from beyond the file leak what lies in memory there.
        seed("tensor-beyond-the-file", tensor(&[1 << 20], f32, 0)),
        seed("tensor-begins-beyond-the-file", tensor(&[4], f32, 1 << 40)),
        seed("tensor-offset-wraps", tensor(&[4], f32, u64::MAX - 31)),
        // CVE-2025-66959: a string's length decides how much memory is taken.
        seed(
            "string-longer-than-the-file",
            metadata(8, &u64::MAX.to_le_bytes()),
        ),
        seed(
            "string-of-petabytes",
            metadata(8, &(1u64 << 50).to_le_bytes()),
        ),
        seed("key-longer-than-the-file", key_of_length(1 << 60)),
        // CVE-2025-66960: the same with an array's.
        seed("array-longer-than-the-file", array(4, u64::MAX, &[])),
        seed(
            "array-of-strings-longer-than-the-file",
            array(8, 1 << 60, &[]),
        ),
        seed("array-whose-size-wraps", array(12, (1 << 61) + 1, &[0; 64])),
        // CVE-2024-23605: a count multiplied by an element's size wraps to little.
        seed("tensor-count-wraps", counts(u64::MAX / 32 + 2, 0)),
        seed("metadata-count-wraps", counts(0, u64::MAX / 16 + 2)),
        seed("counts-at-their-largest", counts(u64::MAX, u64::MAX)),
        // Dimensions whose product wraps to a tensor that seems to fit.
        seed(
            "dimensions-wrap-to-zero",
            tensor(&[1 << 32, 1 << 32], f32, 0),
        ),
        seed(
            "dimensions-wrap-to-little",
            tensor(&[(1 << 62) + 1], f32, 0),
        ),
        seed("dimension-of-zero", tensor(&[0, u64::MAX], f32, 0)),
        seed("no-dimensions", tensor(&[], f32, 0)),
        seed("five-dimensions", tensor(&[1; 5], f32, 0)),
        seed("block-cut-in-two", tensor(&[48, 2], GgmlType::Q4_0.id(), 0)),
        seed("unknown-tensor-type", tensor(&[4], u32::MAX, 0)),
        // A value of one type read as if it were of another.
        seed("array-of-unknown-type", array(13, 1, &[0; 8])),
        seed("arrays-inside-each-other", nested_arrays(1_000)),
        seed(
            "number-where-tokens-belong",
            with("tokenizer.ggml.tokens", Entry::u32(7)),
        ),
        seed(
            "numbers-where-tokens-belong",
            with("tokenizer.ggml.tokens", Entry::array(4, 2, &[0; 8])),
        ),
        seed(
            "texts-where-scores-belong",
            with("tokenizer.ggml.scores", Entry::array(8, 1, &[0; 8])),
        ),
        seed(
            "fewer-types-than-tokens",
            with("tokenizer.ggml.token_type", Entry::array(5, 1, &[0; 4])),
        ),
        seed(
            "text-where-a-count-belongs",
            with("llama.block_count", Entry::text("2")),
        ),
        seed(
            "no-heads",
            with("llama.attention.head_count", Entry::u32(0)),
        ),
        seed(
            "no-key-heads",
            with("llama.attention.head_count_kv", Entry::u32(0)),
        ),
        seed(
            "alignment-of-zero",
            with("general.alignment", Entry::u32(0)),
        ),
    ]
}

/// What the `model` target changes in a sound file.
pub fn model() -> Vec<Seed> {
    vec![
        seed("unchanged", []),
        seed("another-family", [1]),
        seed("no-heads", [0, 0, 0, 4, 0, 0]),
        seed("many-layers", [0, 0, 0, 2, 1, 255, 3, 0, 0]),
        seed("without-rms-epsilon", [0, 3, 0, 8]),
        seed("embedding-of-another-width", [0, 4, 0, 0, 63]),
        seed("quantised-norm", [0, 5, 1, 2]),
        seed("biases", [0, 6, 0, 0, 2, 6, 0, 1, 1, 6, 0, 2, 1]),
        seed("weights-are-not-numbers", [0, 7, 0xFF, 0xFF, 0xFF, 0x7F]),
        seed("weights-are-infinite", [0, 7, 0x00, 0x00, 0x80, 0x7F]),
    ]
}

/// Vocabularies for the `tokenizer` target.
pub fn tokenizer() -> Vec<Seed> {
    let parts = |parts: &[&[u8]]| -> Vec<u8> {
        let ended = |part: &&[u8]| [part, &[END][..]].concat();
        parts.iter().flat_map(ended).collect()
    };
    let bpe = |pre: &[u8], text: &[u8]| {
        let tokens: [&[u8]; 7] = [
            b"\x01\x80a",
            b"\x01\x80b",
            b"\x01\x80c",
            b"\x01\x80ab",
            b"\x01\x80abc",
            "\x01\x7FĠ".as_bytes(),
            b"\x03\x7F<|im_end|>",
        ];
        let mut input = parts(&[b"gpt2", pre]);
        input.extend(parts(&tokens));
        input.extend(parts(&[b"", b"a b", b"ab c", b"b zz", b""]));
        input.extend(text);
        input
    };
    let spm = |byte_token: &[u8], text: &[u8]| {
        let tokens: [&[u8]; 7] = [
            b"\x02\x7F<unk>",
            b"\x03\x7F<s>",
            b"\x03\x7F</s>",
            "\x01\x10▁".as_bytes(),
            "\x01\x60▁a".as_bytes(),
            b"\x01\x20a",
            byte_token,
        ];
        let mut input = parts(&[b"llama", b""]);
        input.extend(parts(&tokens));
        input.extend(parts(&[b"", b""]));
        input.extend(text);
        input
    };
    vec![
        seed("empty", []),
        seed("bpe", bpe(b"gpt-2", b"abc ab a\xC3\xA9<|im_end|>cab")),
        seed("bpe-llama", bpe(b"llama-bpe", b"It's 12345 abc\n\n  ab")),
        seed("bpe-qwen", bpe(b"qwen2", b"It's 12345 abc\n\n  ab")),
        seed("bpe-unknown-kind", bpe(b"no-such-thing", b"abc")),
        seed("spm", spm(b"\x06\x7F<0x0A>", b"a a\na")),
        // A byte token's digits, read as a signed number, index what they should not.
        seed(
            "spm-negative-byte-token",
            spm(b"\x06\x7F<0x-1>", b"a\xC3\xA9a"),
        ),
        seed(
            "spm-long-byte-token",
            spm(b"\x06\x7F<0x100>", b"a\xC3\xA9a"),
        ),
        seed("spm-token-is-no-text", spm(b"\x01\x7F\xC3", b"a\xC3\xA9a")),
    ]
}

/// Templates, as they are used and as they should not be.
pub fn template() -> Vec<Seed> {
    const CHATML: &[u8] = b"{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}\0Hi";
    vec![
        seed("chatml", CHATML),
        // Padding is there three times before it is written once.
        seed("padded", *b"{{ '{:99999999}'.format('x') }}"),
        seed("padded-with-a-wide-character", "{{ '{:\u{1f999}>9999999}'.format('x') }}"),
        seed("padded-by-a-filter", *b"{{ '%99999999s' | format('x') }}"),
        // Keys that a dependency goes through byte by byte.
        seed("key-beyond-ascii", "{{ '{0[\u{e9}'.format('x') }}"),
        seed("key-beyond-ascii-by-a-filter", "{{ '%(\u{e9}' | format(a=1) }}"),
        seed("replaced", *b"{{ ('x' * 9999).replace('x', 'y' * 9999) }}"),
        seed("replaced-by-a-filter", *b"{{ ('x' * 9999) | replace('x', 'y' * 9999) }}"),
        seed(
            "llama3",
            *b"{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}",
        ),
        seed(
            "alternating",
            *b"{% if messages[0].role == 'system' %}{% set s = messages[0].content %}{% set ms = messages[1:] %}{% else %}{% set ms = messages %}{% endif %}{% for m in ms %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{{ m.content }}{% endfor %}",
        ),
        seed(
            "namespaces",
            *b"{% set ns = namespace(n=0) %}{% for m in messages[::-1] %}{% set ns.n = ns.n + loop.index %}{% endfor %}{{ ns.n }}{{ {'a': [1, none]} | tojson(indent=2) }}",
        ),
        seed(
            "dates-and-macros",
            *b"{% macro f(x) %}{{ x.strip().split('-')[0] }}{% endmacro %}{{ f(' a-b ') }}{{ strftime_now('%d %b %Y') }}",
        ),
        // Found here: the end of the tag begins inside its beginning.
        seed("tag-without-an-inside", *b"{%}{{ messages[0].content }}"),
        seed("loop-for-ever", *b"{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"),
        seed("text-without-end", *b"{% for i in range(99999) %}{{ 'x' * 99999 }}{% endfor %}"),
        seed("text-doubled", *b"{% set ns = namespace(t='xxxx') %}{% for i in range(99) %}{% set ns.t = ns.t + ns.t %}{% endfor %}{{ ns.t }}"),
        seed("width-of-a-billion", *b"{{ '{:999999999}'.format('x') }}"),
        seed("list-in-itself", *b"{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}"),
        seed("macro-calls-itself", *b"{% macro f(x) %}{{ f(x + 1) }}{% endmacro %}{{ f(0) }}"),
        seed("brackets", "{{ ".to_owned() + &"[".repeat(2000) + &"]".repeat(2000) + " }}"),
    ]
}

fn metadata(type_id: u32, value: &[u8]) -> Vec<u8> {
    GgufWriter::new().raw("k", type_id, value).finish()
}

fn array(element_type: u32, n: u64, elements: &[u8]) -> Vec<u8> {
    let mut value = element_type.to_le_bytes().to_vec();
    value.extend(n.to_le_bytes());
    value.extend(elements);
    metadata(9, &value)
}

fn nested_arrays(depth: usize) -> Vec<u8> {
    let level = [&9u32.to_le_bytes()[..], &1u64.to_le_bytes()].concat();
    metadata(9, &level.repeat(depth))
}

fn counts(n_tensors: u64, n_metadata: u64) -> Vec<u8> {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend(n_tensors.to_le_bytes());
    file.extend(n_metadata.to_le_bytes());
    file.resize(4096, 0);
    file
}

fn key_of_length(n_bytes: u64) -> Vec<u8> {
    let mut file = counts(0, 1);
    file[24..32].copy_from_slice(&n_bytes.to_le_bytes());
    file
}

/// A sound model's file but for one value.
fn with(key: &str, entry: Entry) -> Vec<u8> {
    let mut file = ModelFile::tiny("llama");
    file.set(key.to_owned(), entry);
    file.write()
}

fn every_value_type() -> Vec<u8> {
    let mut writer = GgufWriter::new();
    for (type_id, n_bytes) in [
        (0, 1),
        (1, 1),
        (2, 2),
        (3, 2),
        (4, 4),
        (5, 4),
        (6, 4),
        (7, 1),
        (10, 8),
        (11, 8),
        (12, 8),
    ] {
        let bytes = vec![1; n_bytes];
        writer = writer
            .raw(&format!("value.{type_id}"), type_id, &bytes)
            .array(&format!("array.{type_id}"), type_id, 2, bytes.repeat(2));
    }
    writer
        .str("value.text", "text")
        .strings("array.texts", &["a", "", "bc"])
        .array(
            "array.arrays",
            9,
            1,
            [&4u32.to_le_bytes()[..], &[0; 8]].concat(),
        )
        .finish()
}

/// Schemas for the `schema` target.
pub fn schema() -> Vec<Seed> {
    vec![
        seed("anything", *b"{}"),
        seed("object", *br#"{"type":"object","properties":{"a":{"type":"string","maxLength":3},"b":{"type":["integer","null"]}},"required":["a"],"additionalProperties":false}"#),
        seed("array", *br#"{"type":"array","prefixItems":[{"const":1}],"items":{"enum":["x",2,null]},"minItems":1,"maxItems":3}"#),
        seed("number", *br#"{"type":"number","minimum":-1.5,"exclusiveMaximum":1e3,"multipleOf":0.25}"#),
        seed("choice", *br#"{"anyOf":[{"type":"boolean"},{"type":"string","format":"date"}]}"#),
        seed("pattern", *br#"{"type":"string","pattern":"^[A-Z]{2}-[0-9]{1,4}$"}"#),
        seed("recursive", *br##"{"$defs":{"t":{"type":"object","properties":{"next":{"$ref":"#/$defs/t"}}}},"$ref":"#/$defs/t"}"##),
        // Data that look like references.
        seed("const-with-ref", *br#"{"const":{"$ref":""}}"#),
        seed("enum-with-ref", "{\"enum\":[{\"$ref\":\"\u{e9}\"}]}"),
        // What is said to have kept or crashed other grammars.
        seed("repeated-repetition", *br#"{"type":"string","pattern":"^((a{1,99}){1,99}){1,99}$"}"#),
        seed("circle", *br##"{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}"##),
    ]
}

/// Changes for the `snapshot` target: which model, how much is cut, then places and bytes.
pub fn snapshot() -> Vec<Seed> {
    let change = |model: u8, changes: &[(u16, u8)]| -> Vec<u8> {
        let mut bytes = vec![model, 0, 0];
        for (at, byte) in changes {
            bytes.extend(at.to_le_bytes());
            bytes.push(*byte);
        }
        bytes
    };
    vec![
        seed("as-it-was", change(0, &[])),
        seed("as-it-was-f32", change(1, &[])),
        seed("cut", [0, 200, 1]),
        seed(
            "more-tokens-than-a-block",
            change(0, &[(52, 0xff), (53, 0xff)]),
        ),
        seed("positions-of-another-size", change(0, &[(51, 0xff)])),
        seed("another-token", change(0, &[(56 + 4 * 20, 9)])),
        // Infinities behind the positions that are computed as well.
        seed(
            "infinite-half",
            change(0, &[(6000, 0x7c), (6001, 0x7c), (6002, 0x7c)]),
        ),
        seed(
            "infinite-float",
            change(1, &[(9002, 0x80), (9003, 0x7f), (9006, 0x80), (9007, 0x7f)]),
        ),
    ]
}
