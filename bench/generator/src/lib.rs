//! Writes the models that the benchmark measures with: shapes that people run, random
//! weights, a made-up vocabulary. Speed depends on the shape and the quantisation
//! alone, so nothing is lost by the weights meaning nothing, and nothing has to be
//! downloaded. A file is written row by row: none is ever held in memory.
//!
//! The file is made so that no engine can stop early or choke: the rows of the end
//! token and of bytes that are no text are zero, and so are their logits, while the
//! best of many thousand random logits is far above.
//!
//! Given the same seed the file is the same, byte for byte.

mod gguf;
mod mix;
mod rng;
mod shape;
mod vocab;
mod weights;

use std::io::{self, Write};

pub use crate::mix::Quant;
pub use crate::shape::{Family, Shape};

use crate::gguf::{Tensor, Value};
use crate::mix::BlockType;
use crate::rng::SplitMix64;
use crate::shape::Named;
use crate::vocab::{END_OF_TEXT, Vocabulary};

/// The users' words are the whole prompt, so that every engine gets the same tokens.
const CHAT_TEMPLATE: &str = "{% for message in messages %}{% if message.role == 'user' %}\
     {{ message.content }}{% endif %}{% endfor %}";

/// Writes the whole file.
///
/// # Errors
/// `out` fails.
///
/// # Panics
/// A width of `shape` is no multiple of 32, the smallest block's length.
pub fn write_model(out: &mut impl Write, shape: &Shape, quant: Quant, seed: u64) -> io::Result<()> {
    let tensors: Vec<_> = shape
        .tensors()
        .into_iter()
        .map(|named| directory_entry(named, shape, quant))
        .collect();
    gguf::write_header(out, &metadata(shape, quant), &tensors)?;
    for (stream, tensor) in (0..).zip(&tensors) {
        write_tensor(out, tensor, &mut SplitMix64::new(seed, stream))?;
    }
    Ok(())
}

fn directory_entry(named: Named, shape: &Shape, quant: Quant) -> Tensor {
    let layer = named.layer_idx.map(|idx| (idx, shape.n_layer));
    let kind = match named.shape[..] {
        [_, n_inputs] => quant.of_matrix(&named.name, layer, n_inputs),
        // Vectors are norms and biases.
        _ => BlockType::F32,
    };
    let n_weights: usize = named.shape.iter().product();
    assert!(
        n_weights.is_multiple_of(kind.block_len()),
        "{}: {:?} is no whole number of blocks",
        named.name,
        named.shape
    );
    Tensor {
        name: named.name,
        shape: named.shape,
        kind,
        size_bytes: n_weights / kind.block_len() * kind.block_bytes(),
    }
}

fn write_tensor(out: &mut impl Write, tensor: &Tensor, rng: &mut SplitMix64) -> io::Result<()> {
    let (n_rows, n_inputs) = match tensor.shape[..] {
        [n_rows, n_inputs] => (n_rows, n_inputs),
        _ => (1, tensor.shape[0]),
    };
    let is_vocabulary = tensor.name == "token_embd.weight";
    let mut row = Vec::new();
    for row_idx in 0..n_rows {
        row.clear();
        let is_zero =
            tensor.name.ends_with(".bias") || (is_vocabulary && Vocabulary::is_silent(row_idx));
        match is_zero {
            true => weights::push_zero_row(&mut row, tensor.kind, n_inputs),
            false => weights::push_row(&mut row, tensor.kind, n_inputs, rng),
        }
        out.write_all(&row)?;
    }
    gguf::write_padding(out, tensor.size_bytes)
}

fn metadata(shape: &Shape, quant: Quant) -> Vec<(String, Value)> {
    let family = shape.family.name();
    let number = |number: usize| Value::U32(number as u32);
    let text = |text: &str| Value::Str(text.to_owned());
    let vocabulary = Vocabulary::new(shape.n_vocab);
    let types = vocabulary.types.iter().map(|&kind| kind as i32).collect();
    let sizes = [
        ("vocab_size", number(shape.n_vocab)),
        ("context_length", number(shape.n_ctx_train)),
        ("embedding_length", number(shape.n_embd)),
        ("block_count", number(shape.n_layer)),
        ("feed_forward_length", number(shape.n_ff)),
        ("attention.head_count", number(shape.n_head)),
        ("attention.head_count_kv", number(shape.n_head_kv)),
        ("attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("rope.dimension_count", number(shape.head_dim())),
        ("rope.freq_base", Value::F32(shape.rope_freq_base)),
    ];
    let general = [
        ("general.architecture", text(family)),
        (
            "general.name",
            Value::Str(format!("Benchmark {}", quant.name())),
        ),
        ("general.file_type", Value::U32(quant.file_type())),
        ("general.quantization_version", Value::U32(2)),
    ];
    let words = [
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("gpt-2")),
        ("tokenizer.ggml.tokens", Value::Strs(vocabulary.tokens)),
        ("tokenizer.ggml.token_type", Value::I32s(types)),
        ("tokenizer.ggml.merges", Value::Strs(vocabulary.merges)),
        ("tokenizer.ggml.bos_token_id", Value::U32(END_OF_TEXT)),
        ("tokenizer.ggml.eos_token_id", Value::U32(END_OF_TEXT)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
        ("tokenizer.chat_template", text(CHAT_TEMPLATE)),
    ];
    let own = |(key, value): (&str, Value)| (key.to_owned(), value);
    let of_family = |(key, value): (&str, Value)| (format!("{family}.{key}"), value);
    general
        .into_iter()
        .map(own)
        .chain(sizes.into_iter().map(of_family))
        .chain(words.into_iter().map(own))
        .collect()
}
