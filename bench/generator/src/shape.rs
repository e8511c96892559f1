//! The sizes of the models that are measured, and the tensors that they have.

/// A family that every engine of the benchmark knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// RoPE turns neighbours; no biases.
    Llama,
    /// RoPE turns halves; query, key and value have biases.
    Qwen2,
}

impl Family {
    /// `general.architecture`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
        }
    }
}

/// The sizes of a model with tied embeddings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Which layers it has.
    pub family: Family,
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
    /// The base of RoPE's frequencies.
    pub rope_freq_base: f32,
}

impl Shape {
    /// 134.5 million weights.
    ///
    /// # Source
    /// The `config.json` of SmolLM-135M.
    pub const LLAMA_135M: Self = Self {
        family: Family::Llama,
        n_vocab: 49_152,
        n_embd: 576,
        n_layer: 30,
        n_ff: 1_536,
        n_head: 9,
        n_head_kv: 3,
        n_ctx_train: 2_048,
        rope_freq_base: 10_000.0,
    };

    /// 494 million weights.
    ///
    /// # Source
    /// The `config.json` of Qwen2.5-0.5B-Instruct.
    pub const QWEN_05B: Self = Self {
        family: Family::Qwen2,
        n_vocab: 151_936,
        n_embd: 896,
        n_layer: 24,
        n_ff: 4_864,
        n_head: 14,
        n_head_kv: 2,
        n_ctx_train: 32_768,
        rope_freq_base: 1_000_000.0,
    };

    /// 1,236 million weights.
    ///
    /// # Source
    /// The `config.json` of Llama-3.2-1B, without its scaling of RoPE.
    pub const LLAMA_1B: Self = Self {
        family: Family::Llama,
        n_vocab: 128_256,
        n_embd: 2_048,
        n_layer: 16,
        n_ff: 8_192,
        n_head: 32,
        n_head_kv: 8,
        n_ctx_train: 8_192,
        rope_freq_base: 500_000.0,
    };

    pub(crate) fn head_dim(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// Every tensor, in the file's order.
    pub(crate) fn tensors(&self) -> Vec<Named> {
        let mut tensors = vec![Named::new(
            "token_embd.weight",
            &[self.n_vocab, self.n_embd],
        )];
        for layer_idx in 0..self.n_layer {
            for (suffix, dims) in self.layer() {
                tensors.push(Named {
                    name: format!("blk.{layer_idx}.{suffix}"),
                    shape: dims,
                    layer_idx: Some(layer_idx),
                });
            }
        }
        tensors.push(Named::new("output_norm.weight", &[self.n_embd]));
        tensors
    }

    fn layer(&self) -> Vec<(&'static str, Vec<usize>)> {
        let (n_embd, n_ff) = (self.n_embd, self.n_ff);
        let n_kv = self.head_dim() * self.n_head_kv;
        let mut tensors = vec![
            ("attn_norm.weight", vec![n_embd]),
            ("attn_q.weight", vec![n_embd, n_embd]),
            ("attn_k.weight", vec![n_kv, n_embd]),
            ("attn_v.weight", vec![n_kv, n_embd]),
            ("attn_output.weight", vec![n_embd, n_embd]),
            ("ffn_norm.weight", vec![n_embd]),
            ("ffn_gate.weight", vec![n_ff, n_embd]),
            ("ffn_up.weight", vec![n_ff, n_embd]),
            ("ffn_down.weight", vec![n_embd, n_ff]),
        ];
        if self.family == Family::Qwen2 {
            tensors.extend([
                ("attn_q.bias", vec![n_embd]),
                ("attn_k.bias", vec![n_kv]),
                ("attn_v.bias", vec![n_kv]),
            ]);
        }
        tensors
    }
}

/// A tensor before it has a type.
pub(crate) struct Named {
    pub(crate) name: String,
    /// Outermost first.
    pub(crate) shape: Vec<usize>,
    pub(crate) layer_idx: Option<usize>,
}

impl Named {
    fn new(name: &str, shape: &[usize]) -> Self {
        Self {
            name: name.to_owned(),
            shape: shape.to_vec(),
            layer_idx: None,
        }
    }
}
