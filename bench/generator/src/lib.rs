//! Writes the model that the benchmark measures with: the shape of a 135M Llama,
//! random weights, a made-up vocabulary. Speed depends on the shape and the
//! quantisation alone, so nothing is lost by the weights meaning nothing, and
//! nothing has to be downloaded.
//!
//! The file is made so that no engine can stop early or choke: the rows of the end
//! token and of bytes that are no text are zero, and so are their logits, while the
//! best of many thousand random logits is far above.
//!
//! Given the same seed the file is the same, byte for byte.

mod gguf;
mod rng;
mod vocab;
mod weights;

use std::io::{self, Write};

use crate::gguf::{Tensor, Value};
use crate::rng::SplitMix64;
use crate::vocab::{END_OF_TEXT, Vocabulary};

/// The user's words are the whole prompt, so that every engine gets the same tokens.
const CHAT_TEMPLATE: &str = "{% for message in messages %}{% if message.role == 'user' %}\
     {{ message.content }}{% endif %}{% endfor %}";

/// How the matrices are quantised. Norms are F32, as in any GGUF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum Quant {
    /// Blocks of 32 four-bit weights with one f16 scale.
    Q4_0,
    /// Blocks of 32 eight-bit weights with one f16 scale.
    Q8_0,
}

impl Quant {
    /// The name as ggml writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q8_0 => "Q8_0",
        }
    }

    fn block_bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q8_0 => 34,
        }
    }

    /// ggml's number of the type.
    fn type_id(self) -> u32 {
        match self {
            Self::Q4_0 => 2,
            Self::Q8_0 => 8,
        }
    }

    /// llama.cpp's number for files that are mostly of this type.
    fn file_type(self) -> u32 {
        match self {
            Self::Q4_0 => 2,
            Self::Q8_0 => 7,
        }
    }
}

/// The sizes of a Llama with tied embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Tokens in the vocabulary.
    pub n_vocab: usize,
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Transformer blocks.
    pub n_layer: usize,
    /// Width inside the feed-forward part.
    pub n_ff: usize,
    /// Query heads.
    pub n_head: usize,
    /// Key and value heads.
    pub n_head_kv: usize,
    /// Tokens of context that the file says it was made for.
    pub n_ctx_train: usize,
}

impl Shape {
    /// 134.5 million weights.
    ///
    /// # Source
    /// The `config.json` of SmolLM-135M.
    pub const LLAMA_135M: Self = Self {
        n_vocab: 49_152,
        n_embd: 576,
        n_layer: 30,
        n_ff: 1_536,
        n_head: 9,
        n_head_kv: 3,
        n_ctx_train: 2_048,
    };

    fn head_dim(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// Names and shapes (outermost first) of all tensors, in the file's order.
    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (n_embd, n_ff) = (self.n_embd, self.n_ff);
        let n_embd_kv = self.head_dim() * self.n_head_kv;
        let mut tensors = vec![("token_embd.weight".to_owned(), vec![self.n_vocab, n_embd])];
        for i in 0..self.n_layer {
            let block = [
                ("attn_norm", vec![n_embd]),
                ("attn_q", vec![n_embd, n_embd]),
                ("attn_k", vec![n_embd_kv, n_embd]),
                ("attn_v", vec![n_embd_kv, n_embd]),
                ("attn_output", vec![n_embd, n_embd]),
                ("ffn_norm", vec![n_embd]),
                ("ffn_gate", vec![n_ff, n_embd]),
                ("ffn_up", vec![n_ff, n_embd]),
                ("ffn_down", vec![n_embd, n_ff]),
            ];
            let named = block.map(|(name, shape)| (format!("blk.{i}.{name}.weight"), shape));
            tensors.extend(named);
        }
        tensors.push(("output_norm.weight".to_owned(), vec![n_embd]));
        tensors
    }
}

/// Writes the whole file.
///
/// # Errors
/// `out` fails.
///
/// # Panics
/// A width of `shape` is no multiple of 32, the block length.
pub fn write_model(out: &mut impl Write, shape: &Shape, quant: Quant, seed: u64) -> io::Result<()> {
    let widths = [shape.n_embd, shape.n_ff];
    assert!(
        widths
            .iter()
            .all(|width| width.is_multiple_of(weights::BLOCK_LEN)),
        "{widths:?} are not all multiples of {}",
        weights::BLOCK_LEN
    );
    let tensors: Vec<_> = shape
        .tensors()
        .into_iter()
        .map(|(name, shape)| directory_entry(name, shape, quant))
        .collect();
    gguf::write_header(out, &metadata(shape, quant), &tensors)?;
    for (stream, tensor) in (0..).zip(&tensors) {
        let mut rng = SplitMix64::new(seed, stream);
        gguf::write_data(out, &tensor_data(tensor, quant, &mut rng))?;
    }
    Ok(())
}

fn directory_entry(name: String, shape: Vec<usize>, quant: Quant) -> Tensor {
    let n_weights: usize = shape.iter().product();
    // Vectors are norms.
    let (type_id, size_bytes) = if shape.len() == 1 {
        (0, n_weights * size_of::<f32>())
    } else {
        let blocks = n_weights / weights::BLOCK_LEN;
        (quant.type_id(), blocks * quant.block_bytes())
    };
    Tensor {
        name,
        shape,
        type_id,
        size_bytes,
    }
}

fn tensor_data(tensor: &Tensor, quant: Quant, rng: &mut SplitMix64) -> Vec<u8> {
    let mut data = Vec::with_capacity(tensor.size_bytes);
    let [n_rows, n_inputs] = tensor.shape[..] else {
        let ones = tensor.shape[0];
        return 1.0f32.to_le_bytes().repeat(ones);
    };
    for row in 0..n_rows {
        if tensor.name == "token_embd.weight" && Vocabulary::is_silent(row) {
            weights::push_zero_row(&mut data, quant, n_inputs);
        } else {
            weights::push_row(&mut data, quant, n_inputs, rng);
        }
    }
    data
}

fn metadata(shape: &Shape, quant: Quant) -> Vec<(&'static str, Value)> {
    let number = |number: usize| Value::U32(number as u32);
    let text = |text: &str| Value::Str(text.to_owned());
    let vocabulary = Vocabulary::new(shape.n_vocab);
    let types = vocabulary.types.iter().map(|&kind| kind as i32).collect();
    vec![
        ("general.architecture", text("llama")),
        (
            "general.name",
            Value::Str(format!("Benchmark {}", quant.name())),
        ),
        ("general.file_type", Value::U32(quant.file_type())),
        ("general.quantization_version", Value::U32(2)),
        ("llama.vocab_size", number(shape.n_vocab)),
        ("llama.context_length", number(shape.n_ctx_train)),
        ("llama.embedding_length", number(shape.n_embd)),
        ("llama.block_count", number(shape.n_layer)),
        ("llama.feed_forward_length", number(shape.n_ff)),
        ("llama.attention.head_count", number(shape.n_head)),
        ("llama.attention.head_count_kv", number(shape.n_head_kv)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.rope.dimension_count", number(shape.head_dim())),
        ("llama.rope.freq_base", Value::F32(10_000.0)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("gpt-2")),
        ("tokenizer.ggml.tokens", Value::Strs(vocabulary.tokens)),
        ("tokenizer.ggml.token_type", Value::I32s(types)),
        ("tokenizer.ggml.merges", Value::Strs(vocabulary.merges)),
        ("tokenizer.ggml.bos_token_id", Value::U32(END_OF_TEXT)),
        ("tokenizer.ggml.eos_token_id", Value::U32(END_OF_TEXT)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
        ("tokenizer.chat_template", text(CHAT_TEMPLATE)),
    ]
}
