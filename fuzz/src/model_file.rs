//! A tiny model's file in parts that can be exchanged before it is written.

use nox_engine::gguf::GgmlType;

use crate::common::{GgufWriter, string};

const N_EMBD: u64 = 32;
const HEAD_DIM: u64 = N_EMBD / 4;
const N_FF: u64 = 64;
const N_LAYER: u64 = 2;
/// The vocabulary: byte tokens of SentencePiece's kind, as they need no merges.
const N_VOCAB: u64 = 256 + 3;
const TEMPLATE: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";

pub(crate) struct ModelFile {
    pub(crate) architecture: String,
    pub(crate) metadata: Vec<(String, Entry)>,
    pub(crate) tensors: Vec<Tensor>,
    /// Repeated through all tensors' data; empty leaves the writer's.
    pub(crate) weights: Vec<u8>,
}

/// A metadata value as it stands in the file.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    type_id: u32,
    bytes: Vec<u8>,
}

impl Entry {
    pub(crate) fn new(type_id: u32, bytes: &[u8]) -> Self {
        Self {
            type_id,
            bytes: bytes.to_vec(),
        }
    }

    pub(crate) fn u32(number: u32) -> Self {
        Self::new(4, &number.to_le_bytes())
    }

    pub(crate) fn text(text: &str) -> Self {
        Self::new(8, &string(text.as_bytes()))
    }

    pub(crate) fn array(element_type: u32, n: u64, elements: &[u8]) -> Self {
        let mut bytes = element_type.to_le_bytes().to_vec();
        bytes.extend(n.to_le_bytes());
        bytes.extend(elements);
        Self { type_id: 9, bytes }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Tensor {
    name: String,
    /// Innermost first, as they are stored.
    pub(crate) dims: Vec<u64>,
    pub(crate) quant: GgmlType,
}

impl ModelFile {
    /// Sound for each of the families in [`FURTHER`] and for those with Llama's tensors.
    pub(crate) fn tiny(architecture: &str) -> Self {
        let mut file = Self {
            architecture: architecture.to_owned(),
            metadata: Vec::new(),
            tensors: Vec::new(),
            weights: Vec::new(),
        };
        file.describe();
        file.add_tensor("token_embd.weight".to_owned(), vec![N_EMBD, N_VOCAB]);
        for idx in 0..N_LAYER {
            for (suffix, dims) in LAYER {
                file.add_tensor(format!("blk.{idx}.{suffix}.weight"), dims.to_vec());
            }
            let further = FURTHER
                .iter()
                .filter(|(family, _, _)| *family == architecture);
            for (_, suffix, n_cols) in further {
                file.add_tensor(format!("blk.{idx}.{suffix}"), vec![*n_cols]);
            }
        }
        file.add_tensor("output_norm.weight".to_owned(), vec![N_EMBD]);
        file
    }

    fn describe(&mut self) {
        let architecture = self.architecture.clone();
        self.set(
            "general.architecture".to_owned(),
            Entry::text(&architecture),
        );
        for (suffix, number) in [
            ("context_length", 128),
            ("embedding_length", N_EMBD as u32),
            ("block_count", N_LAYER as u32),
            ("feed_forward_length", N_FF as u32),
            ("attention.head_count", 4),
            ("attention.head_count_kv", 2),
            ("attention.sliding_window", 16),
        ] {
            self.set(format!("{architecture}.{suffix}"), Entry::u32(number));
        }
        let epsilon = Entry::new(6, &1e-5f32.to_le_bytes());
        let key = format!("{architecture}.attention.layer_norm_rms_epsilon");
        self.set(key, epsilon);
        self.set("tokenizer.ggml.model".to_owned(), Entry::text("llama"));
        let special = ["<unk>", "<s>", "</s>"].map(str::to_owned);
        let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
        let tokens: Vec<_> = special.into_iter().chain(bytes).collect();
        let texts: Vec<_> = tokens
            .iter()
            .flat_map(|text| string(text.as_bytes()))
            .collect();
        let kinds = [2i32, 3, 3].into_iter().chain([6; 256]);
        let kinds: Vec<_> = kinds.flat_map(i32::to_le_bytes).collect();
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        self.set(key("tokens"), Entry::array(8, N_VOCAB, &texts));
        self.set(key("token_type"), Entry::array(5, N_VOCAB, &kinds));
        self.set("tokenizer.chat_template".to_owned(), Entry::text(TEMPLATE));
    }

    /// Gives `key` another value; a key that was not there comes last.
    pub(crate) fn set(&mut self, key: String, entry: Entry) {
        match self.metadata.iter_mut().find(|(name, _)| *name == key) {
            Some((_, held)) => *held = entry,
            None => self.metadata.push((key, entry)),
        }
    }

    pub(crate) fn add_tensor(&mut self, name: String, dims: Vec<u64>) {
        // Matrices in bytes: a whole file then is short enough to be tried many times.
        let quant = match dims.len() {
            1 => GgmlType::F32,
            _ => GgmlType::Q8_0,
        };
        self.tensors.push(Tensor { name, dims, quant });
    }

    pub(crate) fn pick_tensor(&mut self, idx: u8) -> Option<&mut Tensor> {
        let n_tensors = self.tensors.len().max(1);
        self.tensors.get_mut(usize::from(idx) % n_tensors)
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut writer = GgufWriter::new();
        for (key, entry) in &self.metadata {
            writer = writer.raw(key, entry.type_id, &entry.bytes);
        }
        for Tensor { name, dims, quant } in &self.tensors {
            let n_elements = dims.iter().product();
            writer = match quant.size_bytes(n_elements) {
                Some(_) => writer.tensor(name, dims, *quant),
                // Rows that are no whole blocks: the reader has to say so.
                None => writer.tensor_entry(name, dims, quant.id(), 0),
            };
        }
        let mut file = writer.finish();
        self.fill(&mut file);
        file
    }

    /// All data lie behind the last header byte, which is found by reading the file.
    fn fill(&self, file: &mut [u8]) {
        if self.weights.is_empty() {
            return;
        }
        let Ok(gguf) = nox_engine::gguf::Gguf::read(&&*file) else {
            return;
        };
        let Some(start) = gguf.tensors().iter().map(|tensor| tensor.offset).min() else {
            return;
        };
        let data = &mut file[start as usize..];
        for (byte, &value) in data.iter_mut().zip(self.weights.iter().cycle()) {
            *byte = value;
        }
    }
}

/// A layer's tensors, dimensions innermost first.
const LAYER: [(&str, &[u64]); 9] = [
    ("attn_norm", &[N_EMBD]),
    ("attn_q", &[N_EMBD, N_EMBD]),
    ("attn_k", &[N_EMBD, N_EMBD / 2]),
    ("attn_v", &[N_EMBD, N_EMBD / 2]),
    ("attn_output", &[N_EMBD, N_EMBD]),
    ("ffn_norm", &[N_EMBD]),
    ("ffn_gate", &[N_EMBD, N_FF]),
    ("ffn_up", &[N_EMBD, N_FF]),
    ("ffn_down", &[N_FF, N_EMBD]),
];

/// Families with vectors of their own in each layer.
const FURTHER: [(&str, &str, u64); 9] = [
    ("qwen2", "attn_q.bias", N_EMBD),
    ("qwen2", "attn_k.bias", N_EMBD / 2),
    ("qwen2", "attn_v.bias", N_EMBD / 2),
    ("qwen3", "attn_q_norm.weight", HEAD_DIM),
    ("qwen3", "attn_k_norm.weight", HEAD_DIM),
    ("gemma3", "attn_q_norm.weight", HEAD_DIM),
    ("gemma3", "attn_k_norm.weight", HEAD_DIM),
    ("gemma3", "post_attention_norm.weight", N_EMBD),
    ("gemma3", "post_ffw_norm.weight", N_EMBD),
];
